"""The transitions of a workitem, and what ends it."""

import dataclasses

import pytest

from dicom_io.ups.workitems import StepPriority, StepState
from storage.errors import LeaseLostError
from storage.records import JobKind, JobState, Priority, StudyStatus
from storage.worklist.records import WorkitemState
from tests.builders.store_rows import LEASE, claim, new_instance
from tests.builders.worklist.scene import Scene

IN_PROGRESS, COMPLETED, CANCELED = StepState.IN_PROGRESS, StepState.COMPLETED, StepState.CANCELED


def receive(scene: Scene, uid: str, patient_id: str = "P1") -> int:
    """Have a film of study 1 arrive; return its number."""
    film = new_instance(
        uid, study_instance_uid=scene.study(1), source=scene.config.source, patient_id=patient_id
    )
    return scene.store.record_instance(film, quiet_seconds=0).instance_id


def refuse(scene: Scene, uid: str, patient_id: str = "P1") -> None:
    """Have a film arrive that is not analysed; report its study."""
    store, instance = scene.store, receive(scene, uid, patient_id)
    store.results.record_refusal(claim(store, JobKind.ANALYSE), instance, "LATERAL_VIEW", "")
    detail = "no image of the study could be analysed: LATERAL_VIEW"
    job = claim(store, JobKind.REPORT)
    store.results.record_report(job, StudyStatus.NO_ELIGIBLE_IMAGE, detail)


def test_a_workitem_is_completed_with_what_the_pacs_keeps(scene: Scene) -> None:
    uid = scene.order(1)
    scene.search()
    scene.perform()
    assert scene.item(uid).state is WorkitemState.IN_PROGRESS
    scene.send(1)
    scene.perform()
    assert scene.manager.history[uid] == [IN_PROGRESS]
    scene.deliver()
    scene.perform()
    assert scene.manager.history[uid] == [IN_PROGRESS, COMPLETED]
    assert scene.manager.outputs(uid) == scene.kept[scene.study(1)] == {"2.25.71"}
    (series,) = scene.manager.items[uid].outputs
    assert (series.study_uid, series.series_uid) == (scene.study(1), "2.25.71.1")
    assert series.retrieve_ae_titles == ("PACS",)
    assert scene.job(uid).state is JobState.DONE


def test_an_output_has_the_uid_that_the_pacs_gave_it(scene: Scene) -> None:
    uid = scene.order(1)
    scene.send(1)
    scene.deliver(coerced_uid="1.9.9")
    scene.search()
    scene.perform()
    assert scene.manager.outputs(uid) == scene.kept[scene.study(1)] == {"1.9.9"}


def test_what_was_done_says_when_and_by_whom(scene: Scene) -> None:
    uid = scene.order(1)
    scene.search()
    scene.perform()
    scene.send(1)
    scene.deliver()
    scene.perform()
    performed = scene.manager.performed[uid]
    assert performed.station_name.value == "CXRD"
    assert performed.started == "20260301120100.000000+0000"
    assert performed.ended == "20260301120200.000000+0000"
    assert scene.manager.told[uid] == ["waiting for the images", "results delivered"]


def test_the_transaction_uid_is_kept_before_the_claim_is_sent(scene: Scene) -> None:
    uid = scene.order(1)
    scene.search()
    at_claim = []

    def look(message: str, when: str) -> None:
        if (message, when) == ("claim", "before"):
            item = scene.item(uid)
            at_claim.append((item.state, item.transaction_uid))

    scene.manager.on_message = look
    scene.perform()
    assert at_claim == [(WorkitemState.CLAIMING, scene.manager.performers[uid])]


def test_a_workitem_of_another_performer_is_dropped(scene: Scene) -> None:
    uid = scene.order(1)
    scene.search()
    scene.manager.claim(uid, "1.2.3.4")
    scene.perform()
    item = scene.item(uid)
    assert item.state is WorkitemState.DROPPED
    assert item.reason == "another performer has claimed it"
    assert scene.job(uid).state is JobState.DONE


def test_a_claim_that_another_performer_won_is_dropped(scene: Scene) -> None:
    uid = scene.order(1)
    scene.search()

    def outrun(message: str, when: str) -> None:
        if (message, when) == ("claim", "before"):
            scene.manager.on_message = lambda _message, _when: None
            scene.manager.claim(uid, "1.2.3.4")

    scene.manager.on_message = outrun
    scene.perform()
    assert scene.item(uid).state is WorkitemState.DROPPED
    assert scene.manager.performers[uid] == "1.2.3.4"


def test_inputs_that_are_missing_are_asked_for_and_then_given_up(scene: Scene) -> None:
    uid = scene.order(1)
    scene.search()
    scene.perform()
    job = scene.store.retrievals.job_of("archive", scene.study(1))
    assert job is not None
    assert (job.lane, job.priority) == ("archive", Priority.ROUTINE)
    scene.perform(seconds=59 * 60)
    assert len(scene.store.jobs.list(kind=JobKind.RETRIEVE)) == 1
    assert scene.item(uid).state is WorkitemState.IN_PROGRESS
    scene.perform(seconds=60)
    assert scene.manager.history[uid] == [IN_PROGRESS, CANCELED]
    reason = "1 input(s) of the workitem did not arrive in time"
    assert scene.manager.reasons[uid] == ("110523", reason)


def test_a_study_that_was_fetched_without_its_film_is_asked_for_again(scene: Scene) -> None:
    scene.order(1)
    scene.search()
    scene.perform()

    def fetched() -> int:
        return len([row for row in scene.store.audit.rows() if row.kind == "retrieval_ordered"])

    scene.perform()
    assert fetched() == 1
    job = scene.store.jobs.claim([JobKind.RETRIEVE], "courier", LEASE, "archive")
    assert job is not None
    scene.store.jobs.finish(job)
    scene.perform(seconds=59)
    assert fetched() == 1
    scene.perform(seconds=30)
    assert fetched() == 2


def test_a_study_that_holds_no_film_for_the_model_is_canceled_at_once(scene: Scene) -> None:
    uid = scene.order(1)
    scene.search()
    refuse(scene, "2.25.91")
    scene.perform()
    code, reason = scene.manager.reasons[uid]
    assert (code, "LATERAL_VIEW" in reason) == ("110522", True)


def test_a_parked_delivery_is_waited_for_and_then_given_up(scene: Scene) -> None:
    uid = scene.order(1)
    scene.send(1)
    scene.search()
    (job,) = scene.store.jobs.claim_some([JobKind.DELIVER], "deliverer", LEASE, 1)
    scene.store.jobs.fail(job, "status 0xA900: not wanted", None)
    scene.perform()
    assert scene.item(uid).state is WorkitemState.IN_PROGRESS
    scene.perform(seconds=3600)
    assert scene.manager.reasons[uid] == ("110527", "1 job(s) of the study failed (deliver)")


def test_a_study_in_doubt_is_given_up_after_the_wait(scene: Scene) -> None:
    uid = scene.order(1)
    scene.send(1)
    refuse(scene, "2.25.99", patient_id="P2")
    scene.search()
    scene.perform()
    assert scene.item(uid).state is WorkitemState.IN_PROGRESS
    scene.perform(seconds=3600)
    assert scene.manager.reasons[uid] == ("110523", "the study is in doubt: TWO_PATIENTS")


def test_a_workitem_without_a_study_is_canceled(scene: Scene) -> None:
    scene.manager.order("2.25.609", "")
    scene.search()
    scene.perform()
    assert scene.manager.reasons["2.25.609"][0] == "110514"


def test_a_cancel_that_the_manager_asks_for_ends_the_workitem(scene: Scene) -> None:
    uid = scene.order(1)
    scene.search()
    scene.perform()
    assert scene.store.workitems.request_cancel("ris", uid)
    scene.perform(seconds=0)
    assert scene.manager.history[uid] == [IN_PROGRESS, CANCELED]
    assert scene.manager.reasons[uid] == ("110513", "canceled as the manager asked")
    assert not scene.store.workitems.request_cancel("ris", uid)


def test_a_cancel_that_comes_after_the_results_were_named_is_too_late(scene: Scene) -> None:
    uid = scene.order(1)
    scene.send(1)
    scene.deliver()
    scene.search()

    def ask(message: str, when: str) -> None:
        if (message, when) == ("set_performed", "before"):
            scene.store.workitems.request_cancel("ris", uid)

    scene.manager.on_message = ask
    scene.perform()
    assert scene.manager.history[uid] == [IN_PROGRESS, COMPLETED]
    scene.perform()
    assert scene.job(uid).state is JobState.DONE


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ("always scheduled", "accepted the claim, and then says SCHEDULED"),
        ("refuses claims", "refuses the claim of a workitem that it calls SCHEDULED"),
        ("denies its performer", "not the Transaction UID"),
        ("never completes", "accepted COMPLETED, and then says IN PROGRESS"),
        ("other outputs", "names other outputs than were reported"),
    ],
)
def test_a_manager_that_lies_parks_the_workitem_with_the_reason(
    scene: Scene, lie: str, reason: str
) -> None:
    uid = scene.order(1)
    scene.send(1)
    scene.deliver()
    scene.search()
    scene.manager.lies.add(lie)
    scene.perform()
    job = scene.job(uid)
    assert job.state is JobState.PARKED
    assert reason in (job.last_error or "")
    scene.manager.lies.clear()
    scene.store.jobs.retry(job.id)
    scene.perform()
    assert scene.manager.history[uid] == [IN_PROGRESS, COMPLETED]


def test_a_manager_that_ended_the_workitem_by_itself_is_believed(scene: Scene) -> None:
    uid = scene.order(1)
    scene.search()
    scene.perform()
    scene.manager.items[uid] = dataclasses.replace(scene.manager.items[uid], state=CANCELED)
    scene.perform()
    item = scene.item(uid)
    assert item.state is WorkitemState.DROPPED
    assert item.reason == "the manager says CANCELED, without this node"


def test_high_priority_makes_the_jobs_of_the_study_stat(scene: Scene) -> None:
    uid = scene.order(1, StepPriority.HIGH)
    scene.search()
    assert scene.job(uid).priority == Priority.STAT
    receive(scene, "2.25.91")
    scene.perform()
    kinds = {job.kind: job.priority for job in scene.store.jobs.list()}
    assert kinds[JobKind.ANALYSE] == kinds[JobKind.REPORT] == Priority.STAT


def test_a_worker_that_lost_its_lease_records_nothing(scene: Scene) -> None:
    uid = scene.order(1)
    scene.search()
    performer, queue = scene.performer()
    job = queue.claim()
    assert job is not None
    scene.store.jobs.release(job.worker or "")
    _, other = scene.performer()
    assert other.claim() is not None
    with pytest.raises(LeaseLostError):
        performer.perform(job, scene.manager)
    assert scene.manager.history[uid] == []
