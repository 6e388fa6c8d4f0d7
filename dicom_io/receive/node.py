"""The SCP of this node: Verification, Storage (PS3.4 Annex B), Storage Commitment and workitems.

A caller is checked before its association is accepted. A received object is compared with its
command and passed, as it was sent, to a callback whose result becomes the C-STORE status.
"""

import logging
import ssl
import threading
import time
from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import Self, cast

from pydicom import Dataset
from pynetdicom import build_context, evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RSP
from pynetdicom.pdu_primitives import A_ASSOCIATE

from dicom_io.commitment.messages import status_response
from dicom_io.commitment.scp import CommitmentHandlers
from dicom_io.errors import NotDicomError, PortInUseError
from dicom_io.objects.classes import VERIFICATION
from dicom_io.peer.listening import listen_problem
from dicom_io.peer.peers import Caller, Peer
from dicom_io.peer.tls_handshake import TlsFault, tls_identity
from dicom_io.receive.admission import Admission, Verdict
from dicom_io.receive.events import (
    REJECT_CODES,
    AssociationOpened,
    RefusedObject,
    Rejection,
    RejectReason,
    association_opened,
    refused_object,
)
from dicom_io.receive.limits import AbortReason, Limits
from dicom_io.receive.negotiation import supported_contexts
from dicom_io.receive.server import (
    AcceptedAssociation,
    BoundedEntity,
    BoundedServer,
    Capacity,
    free_data,
    refusal_of,
)
from dicom_io.receive.services import Services
from dicom_io.receive.store_request import ReceivedInstance, StoreStatus, mismatch, received
from dicom_io.ups.scp.handlers import WorkitemHandlers

log = logging.getLogger(__name__)

_DRAIN_POLL_SECONDS = 0.05


def _ignore(_: object) -> None:
    """Accept any event: the default of callers that need none."""


class Node:
    """A Verification and Storage SCP with further services on one address; a context manager.

    The node listens in background threads, one for each association, and calls its callbacks from
    them, several at once. An exception in `on_store` is answered with failure status 0xC211.
    `on_accepted` is called for every association. `on_rejected` is called for every rejected
    request, and for every association or connection that is ended because of its peer's fault.
    `on_refused` is called for every object that was answered with a failure status.
    Without `commitment`, Storage Commitment is not offered, and without `workitems` no service of
    Unified Procedure Steps.

    With `tls` (see `tls.server_context`) every connection is encrypted.
    With `echo_to_any`, a caller that is not a peer may open an association for C-ECHO alone, if a
    peer may call over such a connection.
    With `require_called_ae_title`, requests for an AE title other than `ae_title` and those of
    `further_ae_titles` are rejected.
    Nodes that are given one `capacity` share it; `max_associations` is for a node with its own.
    With `reuse_port`, nodes of other processes may listen at the same address (SO_REUSEPORT).
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
        on_accepted: Callable[[AssociationOpened], None] = _ignore,
        on_refused: Callable[[RefusedObject], None] = _ignore,
        commitment: CommitmentHandlers | None = None,
        workitems: WorkitemHandlers | None = None,
        tls: ssl.SSLContext | None = None,
        max_associations: int = 32,
        require_called_ae_title: bool = True,
        further_ae_titles: Collection[str] = (),
        echo_to_any: bool = False,
        limits: Limits | None = None,
        capacity: Capacity | None = None,
        reuse_port: bool = False,
    ) -> None:
        self.ae_title = ae_title
        self.host = host
        self._configured_port = self._port = port
        self._peers = tuple(peers)
        self._on_store = on_store
        self._on_rejected = on_rejected
        self._on_accepted = on_accepted
        self._on_refused = on_refused
        self._services = Services(commitment, workitems)
        self._tls = tls
        self._admission = Admission(
            {ae_title, *further_ae_titles},
            self._peers,
            require_called_ae_title,
            echo_to_any=echo_to_any,
        )
        self._limits = limits or Limits()
        self._capacity = capacity or Capacity(self._limits, max_associations)
        self._reuse_port = reuse_port
        self._server: BoundedServer | None = None
        self._is_listening = False
        self._stopping = threading.Event()
        self._storing: set[Association] = set()
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        """The port that the node listens on; if 0 was configured, the one the system chose."""
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
        """Listen. Raises PortInUseError if the address is not available."""
        # Below WARNING pynetdicom logs whole messages, which contain patient data.
        logging.getLogger("pynetdicom").setLevel(logging.WARNING)
        # These two loggers quote bytes that a peer sent.
        logging.getLogger("pynetdicom.utils").setLevel(logging.CRITICAL)
        logging.getLogger("pynetdicom.presentation").setLevel(logging.ERROR)
        self._stopping.clear()
        try:
            self._server = self._listen()
            self._port = int(self._server.server_address[1])
            self._is_listening = True
        except OSError as error:
            raise PortInUseError(
                listen_problem("listener", self.host, self._configured_port, error)
            ) from error

    def drain(self, may_wait: Callable[[], bool]) -> None:
        """Stop listening; serve the open associations until all have ended, or may not wait."""
        if self._server is None:
            return
        self._stop_listening(self._server)
        while may_wait() and not (
            self._capacity.pending.is_empty and not self._server.active_associations
        ):
            time.sleep(_DRAIN_POLL_SECONDS)

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """Stop listening, let running C-STOREs finish, then end every association.

        A C-STORE that starts after this call is answered 0xA700, so that the sender keeps the
        object. A C-STORE that runs longer than `timeout_seconds` is aborted without an answer.
        """
        if self._server is None:
            return
        deadline = time.monotonic() + timeout_seconds
        self._stopping.set()
        server, self._server = self._server, None
        self._stop_listening(server)
        server.ae.handshakes.stop()
        while time.monotonic() < deadline and self._is_storing():
            time.sleep(0.01)
        # Repeated: an association that was accepted last may not have its thread yet.
        while (left := server.active_associations) and time.monotonic() < deadline:
            for association in left:
                _end(association)
            time.sleep(0.01)
        for association in left:
            association.dul.kill_dul()

    def _stop_listening(self, server: BoundedServer) -> None:
        if self._is_listening:
            self._is_listening = False
            server.shutdown()

    def _listen(self) -> BoundedServer:
        handlers: list[tuple[object, ...]] = [
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_ACCEPTED, self._on_opened),
            (evt.EVT_C_STORE, self._on_c_store),
            (evt.EVT_DIMSE_SENT, self._on_sent),
            *self._services.bindings(),
        ]
        ae = BoundedEntity(
            self.ae_title,
            self._limits,
            self._capacity,
            self._on_abort,
            handlers,
            reuse_port=self._reuse_port,
        )
        server = ae.start_server(
            (self.host, self._configured_port),
            block=False,
            # `_on_requested` replaces these by the contexts that the caller may use.
            contexts=[build_context(VERIFICATION)],
            ssl_context=self._tls,
        )
        return cast(BoundedServer, server)

    def _on_opened(self, event: evt.Event) -> None:
        is_peer = not cast(AcceptedAssociation, event.assoc).is_echo_only
        self._on_accepted(association_opened(event, is_peer=is_peer))

    def _on_abort(
        self, reason: AbortReason | TlsFault, calling: str, called: str, host: str, detail: str
    ) -> None:
        named = RejectReason[reason.name] if isinstance(reason, TlsFault) else reason
        self._report(Rejection(named, calling, called, host, detail))

    def _report(self, rejection: Rejection) -> None:
        """Call `on_rejected`; its exception must not end the calling thread."""
        try:
            self._on_rejected(rejection)
        except Exception:
            log.exception("rejection handler failed")

    def _on_requested(self, event: evt.Event) -> None:
        association = cast(AcceptedAssociation, event.assoc)
        try:
            self._answer_request(association)
        except Exception as error:  # noqa: BLE001 - pynetdicom would accept the unchecked request
            log.error("checking an association request failed: %s", type(error).__name__)
            association.is_aborted = True
            association.dul.abort(AbortReason.MALFORMED)
            association.kill()

    def _answer_request(self, association: AcceptedAssociation) -> None:
        request = association.requestor.primitive
        if not isinstance(request, A_ASSOCIATE):
            association.kill()
            return
        association.request_received()
        caller = _caller(association, request)
        verdict = self._verdict(association, caller, request)
        if verdict.reason is not None:
            self._reject(association, caller, request, verdict.reason, verdict.detail)
            return
        if not verdict.is_peer:
            association.serve_echo_only()
        association.acceptor.supported_contexts = supported_contexts(
            request,
            storage=verdict.is_peer
            and any(peer.sends and peer.matches(caller) for peer in self._peers),
            events=self._services.events if verdict.is_peer else (),
            others=self._services.others if verdict.is_peer else (),
        )
        if not self._capacity.add(association):
            self._reject(association, caller, request, RejectReason.TOO_MANY)

    def _verdict(
        self, association: AcceptedAssociation, caller: Caller, request: A_ASSOCIATE
    ) -> Verdict:
        checked = association.dul.request
        if checked is None:
            return Verdict(RejectReason.PROTOCOL_VERSION)
        if association.protocol_fault is not None:
            return Verdict(association.protocol_fault)
        return self._admission.verdict(caller, request, checked)

    def _reject(
        self,
        association: AcceptedAssociation,
        caller: Caller,
        request: A_ASSOCIATE,
        reason: RejectReason,
        detail: str = "",
    ) -> None:
        association.acse.send_reject(*REJECT_CODES[reason])
        titles = caller.ae_title, str(request.called_ae_title).strip()
        if association.protocol_fault is not None:
            titles = "", ""
        self._report(Rejection(reason, *titles, caller.address, detail))
        association.kill()

    def _on_c_store(self, event: evt.Event) -> Dataset:
        with self._lock:
            # Drop the associations that were aborted before their C-STORE was answered.
            self._storing = {each for each in self._storing if each.is_established} | {event.assoc}
        if self._stopping.is_set():
            return status_response(
                StoreStatus.OUT_OF_RESOURCES, "node is shutting down, send again"
            )
        refusal = refusal_of(event.request)
        if refusal is not None:
            return status_response(StoreStatus.OUT_OF_RESOURCES, refusal.value)
        try:
            instance = received(event)
        except NotDicomError as error:
            return status_response(StoreStatus.CANNOT_UNDERSTAND, str(error))
        free_data(event.request)
        problem = mismatch(event, instance)
        if problem:
            return status_response(StoreStatus.SOP_CLASS_MISMATCH, problem)
        return status_response(self._on_store(instance))

    def _on_sent(self, event: evt.Event) -> None:
        if isinstance(event.message, C_STORE_RSP):
            with self._lock:
                self._storing.discard(event.assoc)
            if event.message.command_set.Status != StoreStatus.SUCCESS:
                self._on_refused(refused_object(event))

    def _is_storing(self) -> bool:
        with self._lock:
            self._storing = {each for each in self._storing if each.is_established}
            return bool(self._storing)


def _caller(association: Association, request: A_ASSOCIATE) -> Caller:
    title, address = str(request.calling_ae_title).strip(), str(association.requestor.address)
    return Caller(title, address, *tls_identity(association))


def _end(association: Association) -> None:
    """Abort an association, or close a connection that has not requested one."""
    if association.requestor.primitive is not None:
        cast(AcceptedAssociation, association).dul.stop_reading()
        association.abort(block=False)
        return
    association.dul.kill_dul()
