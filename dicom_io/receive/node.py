"""The Storage SCP: takes in objects exactly as they were sent (PS3.4 Annex B).

Who may send is decided before an association is accepted; what arrives is compared with what the
command announced, and handed to a callback whose answer becomes the C-STORE status.
"""

import errno
import logging
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, cast

from pydicom import Dataset
from pynetdicom import build_context, evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RSP
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext

from dicom_io.commitment.messages import answer
from dicom_io.commitment.scp import CommitmentHandlers
from dicom_io.errors import NotDicomError, PortInUseError
from dicom_io.peer.peers import Caller, Peer, is_admitted, is_known
from dicom_io.peer.tls_handshake import TlsFault, shown_by
from dicom_io.receive.events import (
    REJECT_CODES,
    Opening,
    RefusedObject,
    Rejection,
    RejectReason,
    opening,
    refused_object,
)
from dicom_io.receive.limits import AbortReason, Limits
from dicom_io.receive.negotiation import APPLICATION_CONTEXT, VERIFICATION_CLASS, supported_contexts
from dicom_io.receive.server import (
    AcceptedAssociation,
    BoundedEntity,
    BoundedServer,
    Capacity,
    forget_bytes,
    refusal_of,
)
from dicom_io.receive.store_request import ReceivedInstance, StoreStatus, mismatch, received

__all__ = [
    "AbortReason",
    "Limits",
    "Node",
    "Peer",
    "ReceivedInstance",
    "RejectReason",
    "Rejection",
    "StoreStatus",
]

log = logging.getLogger(__name__)


def _ignore(_: object) -> None:
    """Default for callers that do not watch."""


class Node:
    """A Storage, Storage Commitment and Verification SCP on one address; a context manager.

    It listens in background threads, one for each association, so `on_store` is called from
    several threads at once. Whatever it raises is answered with a failure status (0xC211), never
    with success. `on_accepted` hears of every association, `on_rejected` of every request turned
    away and of every association or connection that was ended for its peer's fault, `on_refused`
    of every object answered with a failure, once that is sent; also from several threads. Without
    `commitment` that service is not offered.

    With `tls` (see `tls.server_context`) every connection is encrypted.
    `require_called_ae_title` turns away requests for another AE title than `ae_title`. Nodes that
    are given one `capacity` share it; `max_associations` is for one that has its own.
    """

    def __init__(
        self,
        *,
        ae_title: str,
        host: str,
        port: int,
        peers: Sequence[Peer],
        on_store: Callable[[ReceivedInstance], StoreStatus],
        on_rejected: Callable[[Rejection], None] = _ignore,
        on_accepted: Callable[[Opening], None] = _ignore,
        on_refused: Callable[[RefusedObject], None] = _ignore,
        commitment: CommitmentHandlers | None = None,
        tls: ssl.SSLContext | None = None,
        max_associations: int = 32,
        require_called_ae_title: bool = True,
        limits: Limits | None = None,
        capacity: Capacity | None = None,
    ) -> None:
        self.ae_title = ae_title
        self.host = host
        self._asked_port = self._port = port
        self._peers = tuple(peers)
        self._on_store = on_store
        self._on_rejected = on_rejected
        self._on_accepted = on_accepted
        self._on_refused = on_refused
        self._commitment = commitment
        self._tls = tls
        self._require_called = require_called_ae_title
        self._limits = limits or Limits()
        self._capacity = capacity or Capacity(self._limits, max_associations)
        self._server: BoundedServer | None = None
        self._stopping = threading.Event()
        self._busy: set[Association] = set()
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        """The port listened on; where 0 was asked for, the one the system chose."""
        return self._port

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen. Raises PortInUseError where the address cannot be had."""
        # Below WARNING pynetdicom prints whole messages, and with them patients' names.
        logging.getLogger("pynetdicom").setLevel(logging.WARNING)
        # These two quote what a peer sent, one with a traceback.
        logging.getLogger("pynetdicom.utils").setLevel(logging.CRITICAL)
        logging.getLogger("pynetdicom.presentation").setLevel(logging.ERROR)
        self._stopping.clear()
        try:
            self._server = self._listen()
            self._port = int(self._server.server_address[1])
        except OSError as error:
            raise PortInUseError(_address_problem(self.host, self._asked_port, error)) from error

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """Stop listening, let running C-STOREs be answered, then end every association.

        A C-STORE that begins after this call is answered 0xA700, so the sender keeps it. What is
        not done within `timeout_seconds` is cut off; its sender gets no success.
        """
        if self._server is None:
            return
        deadline = time.monotonic() + timeout_seconds
        self._stopping.set()
        server, self._server = self._server, None
        server.shutdown()
        server.ae.handshakes.stop()
        while time.monotonic() < deadline and self._running_stores():
            time.sleep(0.01)
        # Again and again: one that was accepted just before may not have its thread yet.
        while (left := server.active_associations) and time.monotonic() < deadline:
            for association in left:
                _end(association)
            time.sleep(0.01)
        for association in left:
            association.dul.kill_dul()

    def _listen(self) -> BoundedServer:
        ae = BoundedEntity(self.ae_title, self._limits, self._capacity, self._on_abort)
        server = ae.start_server(
            (self.host, self._asked_port),
            block=False,
            # The real list depends on who asks and is set in `_on_requested`.
            contexts=[build_context(VERIFICATION_CLASS)],
            ssl_context=self._tls,
            evt_handlers=[
                (evt.EVT_REQUESTED, self._on_requested),
                (evt.EVT_ACCEPTED, self._on_opened),
                (evt.EVT_C_STORE, self._on_c_store),
                (evt.EVT_DIMSE_SENT, self._on_sent),
                *(self._commitment.bindings() if self._commitment else ()),
            ],
        )
        return cast(BoundedServer, server)

    def _on_abort(
        self, reason: AbortReason | TlsFault, calling: str, called: str, host: str
    ) -> None:
        named = RejectReason[reason.name] if isinstance(reason, TlsFault) else reason
        self._tell(Rejection(named, calling, called, host))

    def _tell(self, rejection: Rejection) -> None:
        """What the owner does with it must not end the thread that brings it."""
        try:
            self._on_rejected(rejection)
        except Exception:
            log.exception("what was rejected could not be recorded")

    def _on_requested(self, event: evt.Event) -> None:
        association = cast(AcceptedAssociation, event.assoc)
        try:
            self._answer_request(association)
        except Exception as error:  # noqa: BLE001 - pynetdicom would accept what nobody has judged
            log.error("a request could not be judged: %s", type(error).__name__)
            association.is_aborted = True
            association.dul.refuse(AbortReason.MALFORMED)
            association.kill()

    def _answer_request(self, association: AcceptedAssociation) -> None:
        request = association.requestor.primitive
        if not isinstance(request, A_ASSOCIATE):
            association.kill()
            return
        association.has_asked()
        rejection = self._judge(association, request)
        if rejection is None:
            association.acceptor.supported_contexts = self._contexts_for(association, request)
            if self._capacity.admit(association):
                return
            rejection = _rejection(RejectReason.TOO_MANY, association, request)
        association.acse.send_reject(*REJECT_CODES[RejectReason(rejection.reason)])
        self._tell(rejection)
        association.kill()

    def _on_opened(self, event: evt.Event) -> None:
        self._on_accepted(opening(event))

    def _judge(self, association: AcceptedAssociation, request: A_ASSOCIATE) -> Rejection | None:
        caller = _caller(association, request)
        called = str(request.called_ae_title).strip()
        # Of what is not DICOM no title is told: it may be anything.
        if not association.dul.speaks_version_1:
            return Rejection(RejectReason.PROTOCOL_VERSION, "", "", caller.address)
        if request.application_context_name != APPLICATION_CONTEXT:
            return Rejection(RejectReason.APPLICATION_CONTEXT, "", "", caller.address)
        reason = None
        if not any(peer.ae_title == caller.ae_title for peer in self._peers):
            reason = RejectReason.CALLING_AE_TITLE
        elif not is_known(self._peers, caller.ae_title, caller.address):
            reason = RejectReason.CALLING_HOST
        elif not is_admitted(self._peers, caller):
            reason = _untrusted(caller)
        elif self._require_called and called != self.ae_title:
            reason = RejectReason.CALLED_AE_TITLE
        return None if reason is None else _rejection(reason, association, request)

    def _contexts_for(
        self, association: Association, request: A_ASSOCIATE
    ) -> list[PresentationContext]:
        senders = [peer for peer in self._peers if peer.sends]
        return supported_contexts(
            request,
            storage=is_admitted(senders, _caller(association, request)),
            commitment=self._commitment is not None,
        )

    def _on_c_store(self, event: evt.Event) -> Dataset:
        with self._lock:
            # Those that were aborted before they were answered go with the next one that comes.
            self._busy = {one for one in self._busy if one.is_established} | {event.assoc}
        if self._stopping.is_set():
            return answer(StoreStatus.OUT_OF_RESOURCES, "node is shutting down, send again")
        refusal = refusal_of(event.request)
        if refusal is not None:
            return answer(StoreStatus.OUT_OF_RESOURCES, refusal.value)
        try:
            instance = received(event)
        except NotDicomError as error:
            return answer(StoreStatus.CANNOT_UNDERSTAND, str(error))
        forget_bytes(event.request)
        problem = mismatch(event, instance)
        if problem:
            return answer(StoreStatus.SOP_CLASS_MISMATCH, problem)
        return answer(self._on_store(instance))

    def _on_sent(self, event: evt.Event) -> None:
        if isinstance(event.message, C_STORE_RSP):
            with self._lock:
                self._busy.discard(event.assoc)
            if event.message.command_set.Status != StoreStatus.SUCCESS:
                self._on_refused(refused_object(event))

    def _running_stores(self) -> bool:
        with self._lock:
            self._busy = {one for one in self._busy if one.is_established}
            return bool(self._busy)


def _caller(association: Association, request: A_ASSOCIATE) -> Caller:
    title, address = str(request.calling_ae_title).strip(), str(association.requestor.address)
    return Caller(title, address, *shown_by(association))


def _rejection(reason: RejectReason, association: Association, request: A_ASSOCIATE) -> Rejection:
    caller = _caller(association, request)
    return Rejection(reason, caller.ae_title, str(request.called_ae_title).strip(), caller.address)


def _untrusted(caller: Caller) -> RejectReason:
    """What a caller lacks that has a peer's title and host."""
    if not caller.tls:
        return RejectReason.PLAIN_CONNECTION
    if caller.certificate is None:
        return RejectReason.NO_CERTIFICATE
    return RejectReason.WRONG_CERTIFICATE


def _end(association: Association) -> None:
    """Cut an association off, or a connection that has not asked for one."""
    if association.requestor.primitive is not None:
        cast(AcceptedAssociation, association).dul.stop_taking()
        association.abort(block=False)
        return
    association.dul.kill_dul()


def _address_problem(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use; stop the other program or choose another port"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than this user has; choose one above 1023"
    return f"cannot listen on {host}:{port} ({error.strerror}); check listener.host"
