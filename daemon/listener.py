"""Role: C-ECHO, C-STORE, storage commitment. Keep, queue the work, and only then answer.

No pixel is decoded here and the network is not loaded: what the listener needs is a disk, the
store and the header.
"""

import logging
import threading
import uuid

from daemon.audit_network import NetworkAudit
from daemon.commitment_desk import CommitmentDesk
from daemon.config import Config
from daemon.role import RoleContext
from dicom_io.commitment_scp import CommitmentHandlers
from dicom_io.node import Node, ReceivedInstance, Rejection, StoreStatus
from dicom_io.peers import Peer
from storage.errors import IntegrityError, StorageError
from storage.records import NewInstance, ReceiptOutcome
from storage.spool import Spool, StoredFile, received_path
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
            stored = self._spool.write(path, received.data)
        except StorageError as error:
            log.error("an object from %s is refused: %s", received.calling_ae_title, error)
            return StoreStatus.OUT_OF_RESOURCES
        try:
            receipt = self._store.record_instance(
                _new_instance(received, stored), self._quiet_seconds, received.calling_host
            )
        except StorageError as error:
            self._take_back(header.sop_instance_uid, stored)
            log.error("an object from %s is refused: %s", received.calling_ae_title, error)
            return StoreStatus.OUT_OF_RESOURCES
        if receipt.outcome is ReceiptOutcome.DUPLICATE and not self._is_kept(received, stored):
            return StoreStatus.OUT_OF_RESOURCES
        log.info(
            "instance %d from %s: %s, revision %d, %d bytes",
            receipt.instance_id,
            received.calling_ae_title,
            receipt.outcome,
            receipt.revision,
            stored.size,
        )
        return StoreStatus.SUCCESS

    def _is_kept(self, received: ReceivedInstance, stored: StoredFile) -> bool:
        """Let go of a second copy; where the first one is damaged, this one takes its place."""
        uid = received.header.sop_instance_uid
        try:
            for kept in self._store.inquiries.kept(uid):
                if kept.sha256 != stored.sha256:
                    continue
                try:
                    self._spool.verify(kept.spool_path, kept.sha256)
                except IntegrityError as error:
                    log.warning("%s; it was sent again and is as it was", error)
                    self._spool.write(kept.spool_path, received.data)
            self._spool.delete(stored.path)
        except StorageError as error:
            self._take_back(uid, stored)
            log.error("a second copy from %s is refused: %s", received.calling_ae_title, error)
            return False
        return True

    def _take_back(self, sop_instance_uid: str, stored: StoredFile) -> None:
        """Delete a file that no row names. A commit whose answer was lost may have happened."""
        try:
            if not self._store.keeps(sop_instance_uid, stored.path):
                self._spool.delete(stored.path)
        except StorageError as error:
            log.error("a file without a row may be left in the spool: %s", error)


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


def open_node(
    config: Config,
    reception: Reception,
    audit: NetworkAudit,
    commitment: CommitmentHandlers | None = None,
) -> Node:
    """The SCP that `config` describes, not yet started."""

    def on_rejected(rejection: Rejection) -> None:
        _log_rejection(rejection)
        audit.rejected(rejection)

    return Node(
        ae_title=config.listener.ae_title,
        host=config.listener.host,
        port=config.listener.port,
        peers=[Peer(peer.ae_title, peer.host, peer.sends) for peer in config.callers],
        on_store=reception.receive,
        on_rejected=on_rejected,
        on_accepted=audit.accepted,
        on_refused=audit.refused,
        commitment=commitment,
        max_associations=config.listener.max_associations,
        require_called_ae_title=config.listener.check_called_ae_title,
    )


def _log_rejection(rejection: Rejection) -> None:
    log.warning(
        "association from %s as %r to %r is rejected: %s",
        rejection.host,
        rejection.calling_ae_title,
        rejection.called_ae_title,
        rejection.reason,
    )


def run(context: RoleContext) -> None:
    """Listen until told to stop."""
    config = context.config
    spool = Spool(config.spool_dir, min_free_bytes=config.spool.min_free_mb * 2**20)
    swept = spool.sweep_temporary()
    if swept:
        log.info("removed %d unfinished file(s) of an earlier run; none was acknowledged", swept)
    with Store.open(config.resolved_database_url, migrate=False) as store:
        desk = CommitmentDesk(config, context.worker, spool, store)
        answering = threading.Thread(
            target=desk.run, args=(context.stop,), name="commitment", daemon=True
        )
        answering.start()
        reception = Reception(spool, store, config.study.quiet_seconds)
        with open_node(config, reception, NetworkAudit(store.audit), desk.handlers):
            context.ready()
            context.stop.wait()
