"""Events of workitems: received from a manager."""

import time
from collections.abc import Callable, Iterator

import pytest
from pydicom import Dataset

from dicom_io.receive.node import Node
from dicom_io.ups.workitems import Code, EventKind, Readiness, StepState, WorkitemEvent
from tests.servers.worklist.dimse_manager import running_manager, send_event
from tests.servers.worklist.shelf import MemoryShelf, workitem_node
from tests.servers.worklist.steps import chest_step, code
from tests.tools.ports import HOST

pytestmark = pytest.mark.network


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


def test_an_event_during_the_acceptance_is_answered(shelf: MemoryShelf) -> None:
    ds = Dataset()
    ds.ProcedureStepState, ds.InputReadinessState = "SCHEDULED", "READY"
    with workitem_node(shelf, on_accepted=lambda _opened: time.sleep(0.3)) as node:
        assert send_event(HOST, node.port, "CXRD", "1.2.3", 1, ds) == 0x0000
