"""Role: C-ECHO, C-STORE, storage commitment. Keep, queue the work, and only then answer.

No pixel is decoded here and the network is not loaded: what the listener needs is a disk, the
store and the header.
"""

import functools
import logging
import resource
import ssl
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from daemon.audit_network import NetworkAudit
from daemon.commitment_desk import CommitmentDesk
from daemon.config import Config, ListenerConfig
from daemon.role import RoleContext
from daemon.sweep import sweep_daily
from daemon.tls import listener_addresses
from dicom_io.acceptor import Capacity
from dicom_io.commitment_scp import CommitmentHandlers
from dicom_io.errors import PortInUseError
from dicom_io.node import Limits, Node, ReceivedInstance, Rejection, RejectReason, StoreStatus
from dicom_io.observed import RefusedObject
from dicom_io.reasons import FAILURES
from storage.errors import StorageError, StoreUnavailableError
from storage.records import JobKind, NewInstance, Receipt, ReceiptOutcome
from storage.spool import Spool, StoredFile, received_path
from storage.store import Store

log = logging.getLogger("listener")

PREDECESSOR_SECONDS = 3.0
"""How long a port in use may be that of a daemon killed just now."""
_OTHER_FILES = 128
"""Files that are open besides connections: the store, the spool, the log, libraries."""


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


def open_node(
    config: Config,
    reception: Reception,
    audit: NetworkAudit,
    commitment: CommitmentHandlers | None = None,
    *,
    capacity: Capacity | None = None,
    port: int | None = None,
    tls: ssl.SSLContext | None = None,
) -> Node:
    """The SCP that `config` describes, not yet started; `port` where it is another.

    Nodes given one `capacity` keep to the limits together.
    """

    def on_rejected(rejection: Rejection) -> None:
        _log_rejection(rejection)
        audit.rejected(rejection)

    def on_refused(refused: RefusedObject) -> None:
        log.warning(
            "an object from %s is answered 0x%04X: %s",
            refused.calling_ae_title,
            refused.status,
            refused.comment or "see above",
        )
        audit.refused(refused)

    return Node(
        ae_title=config.listener.ae_title,
        host=config.listener.host,
        port=port or config.listener.port,
        tls=tls,
        peers=[peer.as_caller for peer in config.callers],
        on_store=reception.receive,
        on_rejected=on_rejected,
        on_accepted=audit.accepted,
        on_refused=on_refused,
        commitment=commitment,
        max_associations=config.listener.max_associations,
        require_called_ae_title=config.listener.check_called_ae_title,
        limits=limits_of(config.listener),
        capacity=capacity,
    )


def limits_of(listener: ListenerConfig) -> Limits:
    """What one peer, and all together, may make the node hold and wait for."""
    return Limits(
        max_instance_bytes=listener.max_instance_mb * 2**20,
        max_receiving_bytes=listener.max_receiving_mb * 2**20,
        request_seconds=listener.request_seconds,
        stall_seconds=listener.stall_seconds,
        idle_seconds=listener.idle_seconds,
    )


def allow_open_files(listener: ListenerConfig) -> None:
    """Have room for every connection there may be; say so where the system does not give it."""
    wanted = listener.max_associations + limits_of(listener).max_waiting + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    given = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (given, hard))
    if given < wanted:
        log.warning(
            "only %d files may be open and %d may be needed: raise the limit (ulimit -n), or lower"
            " listener.max_associations",
            given,
            wanted,
        )


def _log_rejection(rejection: Rejection) -> None:
    if not rejection.calling_ae_title:
        log.warning("connection from %s is refused: %s", rejection.host, rejection.reason)
        return
    log.warning(
        "association from %s as %r to %r is %s: %s",
        rejection.host,
        rejection.calling_ae_title,
        rejection.called_ae_title,
        "rejected" if isinstance(rejection.reason, RejectReason) else "cut short",
        rejection.reason,
    )


def run(context: RoleContext) -> None:
    """Listen until told to stop."""
    config = context.config
    allow_open_files(config.listener)
    addresses = listener_addresses(config)
    min_free_bytes = config.spool.min_free_mb * 2**20
    spool = Spool(config.spool_dir, min_free_bytes, create=False)
    with Store.open(config.resolved_database_url, migrate=False) as store:
        desk = CommitmentDesk(config, context.worker, spool, store)
        reception = Reception(spool, store, config.study.quiet_seconds)
        with ExitStack() as stack:
            audit = stack.enter_context(NetworkAudit(store.audit))
            limits = limits_of(config.listener)
            capacity = Capacity(limits, config.listener.max_associations)
            nodes: list[Node] = []
            stack.callback(stop_together, nodes)
            for port, tls in addresses:
                node = open_node(
                    config,
                    reception,
                    audit,
                    desk.handlers,
                    capacity=capacity,
                    port=port,
                    tls=tls,
                )
                _start_when_free(node, context.stop)
                nodes.append(node)
            for name, work in (
                ("commitment", desk.run),
                ("sweep", functools.partial(sweep_daily, spool, store, config.maintenance_lock)),
            ):
                threading.Thread(target=work, args=(context.stop,), name=name, daemon=True).start()
            context.ready()
            context.stop.wait()


def stop_together(nodes: Sequence[Node]) -> None:
    """Stop all at once: each may take seconds, and the supervisor waits for all of them."""
    with ThreadPoolExecutor(max(1, len(nodes))) as pool:
        list(pool.map(Node.stop, nodes))


def _start_when_free(node: Node, stop: threading.Event) -> None:
    """Listen as soon as the port can be had.

    The roles of a daemon that was killed end by themselves, its listener within this time.
    """
    deadline = time.monotonic() + PREDECESSOR_SECONDS
    while True:
        try:
            node.start()
            return
        except PortInUseError as error:
            if time.monotonic() > deadline or stop.is_set():
                raise
            log.warning("%s; trying for %.0f s", error, PREDECESSOR_SECONDS)
        stop.wait(1.0)
