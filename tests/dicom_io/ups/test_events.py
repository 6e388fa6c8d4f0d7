"""Events of workitems: received from a manager, and sent to a subscriber."""

from collections.abc import Callable, Iterator

import pytest
from pydicom import Dataset
from pynetdicom import AE, evt

from dicom_io.errors import AssociationError
from dicom_io.receive.node import Node
from dicom_io.send.association import Destination, Timeouts
from dicom_io.ups.events import send_event as report
from dicom_io.ups.workitems import Code, EventKind, Readiness, StepState, WorkitemEvent
from tests.servers.worklist.dimse_manager import DimseWorklist, running_manager, send_event
from tests.servers.worklist.shelf import MemoryShelf, workitem_node
from tests.servers.worklist.steps import chest_step, code
from tests.tools.ports import HOST

pytestmark = pytest.mark.network

EVENT_CLASS = "1.2.840.10008.5.1.4.34.6.4"
PUSH_CLASS = "1.2.840.10008.5.1.4.34.6.1"


@pytest.fixture
def shelf() -> MemoryShelf:
    return MemoryShelf()


@pytest.fixture
def node(shelf: MemoryShelf) -> Iterator[Node]:
    with workitem_node(shelf, is_pushed_to=False) as running:
        yield running


def test_the_events_of_a_workitem_are_received(node: Node, shelf: MemoryShelf) -> None:
    with running_manager() as worklist:
        worklist.addresses["CXRD"] = (HOST, node.port)
        uid = worklist.schedule(chest_step("1.2.3", {}))
        request = Dataset()
        request.ReasonForCancellation = "falsche Seite: rechts"
        request.ProcedureStepDiscontinuationReasonCodeSequence = [code("110514", "DCM")]
        causes: tuple[Callable[[], None], ...] = (
            lambda: worklist.subscribe(uid, "CXRD"),
            lambda: worklist.assign(uid, code("CXRD")),
            lambda: worklist.change_state(uid, "IN PROGRESS", "2.25.1"),
            lambda: worklist.request_cancel(uid, "REQUESTER", request),
        )
        for cause in causes:
            cause()
            worklist.wait_for_events()
        assert worklist.event_statuses == [0x0000] * 4
    events = [event for event, _ in shelf.events]
    assert [event.kind for event in events] == [
        EventKind.STATE_REPORT,
        EventKind.ASSIGNED,
        EventKind.STATE_REPORT,
        EventKind.CANCEL_REQUESTED,
    ]
    assert events[0] == WorkitemEvent(
        uid, EventKind.STATE_REPORT, StepState.SCHEDULED, Readiness.READY
    )
    assert events[1].station_names == (Code("CXRD", "99TEST", "CXRD"),)
    assert events[3].reason == "falsche Seite: rechts"
    assert events[3].reason_code == Code("110514", "DCM", "110514")
    assert {caller.ae_title for _, caller in shelf.events} == {"WORKLIST"}


def test_a_manager_need_not_negotiate_its_role(node: Node, shelf: MemoryShelf) -> None:
    ds = Dataset()
    ds.ProcedureStepState, ds.InputReadinessState = "CANCELED", "READY"
    status = send_event(HOST, node.port, "CXRD", "1.2.3", 1, ds, with_role=False)
    assert status == 0x0000
    assert shelf.events[0][0].state is StepState.CANCELED


@pytest.mark.parametrize(
    ("uid", "kind", "state", "status"),
    [("1.2.3", 9, "SCHEDULED", 0x0113), ("1.2.3", 1, "DOING", 0x0115)],
)
def test_a_malformed_event_is_refused(
    node: Node, shelf: MemoryShelf, uid: str, kind: int, state: str, status: int
) -> None:
    ds = Dataset()
    ds.ProcedureStepState = state
    assert send_event(HOST, node.port, "CXRD", uid, kind, ds) == status
    assert shelf.events == []


def test_an_event_of_a_stranger_is_not_taken(node: Node, shelf: MemoryShelf) -> None:
    ds = Dataset()
    ds.ProcedureStepState = "SCHEDULED"
    assert send_event(HOST, node.port, "CXRD", "1.2.3", 1, ds, title="STRANGER") is None
    assert shelf.events == []


@pytest.mark.parametrize(
    ("event", "number", "keyword"),
    [
        (
            WorkitemEvent("1.2.3", EventKind.STATE_REPORT, StepState.COMPLETED, Readiness.READY),
            1,
            "ProcedureStepState",
        ),
        (
            WorkitemEvent("1.2.3", EventKind.CANCEL_REQUESTED, reason="a", contact="Dr A"),
            2,
            "RequestingAE",
        ),
        (
            WorkitemEvent("1.2.3", EventKind.PROGRESS_REPORT, progress=50.0),
            3,
            "ProcedureStepProgressInformationSequence",
        ),
    ],
)
def test_an_event_is_sent_to_a_subscriber(event: WorkitemEvent, number: int, keyword: str) -> None:
    received: list[tuple[int, str, Dataset]] = []

    def take(caught: evt.Event) -> tuple[int, None]:
        request = caught.request
        uid = request.AffectedSOPInstanceUID  # type: ignore[union-attr]
        received.append((int(caught.event_type or 0), str(uid), caught.event_information))
        return 0x0000, None

    ae = AE(ae_title="REQUESTER")
    ae.add_supported_context(EVENT_CLASS, scu_role=True, scp_role=True)
    server = ae.start_server((HOST, 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)])
    assert server is not None
    try:
        assert report(subscriber(server.server_address[1]), event, "WATCHER") == 0x0000
    finally:
        server.shutdown()
    ((kind, uid, information),) = received
    assert (kind, uid) == (number, "1.2.3")
    assert keyword in information


def test_a_subscriber_that_takes_no_events_is_named() -> None:
    with (
        running_manager(DimseWorklist(), classes=(PUSH_CLASS,)) as other,
        pytest.raises(AssociationError, match="REQ does not accept events of workitems from CXRD"),
    ):
        report(subscriber(other.port), WorkitemEvent("1.2.3", EventKind.PROGRESS_REPORT))


def subscriber(port: int) -> Destination:
    return Destination("REQ", "REQUESTER", HOST, port, "CXRD", Timeouts(2.0, 2.0, 2.0, 2.0))
