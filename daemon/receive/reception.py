"""The C-STORE handler: writes the file, then the row, then returns the status."""

import logging
import uuid
from collections.abc import Callable

from daemon.errors import ConfigError
from dicom_io.gate.reasons import BY_RULE, FAILURES
from dicom_io.receive.store_request import ReceivedInstance, StoreStatus
from storage.errors import StorageError, StoreUnavailableError
from storage.files.spool import Spool, StoredFile, received_path
from storage.records import JobKind, NewInstance, Priority, Receipt, ReceiptOutcome
from storage.store import Store

log = logging.getLogger("listener")


def _unknown_source(_ae_title: str, _host: str) -> str:
    return ""


def _is_routine(_received: ReceivedInstance) -> bool:
    return False


def _not_ordered(_received: ReceivedInstance) -> Priority | None:
    return None


def _unheard(_receipt: Receipt) -> None:
    pass


class Reception:
    """Stores received instances and queues their analysis.

    `source_of` returns the source of a sender by its AE title and its address, `is_stat` is True
    for an instance that is STAT. `ordered` returns the priority of an instance that this node
    fetched from an archive, else None. `on_queued` is called after the work on an instance is
    queued.
    """

    def __init__(
        self,
        spool: Spool,
        store: Store,
        quiet_seconds: float,
        source_of: Callable[[str, str], str] = _unknown_source,
        on_queued: Callable[[Receipt], None] = _unheard,
        is_stat: Callable[[ReceivedInstance], bool] = _is_routine,
        ordered: Callable[[ReceivedInstance], Priority | None] = _not_ordered,
    ) -> None:
        self._spool = spool
        self._store = store
        self._quiet_seconds = quiet_seconds
        self._source_of = source_of
        self._on_queued = on_queued
        self._is_stat = is_stat
        self._ordered = ordered

    def receive(self, received: ReceivedInstance) -> StoreStatus:
        """Store one instance durably and queue it. Return the status of the response (PS3.4 B.2.3).

        SUCCESS is returned only after the file and its row are on disk. After OUT_OF_RESOURCES no
        row is left, and the sender retries; a file that cannot be deleted is left to the sweep.
        """
        header = received.header
        # Every reception has a path of its own: if the same object arrives on two associations at
        # once, deleting one copy cannot delete the bytes of the other.
        path = received_path(header.study_instance_uid, header.sop_instance_uid, uuid.uuid4().hex)
        try:
            with self._spool.folders_held(path):
                source = self._source_of(received.calling_ae_title, received.calling_host)
                receipt = self._keep(received, source, path)
        except (StorageError, ConfigError) as error:
            log.error("an object from %s is refused: %s", received.calling_ae_title, error)
            return StoreStatus.OUT_OF_RESOURCES
        self._on_queued(receipt)
        log.info(
            "instance %(instance)d from %(peer)s: %(outcome)s, revision %(revision)d,"
            " %(bytes)d bytes",
            {
                "instance": receipt.instance_id,
                "peer": received.calling_ae_title,
                "outcome": receipt.outcome,
                "revision": receipt.revision,
                "bytes": len(received.data),
            },
        )
        return StoreStatus.SUCCESS

    def _keep(self, received: ReceivedInstance, source: str, path: str) -> Receipt:
        """Write the file and its row. Raises StorageError, and then leaves no row."""
        try:
            stored = self._spool.write(path, received.data)
            receipt = self._store.record_instance(
                _new_instance(received, stored, source, self._priority(received)),
                self._quiet_seconds,
                received.calling_host,
                FAILURES | BY_RULE,
            )
            if receipt.outcome in (ReceiptOutcome.DUPLICATE, ReceiptOutcome.RENEWED):
                self._settle_duplicate(received, stored, source, receipt.instance_id)
        except StorageError:
            self._delete_unless_named(path)
            raise
        return receipt

    def _priority(self, received: ReceivedInstance) -> Priority:
        ordered = self._ordered(received)
        if ordered is not None:
            return ordered
        return Priority.STAT if self._is_stat(received) else Priority.ROUTINE

    def _settle_duplicate(
        self, received: ReceivedInstance, stored: StoredFile, source: str, instance_id: int
    ) -> None:
        """Delete the second copy of an instance. A damaged first copy is restored from it.

        The analysis of a restored instance is queued again. Raises StoreUnavailableError if the
        first copy is purged at the same time, so that neither copy is left.
        """
        uid = received.header.sop_instance_uid
        known = self._store.kept_files(uid, {source})
        copies = [kept for kept in known if kept.sha256 == stored.sha256]
        is_restored = False
        for kept in copies:
            try:
                self._spool.verify(kept.spool_path, kept.sha256)
            except StorageError as error:
                log.warning("%s; restored from the copy just received", error)
                self._spool.write(kept.spool_path, received.data)
                is_restored = True
        paths = {kept.spool_path for kept in copies}
        if not paths & {kept.spool_path for kept in self._store.kept_files(uid, {source})}:
            for path in paths:
                self._delete_unless_named(path)
            raise StoreUnavailableError("the first copy was purged just now: send it again")
        if is_restored:
            self._store.jobs.enqueue(JobKind.ANALYSE, str(instance_id))
        self._spool.delete(stored.path)

    def _delete_unless_named(self, path: str) -> None:
        """Delete a file unless a row names it: a commit that raised may still have taken effect."""
        try:
            if self._store.unreferenced([path], wait_for_writers=True):
                self._spool.delete(path)
        except StorageError as error:
            log.error("a file without a row may stay in the spool until a sweep: %s", error)


def _new_instance(
    received: ReceivedInstance, stored: StoredFile, source: str, priority: Priority
) -> NewInstance:
    header = received.header
    return NewInstance(
        sop_instance_uid=header.sop_instance_uid,
        sop_class_uid=header.sop_class_uid,
        transfer_syntax_uid=received.transfer_syntax_uid,
        study_instance_uid=header.study_instance_uid,
        series_instance_uid=header.series_instance_uid,
        patient_id=header.patient_id,
        accession_number=header.accession_number,
        study_date=header.study_date,
        modality=header.modality,
        calling_ae_title=received.calling_ae_title,
        spool_path=stored.path,
        size=stored.size,
        sha256=stored.sha256,
        source=source,
        issuer_of_patient_id=header.issuer_of_patient_id,
        patient_name=header.patient_name,
        patient_birth_date=header.patient_birth_date,
        patient_sex=header.patient_sex,
        view_position=header.view_position,
        priority=priority,
    )
