"""Events of managers: what they wake, and whose are refused."""

from pathlib import Path

from daemon.config.peers import PeerConfig
from daemon.config.receivers import Product
from daemon.config.settings import Config
from daemon.worklist.events import Events, managers_that_call
from dicom_io.peer.peers import Caller
from dicom_io.ups.workitems import EventKind, StepState, WorkitemEvent
from tests.builders.worklist.scene import RIS, Scene

CALLER = Caller("RIS", "127.0.0.1")


def events(scene: Scene, folder: Path) -> tuple[Events, Config]:
    peer = PeerConfig(
        name="pacs",
        ae_title="PACS",
        host="127.0.0.1",
        port=104,
        sends=True,
        receives=(Product.REPORT,),
        source=scene.config.source,
    )
    worklist = RIS.model_copy(update={"subscribe": True})
    config = Config(data_dir=folder, peers=(peer,), worklists=(worklist,))
    return Events(config, scene.store), config


def test_a_requested_cancel_is_recorded_and_audited(scene: Scene, tmp_path: Path) -> None:
    taking, _ = events(scene, tmp_path)
    uid = scene.order(1)
    scene.search()
    event = WorkitemEvent(uid, EventKind.CANCEL_REQUESTED, reason="Mrs Miller went home")
    assert taking.take(event, CALLER)
    assert scene.item(uid).cancel_requested_at == scene.clock.now
    (row,) = (row for row in scene.store.audit.rows() if row.kind == "workitem_cancel_requested")
    assert (row.host, row.actor, row.detail) == ("127.0.0.1", "ris", "")
    scene.perform(seconds=0)
    assert scene.manager.history[uid] == [StepState.IN_PROGRESS, StepState.CANCELED]


def test_a_new_workitem_ends_the_wait_for_the_next_search(scene: Scene, tmp_path: Path) -> None:
    taking, _ = events(scene, tmp_path)
    for kind, state, is_wanted in (
        (EventKind.STATE_REPORT, StepState.SCHEDULED, True),
        (EventKind.STATE_REPORT, StepState.COMPLETED, False),
        (EventKind.PROGRESS_REPORT, None, False),
        (EventKind.ASSIGNED, None, True),
    ):
        scene.store.workitems.take_turn("ris", scene.clock.now - scene.clock.now)
        assert taking.take(WorkitemEvent("2.25.1", kind, state), CALLER)
        assert (scene.store.workitems.worklist("ris").wanted_at is not None) == is_wanted


def test_an_event_of_another_caller_is_refused(scene: Scene, tmp_path: Path) -> None:
    taking, config = events(scene, tmp_path)
    uid = scene.order(1)
    scene.search()
    event = WorkitemEvent(uid, EventKind.CANCEL_REQUESTED)
    assert not taking.take(event, Caller("OTHER", "127.0.0.1"))
    assert not taking.take(event, Caller("RIS", "192.0.2.7"))
    assert scene.item(uid).cancel_requested_at is None
    (peer,) = managers_that_call(config)
    assert (peer.ae_title, peer.sends) == ("RIS", False)
