"""The listener takes the events of a manager, over a real association."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset

from daemon.audit.network import NetworkAudit
from daemon.listener import open_node
from daemon.receive.reception import Reception
from dicom_io.receive.node import Node
from tests.builders.worklist.scene import Scene
from tests.daemon.worklist.test_events import events
from tests.servers.worklist.dimse_manager import DimseWorklist, running_manager, send_event
from tests.servers.worklist.steps import GLOBAL, chest_step
from tests.tools.ports import HOST, free_port

pytestmark = pytest.mark.network


@pytest.fixture
def node(scene: Scene, tmp_path: Path) -> Iterator[Node]:
    taking, config = events(scene, tmp_path)
    listener = config.listener.model_copy(update={"host": HOST, "port": free_port()})
    config = config.model_copy(update={"listener": listener})
    reception = Reception(scene.spool, scene.store, 1.0)
    with (
        NetworkAudit(scene.store.audit) as audit,
        open_node(config, reception, audit, None, taking.handlers) as running,
    ):
        yield running


@pytest.fixture
def manager(node: Node) -> Iterator[DimseWorklist]:
    with running_manager() as running:
        running.addresses["CXRD"] = (HOST, node.port)
        running.title = "RIS"
        yield running


def test_a_request_to_cancel_reaches_the_workitem(scene: Scene, manager: DimseWorklist) -> None:
    uid = scene.order(1)
    scene.search()
    manager.schedule(chest_step("1.2.3", {}), uid)
    manager.change_state(uid, "IN PROGRESS", "2.25.1")
    manager.subscribe(uid, "CXRD")
    manager.request_cancel(uid, "REQUESTER", Dataset())
    manager.wait_for_events()
    assert manager.event_statuses == [0x0000, 0x0000]
    assert scene.item(uid).cancel_requested_at is not None


def test_a_new_workitem_ends_the_wait(scene: Scene, manager: DimseWorklist) -> None:
    manager.subscribe(GLOBAL, "CXRD")
    manager.schedule(chest_step("1.2.3", {}))
    manager.wait_for_events()
    assert manager.event_statuses == [0x0000]
    assert scene.store.workitems.worklist("ris").wanted_at is not None


def test_an_event_of_another_peer_is_not_authorised(node: Node) -> None:
    event = Dataset()
    event.ProcedureStepState, event.InputReadinessState = "SCHEDULED", "READY"
    assert send_event(HOST, node.port, "CXRD", "1.2.3", 1, event, title="PACS") == 0x0124
