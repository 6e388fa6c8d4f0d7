"""The search of a worklist: what is taken up, how much, and when."""

import dataclasses
from datetime import timedelta

import pytest

from dicom_io.ups.workitems import Code, ObjectReference, Readiness, StepPriority, StepState
from storage.worklist.records import WorkitemInput, WorkitemState
from tests.builders.worklist.scene import Scene

OTHER = Code("110005", "DCM", "Interpretation")
SPACING = timedelta(seconds=30)


def test_a_workitem_of_another_code_or_not_ready_is_left(scene: Scene) -> None:
    mine = scene.order(1)
    scene.manager.order("2.25.5", scene.study(5), codes=(OTHER,))
    unready = scene.order(6)
    scene.manager.items[unready] = dataclasses.replace(
        scene.manager.items[unready], readiness=Readiness.INCOMPLETE
    )
    scene.search()
    assert [item.uid for item in scene.store.workitems.list()] == [mine]


def test_an_empty_list_of_codes_takes_every_workitem(scene: Scene) -> None:
    scene.config = scene.config.model_copy(update={"codes": ()})
    scene.manager.order("2.25.5", scene.study(5), codes=(OTHER,))
    scene.search()
    assert [item.uid for item in scene.store.workitems.list()] == ["2.25.5"]


def test_a_workitem_is_taken_up_once(scene: Scene) -> None:
    uid = scene.order(1)
    scene.search()
    first = scene.item(uid).transaction_uid
    scene.search()
    assert len(scene.store.workitems.list()) == 1
    assert scene.item(uid).transaction_uid == first


def test_only_so_many_are_taken_up_at_once_and_high_priority_first(scene: Scene) -> None:
    scene.config = scene.config.model_copy(update={"most_at_once": 2})
    ordered = [scene.order(number) for number in (1, 2, 3)]
    urgent = scene.order(4, StepPriority.HIGH)
    scene.search()
    assert {item.uid for item in scene.store.workitems.list()} == {urgent, ordered[0]}
    late = scene.order(5, StepPriority.HIGH)
    scene.search()
    assert {item.uid for item in scene.store.workitems.list()} == {urgent, ordered[0], late}


def test_inputs_of_other_studies_are_not_waited_for(scene: Scene) -> None:
    uid = scene.order(1)
    item = scene.manager.items[uid]
    (series,) = item.inputs
    prior = dataclasses.replace(series, study_uid="2.25.3")
    scene.manager.items[uid] = dataclasses.replace(item, inputs=(prior, series))
    scene.search()
    assert scene.item(uid).study.study_instance_uid == scene.study(1)
    assert scene.item(uid).inputs == (
        WorkitemInput(
            scene.study(1),
            f"{scene.study(1)}.9",
            "1.2.840.10008.5.1.4.1.1.1.1",
            "2.25.91",
            "PACS",
        ),
    )


def test_inputs_that_are_no_films_are_not_waited_for(scene: Scene) -> None:
    uid = scene.order(1)
    item = scene.manager.items[uid]
    dose = ObjectReference("1.2.840.10008.5.1.4.1.1.88.67", "2.25.99")
    report = dataclasses.replace(item.inputs[0], series_uid="2.25.98", instances=(dose,))
    scene.manager.items[uid] = dataclasses.replace(item, inputs=(*item.inputs, report))
    scene.search()
    assert [one.sop_instance_uid for one in scene.item(uid).inputs] == ["2.25.91"]
    scene.send(1)
    scene.deliver()
    scene.perform()
    assert scene.item(uid).state is WorkitemState.COMPLETED


def test_one_host_asks_within_the_spacing_and_one_after_an_event(scene: Scene) -> None:
    workitems = scene.store.workitems
    assert workitems.take_turn("ris", SPACING)
    assert not workitems.take_turn("ris", SPACING)
    scene.clock.advance(29)
    assert not workitems.take_turn("ris", SPACING)
    scene.clock.advance(1)
    assert workitems.take_turn("ris", SPACING)
    workitems.want_turn("ris")
    assert workitems.take_turn("ris", SPACING)
    assert not workitems.take_turn("ris", SPACING)


def test_the_end_of_a_workitem_asks_for_the_next(scene: Scene) -> None:
    uid = scene.order(1)
    scene.search()
    assert scene.store.workitems.take_turn("ris", SPACING)
    scene.manager.items[uid] = dataclasses.replace(
        scene.manager.items[uid], state=StepState.CANCELED
    )
    scene.perform(seconds=0)
    assert scene.item(uid).state is WorkitemState.DROPPED
    assert scene.store.workitems.take_turn("ris", SPACING)


def test_a_subscription_is_renewed_each_hour_and_after_a_fault(scene: Scene) -> None:
    scene.config = scene.config.model_copy(update={"subscribe": True})
    scene.search()
    scene.search()
    assert scene.manager.subscriptions == 1
    scene.clock.advance(3600)
    scene.search()
    assert scene.manager.subscriptions == 2
    scene.store.workitems.note_answer("ris", "ris does not answer")
    assert scene.store.workitems.worklist("ris").fault == "ris does not answer"
    scene.search()
    assert scene.manager.subscriptions == 3
    assert scene.store.workitems.worklist("ris").fault == ""


def test_a_subscription_that_is_no_longer_wanted_is_ended_once(scene: Scene) -> None:
    wanted = scene.config
    scene.config = wanted.model_copy(update={"subscribe": True})
    scene.search()
    scene.config = wanted
    scene.search()
    scene.search()
    assert (scene.manager.subscriptions, scene.manager.ended_subscriptions) == (1, 1)
    assert scene.store.workitems.worklist("ris").subscribed_at is None


@pytest.mark.parametrize("state", [StepState.IN_PROGRESS, StepState.COMPLETED])
def test_a_manager_that_ignores_the_state_asked_for_gives_no_work(
    scene: Scene, state: StepState
) -> None:
    uid = scene.order(1)
    listed = scene.manager.find

    def all_of_them(wanted):  # type: ignore[no-untyped-def]
        scene.manager.items[uid] = dataclasses.replace(
            scene.manager.items[uid], state=StepState.SCHEDULED
        )
        found = listed(wanted)
        scene.manager.items[uid] = dataclasses.replace(scene.manager.items[uid], state=state)
        return found

    scene.manager.find = all_of_them  # type: ignore[method-assign]
    scene.search()
    assert scene.store.workitems.list() == ()
