"""The C-STORE handler: file, row, then the status."""

import logging
import uuid

from dicom_io.gate.reasons import FAILURES
from dicom_io.receive.node import ReceivedInstance, StoreStatus
from storage.errors import StorageError, StoreUnavailableError
from storage.files.spool import Spool, StoredFile, received_path
from storage.records import JobKind, NewInstance, Receipt, ReceiptOutcome
from storage.store import Store

log = logging.getLogger("listener")


class Reception:
    """The C-STORE handler: bytes in, status out, nothing half done in between."""

    def __init__(self, spool: Spool, store: Store, quiet_seconds: float) -> None:
        self._spool = spool
        self._store = store
        self._quiet_seconds = quiet_seconds

    def receive(self, received: ReceivedInstance) -> StoreStatus:
        """Keep one instance durably and queue it; the status to answer with (PS3.4 B.2.3).

        SUCCESS is returned only after the file and the row that names it are on disk. After
        OUT_OF_RESOURCES nothing of the instance is left behind, and the sender tries again.
        """
        header = received.header
        # A path of its own for every reception: when the same object comes on two associations
        # at once, taking one copy back can never take the other's bytes away.
        path = received_path(header.study_instance_uid, header.sop_instance_uid, uuid.uuid4().hex)
        try:
            with self._spool.recording(path):
                receipt = self._keep(received, path)
        except StorageError as error:
            log.error("an object from %s is refused: %s", received.calling_ae_title, error)
            return StoreStatus.OUT_OF_RESOURCES
        log.info(
            "instance %d from %s: %s, revision %d, %d bytes",
            receipt.instance_id,
            received.calling_ae_title,
            receipt.outcome,
            receipt.revision,
            len(received.data),
        )
        return StoreStatus.SUCCESS

    def _keep(self, received: ReceivedInstance, path: str) -> Receipt:
        """Write the file and the row that names it; raises StorageError with neither left."""
        try:
            stored = self._spool.write(path, received.data)
            receipt = self._store.record_instance(
                _new_instance(received, stored),
                self._quiet_seconds,
                received.calling_host,
                FAILURES,
            )
            if receipt.outcome is ReceiptOutcome.DUPLICATE:
                self._let_go(received, stored, receipt.instance_id)
        except StorageError:
            self._take_back(path)
            raise
        return receipt

    def _let_go(self, received: ReceivedInstance, stored: StoredFile, number: int) -> None:
        """Delete a second copy; where the first one is damaged, this one's bytes replace it.

        What could not be analysed for that damage is then analysed once more. Raises
        StoreUnavailableError where the first copy is purged meanwhile, so that neither is kept.
        """
        uid = received.header.sop_instance_uid
        copies = [kept for kept in self._store.inquiries.kept(uid) if kept.sha256 == stored.sha256]
        is_mended = False
        for kept in copies:
            try:
                self._spool.verify(kept.spool_path, kept.sha256)
            except StorageError as error:
                log.warning("%s; it was sent again and is as it was", error)
                self._spool.write(kept.spool_path, received.data)
                is_mended = True
        paths = {kept.spool_path for kept in copies}
        if not paths & {kept.spool_path for kept in self._store.inquiries.kept(uid)}:
            for path in paths:
                self._take_back(path)
            raise StoreUnavailableError("the first copy was purged this instant: to be sent again")
        if is_mended:
            self._store.jobs.enqueue(JobKind.ANALYSE, str(number))
        self._spool.delete(stored.path)

    def _take_back(self, path: str) -> None:
        """Delete a file that no row names. A commit whose answer was lost may have happened."""
        try:
            if self._store.unnamed([path], settled=True):
                self._spool.delete(path)
        except StorageError as error:
            log.error("a file without a row may be left in the spool until it is swept: %s", error)


def _new_instance(received: ReceivedInstance, stored: StoredFile) -> NewInstance:
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
    )
