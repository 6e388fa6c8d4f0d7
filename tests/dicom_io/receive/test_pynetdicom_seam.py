"""The private names and undocumented behaviour of pynetdicom that dicom_io relies on.

RELIANCES lists all of them, each with a check against the installed version: after an upgrade the
failing tests name the changes. The private names and the overridden methods in the list are
compared with those found in the sources, so a new use fails until it is listed here.
"""

import ast
import importlib
import inspect
import pkgutil
import queue
import socket
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import pynetdicom
import pytest
from packaging.requirements import Requirement
from pynetdicom import AE, _globals, dimse_messages, evt, fsm
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE, N_EVENT_REPORT
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ABORT, A_ASSOCIATE, P_DATA
from pynetdicom.service_class import ServiceClass, StorageServiceClass, VerificationServiceClass
from pynetdicom.service_class_n import StorageCommitmentServiceClass
from pynetdicom.sop_class import uid_to_service_class
from pynetdicom.timer import Timer
from pynetdicom.transport import (
    AddressInformation,
    AssociationServer,
    AssociationSocket,
    RequestHandler,
    ThreadedAssociationServer,
)

from dicom_io.commitment.messages import COMMITMENT_CLASS
from dicom_io.objects.classes import VERIFICATION
from tests.servers.dicom import raw_peer
from tests.tools.paths import ROOT

pytestmark = pytest.mark.network

REQUIREMENT = "pynetdicom>=3.0,<3.1"
"""The versions that the list below was written for."""

SEAM = {
    "dicom_io/commitment/answer_channel.py",
    "dicom_io/query/messages.py",
    "dicom_io/receive/server.py",
    "dicom_io/receive/upper_layer.py",
    "dicom_io/send/request_response.py",
    "dicom_io/ups/messages.py",
}
"""The only files that use private names of pynetdicom or override its methods."""


@dataclass(frozen=True)
class Reliance:
    """A name of pynetdicom, the behaviour relied on and a check of the installed version."""

    path: str
    behaviour: str
    check: Callable[[], object]


class RecordingMachine(fsm.StateMachine):
    """Records events instead of acting on them."""

    def __init__(self, dul: DULServiceProvider) -> None:
        super().__init__(dul)
        self.events: list[str] = []

    def do_action(self, event: str) -> None:
        self.events.append(event)
        self.dul.kill_dul()


class OneTurn(DULServiceProvider):
    """An upper layer whose reactor looks at its connection once, then stops."""

    def __init__(self) -> None:
        super().__init__(acceptor())
        self.turns = 0
        self.machine = RecordingMachine(self)
        self.state_machine = self.machine

    def _is_transport_event(self) -> bool:
        self.turns += 1
        self.kill_dul()
        return True


class ServingAssociation(Association):
    """Records the requests that pynetdicom asks it to serve."""

    served: "queue.Queue[tuple[Any, int]]"

    def _serve_request(self, msg: Any, context_id: int) -> None:
        self.served.put((msg, context_id))


def acceptor(kind: type[Association] = Association) -> Any:
    association = kind(AE(), "acceptor")
    association.requestor.address_info = AddressInformation("127.0.0.1", 104)
    return association


def parameters(function: Callable[..., object]) -> list[str]:
    return list(inspect.signature(function).parameters)


def fragment(control: int, data: bytes) -> P_DATA:
    primitive = P_DATA()
    primitive.presentation_data_value_list.append((3, bytes([control]) + data))
    return primitive


def with_queued(pdu: Any) -> Any:
    """Return an upper layer that has received a PDU and has a connection that can be closed."""
    association = acceptor()
    association.set_socket(AssociationSocket(association, client_socket=socket.socket()))
    association.dul._recv_pdu.put(pdu)
    return association.dul


def globals_are_the_standard() -> None:
    assert _globals.MODE_ACCEPTOR == "acceptor"
    assert _globals.APPLICATION_CONTEXT_NAME == "1.2.840.10008.3.1.1.1"


def association_is_made_of_parts() -> None:
    association = acceptor()
    assert parameters(Association.__init__) == ["self", "ae", "mode"]
    assert {"dul", "dimse", "acse", "requestor", "acceptor"} <= set(vars(association))
    assert association.requestor.primitive is None


def requests_are_served_with_their_context() -> None:
    assert parameters(Association._serve_request) == ["self", "msg", "context_id"]
    association = acceptor(ServingAssociation)
    association.served = queue.Queue()
    association.is_established = True
    message = C_STORE()
    association.dimse.msg_queue.put((3, message))
    # Ends the loop after its first turn, because the upper layer does not run.
    association._run_reactor()
    assert association.served.get_nowait() == (message, 3)


def event_reports_have_their_own_thread() -> None:
    association = acceptor(ServingAssociation)
    association.served = queue.Queue()
    elements = [
        (0x0002, raw_peer.uid_value(COMMITMENT_CLASS)),
        (0x0100, b"\x00\x01"),
        (0x0110, b"\x07\0"),
        (0x0800, b"\x01\x01"),
        (0x1000, raw_peer.uid_value("1.2.3")),
        (0x1002, b"\x01\0"),
    ]
    association.dimse.receive_primitive(fragment(3, raw_peer.command(elements)))
    message, context_id = association.served.get(timeout=5)
    assert isinstance(message, N_EVENT_REPORT)
    assert context_id == 3


def server_finds_its_associations() -> None:
    assert acceptor()._server is None
    source = inspect.getsource(AssociationServer.active_associations.fget)  # type: ignore[attr-defined]
    assert '"AcceptorThread" in tt.name' in source
    assert "tt._server is self" in source


def reactor_can_be_paused() -> None:
    association = acceptor()
    assert association._reactor_checkpoint.is_set()
    assert association._is_paused is False
    association._reactor_checkpoint.clear()
    reactor = threading.Thread(target=association._run_reactor)
    reactor.start()
    deadline = time.monotonic() + 5
    while not association._is_paused and time.monotonic() < deadline:
        time.sleep(0.001)
    assert association._is_paused
    assert reactor.is_alive()
    association._reactor_checkpoint.set()
    reactor.join(5)
    assert not reactor.is_alive()


def reactor_ends_without_a_request() -> None:
    association = acceptor()
    association.set_socket(AssociationSocket(association, client_socket=socket.socket()))
    association._started_dul = True
    association.dul.to_user_queue.put(None)
    association.run_reactor()
    assert association._kill


def timeouts_reach_the_timers() -> None:
    association = acceptor()
    association.network_timeout = 7
    association.acse_timeout = 8
    assert association.dul._idle_timer.timeout == 7
    assert association.dul.artim_timer.timeout == 8


def log_handlers_can_be_unbound() -> None:
    association = acceptor()
    for event in (evt.EVT_DIMSE_RECV, evt.EVT_DIMSE_SENT, evt.EVT_PDU_RECV, evt.EVT_PDU_SENT):
        ((handler, arguments),) = association.get_handlers(event)
        assert arguments is None
        association.unbind(event, handler)
        assert association.get_handlers(event) == []


def log_names_are_those_silenced() -> None:
    for name in ("pynetdicom.utils", "pynetdicom.presentation"):
        assert sys.modules[name].LOGGER.name == name


def abort_without_waiting_queues_a_primitive() -> None:
    association = acceptor()
    association.abort(block=False)
    assert isinstance(association.dul.to_provider_queue.get_nowait(), A_ABORT)
    assert not association._kill


def rejected_or_aborted_requests_are_not_negotiated() -> None:
    source = inspect.getsource(Association.run_reactor)
    assert "if not self.is_aborted and not self.is_rejected:" in source
    assert parameters(acceptor().acse.send_reject) == ["result", "source", "diagnostic"]


def queues_hold_events_and_pdus() -> None:
    dul = acceptor().dul
    for name in ("event_queue", "to_provider_queue", "to_user_queue", "_recv_pdu"):
        assert isinstance(getattr(dul, name), queue.Queue)
    assert dul.assoc.dul is dul


def kill_flag_is_a_boolean() -> None:
    dul = acceptor().dul
    assert dul._kill_thread is False
    dul.kill_dul()
    assert dul._kill_thread is True


def reactor_asks_for_transport_events() -> None:
    dul = OneTurn()
    dul.run_reactor()
    assert dul.turns == 1
    assert dul._idle_timer._start_time is not None
    assert dul.machine.events == []


def reactor_passes_events_to_the_machine() -> None:
    dul = OneTurn()
    dul.event_queue.put("Evt19")
    dul.run_reactor()
    assert dul.machine.events == ["Evt19"]


def expired_timer_is_an_event() -> None:
    dul = OneTurn()
    dul.artim_timer.timeout = -1
    dul.artim_timer.start()
    dul.run_reactor()
    assert dul.machine.events == ["Evt18"]


def outgoing_primitives_stay_queued_until_their_action() -> None:
    dul = OneTurn()
    dul.to_provider_queue.put(P_DATA())
    dul.run_reactor()
    assert dul.machine.events == ["Evt9"]
    assert dul.turns == 0
    assert dul.to_provider_queue.qsize() == 1


def idle_timer_is_asked_by_the_association() -> None:
    dul = acceptor().dul
    dul._idle_timer.timeout = -1
    assert not dul.idle_timer_expired()
    dul._idle_timer.start()
    assert dul.idle_timer_expired()
    assert "self.dul.idle_timer_expired()" in inspect.getsource(Association._run_reactor)


def timer_expires_only_while_it_runs() -> None:
    timer = Timer(0.01)
    timer.start()
    time.sleep(0.02)
    timer.stop()
    assert timer.expired
    timer.start()
    timer.stop()
    assert not timer.expired


TRANSITIONS = {
    ("Evt5", "Sta1"): "AE-5",
    ("Evt6", "Sta2"): "AE-6",
    ("Evt7", "Sta3"): "AE-7",
    ("Evt8", "Sta3"): "AE-8",
    ("Evt9", "Sta6"): "DT-1",
    ("Evt12", "Sta6"): "AR-2",
    ("Evt13", "Sta6"): "AA-8",
    ("Evt14", "Sta8"): "AR-4",
    ("Evt15", "Sta6"): "AA-1",
    ("Evt16", "Sta6"): "AA-3",
    ("Evt17", "Sta2"): "AA-5",
    ("Evt17", "Sta6"): "AA-4",
    ("Evt17", "Sta13"): "AR-5",
    ("Evt18", "Sta2"): "AA-2",
    ("Evt19", "Sta2"): "AA-1",
    ("Evt19", "Sta3"): "AA-8",
    ("Evt19", "Sta6"): "AA-8",
}
"""Transitions of an accepted connection (PS3.8 table 9-10)."""


def transitions_are_those_of_the_standard() -> None:
    assert {key: fsm.TRANSITION_TABLE.get(key) for key in TRANSITIONS} == TRANSITIONS
    assert ("Evt18", "Sta6") not in fsm.TRANSITION_TABLE


def actions_take_the_upper_layer() -> None:
    for _, function, state in fsm.ACTIONS.values():
        assert parameters(function) == ["dul"]
        assert state


def machine_starts_idle() -> None:
    machine = fsm.StateMachine(acceptor().dul)
    assert machine.current_state == "Sta1"
    machine.transition("Sta2")
    assert machine.current_state == "Sta2"
    assert parameters(fsm.StateMachine.do_action) == ["self", "event"]


def request_action_hands_over_the_request() -> None:
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(raw_peer.pdu(raw_peer.ASSOCIATE_RQ, raw_peer.associate_rq()))
    assert pdu.protocol_version == 1
    dul = with_queued(pdu)
    assert fsm.ACTIONS["AE-6"][1](dul) == "Sta3"
    primitive = dul.to_user_queue.get_nowait()
    assert isinstance(primitive, A_ASSOCIATE)
    assert primitive.application_context_name == _globals.APPLICATION_CONTEXT_NAME
    assert str(primitive.calling_ae_title).strip() == "STORESCU"


def request_action_rejects_other_versions_alone() -> None:
    source = inspect.getsource(fsm.AE_6)
    assert "if recv_pdu.protocol_version != 0x0001:" in source


def lost_connections_queue_an_empty_message() -> None:
    for action, pdu in (("AA-3", A_ABORT_RQ()), ("AA-4", None)):
        dul = with_queued(pdu)
        assert fsm.ACTIONS[action][1](dul) == "Sta1"
        assert dul.assoc.dimse.msg_queue.get_nowait() == (None, None)


def new_socket_queues_its_event() -> None:
    association = acceptor()
    with socket.socket() as connection:
        transport = AssociationSocket(association, client_socket=connection)
        assert transport.socket is connection
        assert transport._is_connected is True
        assert transport.event_queue is association.dul.event_queue
        assert association.dul.event_queue.get_nowait() == "Evt5"


def actions_close_the_socket_by_these_methods() -> None:
    assert parameters(AssociationSocket._shutdown_socket) == ["self"]
    assert parameters(AssociationSocket.close) == ["self"]
    assert "._shutdown_socket()" in inspect.getsource(fsm.AA_4)
    assert "sock.close()" in inspect.getsource(fsm.AA_3)


def pdus_are_sent_by_the_socket() -> None:
    assert parameters(AssociationSocket.send) == ["self", "bytestream"]
    assert "self.socket.send(pdu.encode())" in inspect.getsource(DULServiceProvider._send)


def handler_has_both_addresses() -> None:
    assert parameters(RequestHandler.handle) == ["self"]
    assert isinstance(RequestHandler.local, property)
    assert isinstance(RequestHandler.remote, property)
    assert AddressInformation.from_tuple(("127.0.0.1", 104)).address == "127.0.0.1"


def server_accepts_in_get_request() -> None:
    assert parameters(AssociationServer.get_request) == ["self"]
    assert parameters(ThreadedAssociationServer.process_request_thread) == [
        "self",
        "request",
        "client_address",
    ]
    assert {"ae", "ae_title", "ssl_context"} <= set(parameters(ThreadedAssociationServer.__init__))


def server_binds_and_closes_its_socket() -> None:
    assert parameters(AssociationServer.server_bind) == ["self"]
    assert "self.socket.bind(" in inspect.getsource(AssociationServer.server_bind)
    assert "self.socket.close()" in inspect.getsource(AssociationServer.server_close)
    assert "self.server_close()" in inspect.getsource(AssociationServer.shutdown)


def start_server_asks_make_server() -> None:
    class StoppedError(Exception):
        """Raised instead of listening."""

    class Entity(AE):
        def make_server(self, *_: Any, **options: Any) -> Any:
            assert options["server_class"] is ThreadedAssociationServer
            raise StoppedError

    with pytest.raises(StoppedError):
        Entity().start_server(("127.0.0.1", 0), block=False)
    assert "request_handler" in parameters(AssociationServer.__init__)


def data_set_of_a_message_is_kept_as_it_is() -> None:
    dimse = acceptor().dimse
    dimse.receive_primitive(fragment(3, raw_peer.command(raw_peer.store_elements("1.2.3"))))
    message = dimse.message
    assert isinstance(message, DIMSEMessage)
    assert message.context_id == 3
    data = BytesIO()
    message.data_set = data
    dimse.receive_primitive(fragment(2, b""))
    assert dimse.message is None
    context_id, primitive = dimse.msg_queue.get_nowait()
    assert context_id == 3
    assert isinstance(primitive, C_STORE)
    assert primitive._dataset is data


def requests_respond_to_no_message() -> None:
    primitive = C_STORE()
    assert primitive.MessageIDBeingRespondedTo is None
    assert not primitive.is_valid_request
    assert primitive._dataset is None


def messages_are_read_and_written_here() -> None:
    assert parameters(DIMSEServiceProvider.get_msg) == ["self", "block"]
    assert parameters(DIMSEServiceProvider.send_msg) == ["self", "primitive", "context_id"]
    dimse = acceptor().dimse
    assert dimse.peek_msg() == (None, None)
    dimse.msg_queue.put((1, C_STORE()))
    assert dimse.peek_msg()[0] == 1
    for send in (Association.send_c_store, Association.send_c_echo, Association.send_n_action):
        source = inspect.getsource(send)
        assert "self.dimse.send_msg(" in source
        assert "self.dimse.get_msg(block=True)" in source


def parts_of_messages_arrive_here() -> None:
    assert parameters(DIMSEServiceProvider.receive_primitive) == ["self", "primitive"]
    assert fragment(2, b"").presentation_data_value_list == [(3, b"\x02")]
    for wrap in (Association._wrap_find_responses, Association._wrap_get_move_responses):
        assert "self.dimse.get_msg(block=True)" in inspect.getsource(wrap)
    assert "self._c_store_scp(rsp)" in inspect.getsource(Association._wrap_get_move_responses)


def message_classes_end_in_their_kind() -> None:
    names = [
        name
        for name, kind in vars(dimse_messages).items()
        if isinstance(kind, type) and issubclass(kind, DIMSEMessage) and kind is not DIMSEMessage
    ]
    assert {"N_EVENT_REPORT_RSP", "C_STORE_RSP"} <= set(names)
    assert all(name.endswith(("_RQ", "_RSP")) for name in names)


def services_are_chosen_by_class() -> None:
    assert uid_to_service_class(VERIFICATION) is VerificationServiceClass
    assert issubclass(uid_to_service_class(raw_peer.CR), StorageServiceClass)
    assert uid_to_service_class(COMMITMENT_CLASS) is StorageCommitmentServiceClass
    assert uid_to_service_class("1.2.3") is ServiceClass


RELIANCES = (
    Reliance("_globals.MODE_ACCEPTOR", "the mode of an acceptor", globals_are_the_standard),
    Reliance("_globals.APPLICATION_CONTEXT_NAME", "PS3.7 A.2.1", globals_are_the_standard),
    Reliance("association.Association", "attributes and arguments", association_is_made_of_parts),
    Reliance(
        "association.Association._serve_request",
        "called with each (context ID, message) of dimse.msg_queue",
        requests_are_served_with_their_context,
    ),
    Reliance(
        "association.Association._serve_request",
        "called for N-EVENT-REPORT requests from a thread of their own",
        event_reports_have_their_own_thread,
    ),
    Reliance(
        "association.Association._server",
        "server.active_associations compares it, in threads named AcceptorThread",
        server_finds_its_associations,
    ),
    Reliance(
        "association.Association._reactor_checkpoint",
        "an event that the reactor waits for between messages",
        reactor_can_be_paused,
    ),
    Reliance(
        "association.Association._is_paused",
        "True while the reactor waits for its checkpoint",
        reactor_can_be_paused,
    ),
    Reliance(
        "association.Association.run_reactor",
        "ends when the queue of the upper layer gives None instead of a request",
        reactor_ends_without_a_request,
    ),
    Reliance(
        "association.Association.run_reactor",
        "does not negotiate a request that its handler aborted or rejected",
        rejected_or_aborted_requests_are_not_negotiated,
    ),
    Reliance(
        "association.Association.network_timeout",
        "setting the timeouts sets the timers of the upper layer",
        timeouts_reach_the_timers,
    ),
    Reliance(
        "association.Association.get_handlers",
        "a list of (handler, arguments), with pynetdicom's own log handlers",
        log_handlers_can_be_unbound,
    ),
    Reliance(
        "utils.LOGGER",
        "the loggers that quote a peer are named after their modules",
        log_names_are_those_silenced,
    ),
    Reliance(
        "association.Association.abort",
        "block=False queues an A-ABORT primitive",
        abort_without_waiting_queues_a_primitive,
    ),
    Reliance("dul.DULServiceProvider._recv_pdu", "four queues", queues_hold_events_and_pdus),
    Reliance(
        "dul.DULServiceProvider._kill_thread",
        "a flag, set by kill_dul, that ends the reactor",
        kill_flag_is_a_boolean,
    ),
    Reliance(
        "dul.DULServiceProvider._is_transport_event",
        "called once a turn; True restarts the idle timer",
        reactor_asks_for_transport_events,
    ),
    Reliance(
        "dul.DULServiceProvider._idle_timer",
        "a Timer, asked for by idle_timer_expired",
        idle_timer_is_asked_by_the_association,
    ),
    Reliance(
        "dul.DULServiceProvider.idle_timer_expired",
        "called by the reactor of the association only",
        idle_timer_is_asked_by_the_association,
    ),
    Reliance(
        "dul.DULServiceProvider.run_reactor",
        "passes each event to state_machine.do_action",
        reactor_passes_events_to_the_machine,
    ),
    Reliance(
        "dul.DULServiceProvider.artim_timer",
        "Evt18 for each turn after it has expired",
        expired_timer_is_an_event,
    ),
    Reliance(
        "dul.DULServiceProvider.to_provider_queue",
        "a primitive stays queued while its event waits for its action",
        outgoing_primitives_stay_queued_until_their_action,
    ),
    Reliance(
        "timer.Timer",
        "stays expired when stopped late, until it is started again",
        timer_expires_only_while_it_runs,
    ),
    Reliance(
        "fsm.TRANSITION_TABLE",
        "(event, state) -> name of the action",
        transitions_are_those_of_the_standard,
    ),
    Reliance(
        "fsm.ACTIONS",
        "name -> (description, function of the upper layer, state)",
        actions_take_the_upper_layer,
    ),
    Reliance("fsm.StateMachine.do_action", "states are Sta1 to Sta13", machine_starts_idle),
    Reliance(
        "fsm.AE_6",
        "takes the PDU from _recv_pdu and gives the request to the association",
        request_action_hands_over_the_request,
    ),
    Reliance(
        "fsm.AE_6",
        "compares the protocol version as a number",
        request_action_rejects_other_versions_alone,
    ),
    Reliance(
        "fsm.AA_4",
        "puts (None, None) into dimse.msg_queue at the end of a connection",
        lost_connections_queue_an_empty_message,
    ),
    Reliance(
        "transport.AssociationSocket._is_connected",
        "True for an accepted connection, whose Evt5 is queued",
        new_socket_queues_its_event,
    ),
    Reliance(
        "transport.AssociationSocket._shutdown_socket",
        "called by the actions at the end of a connection",
        actions_close_the_socket_by_these_methods,
    ),
    Reliance(
        "transport.AssociationSocket.close",
        "called by the actions that close a connection",
        actions_close_the_socket_by_these_methods,
    ),
    Reliance(
        "transport.AssociationSocket.send",
        "called with each encoded PDU",
        pdus_are_sent_by_the_socket,
    ),
    Reliance(
        "transport.RequestHandler.handle",
        "makes the association of a connection from local and remote",
        handler_has_both_addresses,
    ),
    Reliance(
        "transport.AssociationServer.get_request",
        "returns (connection, address), after the handshake of TLS",
        server_accepts_in_get_request,
    ),
    Reliance(
        "transport.AssociationServer.server_bind",
        "binds the socket that the server made",
        server_binds_and_closes_its_socket,
    ),
    Reliance(
        "transport.AssociationServer.server_close",
        "closes the socket at the end of shutdown, after the last connection was accepted",
        server_binds_and_closes_its_socket,
    ),
    Reliance(
        "transport.ThreadedAssociationServer.process_request_thread",
        "runs the handler of a connection in its own thread",
        server_accepts_in_get_request,
    ),
    Reliance(
        "ae.ApplicationEntity.make_server",
        "makes the server for start_server; passes on request_handler",
        start_server_asks_make_server,
    ),
    Reliance(
        "dimse.DIMSEServiceProvider.message",
        "its data_set may be replaced and becomes the _dataset of the queued primitive",
        data_set_of_a_message_is_kept_as_it_is,
    ),
    Reliance(
        "dimse_primitives.DIMSEPrimitive._dataset",
        "the encoded data set of any primitive, None without one",
        requests_respond_to_no_message,
    ),
    Reliance(
        "dimse.DIMSEServiceProvider.get_msg",
        "the send_* methods of an association wait in it for the response",
        messages_are_read_and_written_here,
    ),
    Reliance(
        "dimse.DIMSEServiceProvider.send_msg",
        "the send_* methods of an association send by it",
        messages_are_read_and_written_here,
    ),
    Reliance(
        "dimse.DIMSEServiceProvider.receive_primitive",
        "each part of a message comes through it, on an association of either side",
        parts_of_messages_arrive_here,
    ),
    Reliance(
        "dimse_messages",
        "classes of requests end in _RQ, of responses in _RSP",
        message_classes_end_in_their_kind,
    ),
    Reliance(
        "sop_class.uid_to_service_class",
        "chooses the service by the SOP class alone",
        services_are_chosen_by_class,
    ),
)


@pytest.mark.parametrize("reliance", RELIANCES, ids=lambda row: f"{row.path}: {row.behaviour}")
def test_pynetdicom_behaves_as_relied_on(reliance: Reliance) -> None:
    try:
        reliance.check()
    except Exception as error:
        raise AssertionError(
            f"pynetdicom {version('pynetdicom')} has changed: {reliance.path}: {reliance.behaviour}"
        ) from error


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def sources(*packages: str) -> Iterator[Path]:
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "pynetdicom" in path.read_text(encoding="utf-8") and path != Path(__file__):
                yield path


@cache
def private_attributes() -> dict[str, set[str]]:
    """Return the classes of pynetdicom that have each private attribute or method."""
    found: dict[str, set[str]] = {}
    for module in pkgutil.iter_modules(pynetdicom.__path__):
        if module.ispkg or module.name == "__main__":
            continue
        source = Path(pynetdicom.__path__[0], f"{module.name}.py").read_text(encoding="utf-8")
        for kind in ast.walk(ast.parse(source)):
            if not isinstance(kind, ast.ClassDef):
                continue
            for node in ast.walk(kind):
                name = None
                if isinstance(node, ast.FunctionDef):
                    name = node.name
                elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                    name = node.target.id
                elif (
                    isinstance(node, ast.Attribute)
                    and isinstance(node.ctx, ast.Store)
                    and ast.unparse(node.value) == "self"
                ):
                    name = node.attr
                if name is not None and is_private(name):
                    found.setdefault(name, set()).add(f"{module.name}.{kind.name}")
    return found


@cache
def derived_classes() -> dict[str, type]:
    """Return the classes of dicom_io that derive from a class of pynetdicom, by file and name."""
    found = {}
    for path in sources("dicom_io"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        for kind in vars(importlib.import_module(".".join(parts))).values():
            if inspect.isclass(kind) and kind.__module__ == ".".join(parts) and bases(kind):
                found[f"{path.relative_to(ROOT)}:{kind.__name__}"] = kind
    return found


def bases(kind: type) -> list[type]:
    return [base for base in kind.__mro__ if base.__module__.startswith("pynetdicom.")]


def path_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__name__}".removeprefix("pynetdicom.")


def private_imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pynetdicom"):
            for alias in node.names:
                path = f"{node.module}.{alias.name}".removeprefix("pynetdicom.")
                if any(map(is_private, path.split("."))):
                    yield path


def private_uses(path: Path) -> set[str]:
    """Return the private names of pynetdicom in a file, as `module.Class.name`.

    A name after `self` counts in a class derived from its owner. Any other name counts if a
    class of pynetdicom has it.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set(private_imports(tree))
    inside: dict[ast.AST, str] = {}
    for kind in ast.walk(tree):
        if isinstance(kind, ast.ClassDef):
            inside |= dict.fromkeys(ast.walk(kind), f"{path.relative_to(ROOT)}:{kind.name}")
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not is_private(node.attr):
            continue
        owners = private_attributes().get(node.attr, set())
        if ast.unparse(node.value) in ("self", "super()"):
            derived = derived_classes().get(inside.get(node, ""))
            owners = owners & ({path_of(base) for base in bases(derived)} if derived else set())
        found |= {f"{owner}.{node.attr}" for owner in owners}
    return found


def overrides() -> dict[str, set[str]]:
    """Return the methods of pynetdicom that classes of dicom_io override, by file."""
    found: dict[str, set[str]] = {}
    for place, kind in derived_classes().items():
        for name in vars(kind):
            owner = next((base for base in bases(kind) if name in vars(base)), None)
            if owner is not None and not name.startswith("__"):
                found.setdefault(place.partition(":")[0], set()).add(f"{path_of(owner)}.{name}")
    return found


def test_every_private_name_and_override_is_listed() -> None:
    used = {name for path in sources("dicom_io") for name in private_uses(path)}
    overridden = {name for names in overrides().values() for name in names}
    listed = {reliance.path for reliance in RELIANCES}
    assert (used | overridden) - listed == set(), "not in RELIANCES"
    private = {path for path in listed if any(map(is_private, path.split(".")))}
    assert private - used - overridden == set(), "in RELIANCES, but no longer in use"


def test_six_files_use_the_internals_of_pynetdicom() -> None:
    using = {str(path.relative_to(ROOT)) for path in sources("dicom_io") if private_uses(path)}
    assert using | set(overrides()) == SEAM


def test_tests_use_no_internals_of_pynetdicom() -> None:
    uses = {str(path.relative_to(ROOT)): private_uses(path) for path in sources("tests")}
    assert {path: names for path, names in uses.items() if names} == {}


def test_the_search_finds_private_names(tmp_path: Path) -> None:
    source = tmp_path / "use.py"
    source.write_text("from pynetdicom._globals import MODE_ACCEPTOR\nassoc._kill = True\n")
    tree = ast.parse(source.read_text())
    assert list(private_imports(tree)) == ["_globals.MODE_ACCEPTOR"]
    assert "association.Association" in private_attributes()["_kill"]


def test_the_pinned_version_is_the_one_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = [line for line in project["dependencies"] if line.startswith("pynetdicom")]
    assert pinned == [REQUIREMENT]
    assert Requirement(REQUIREMENT).specifier.contains(version("pynetdicom"))
