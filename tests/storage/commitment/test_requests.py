"""Commitment requests to archives: every step, answer and restart."""

from datetime import timedelta

import pytest

from storage.errors import LeaseLostError
from storage.records import (
    CommitmentOutcome,
    CommitmentStep,
    Delivery,
    InstanceName,
    Job,
    JobKind,
    JobState,
    StudyStatus,
)
from storage.store import Store
from tests.builders.store_rows import LEASE, STUDY, analyse, claim, made_object, receive
from tests.tools.clock import Clock

PACS = "pacs"
REPORT_CLASS = "1.2.840.10008.5.1.4.1.1.88.34"
NO_SUCH_INSTANCE = 0x0112
CLASS_CONFLICT = 0x0119
AFTER = timedelta(seconds=5)


def deliver(store: Store, clock: Clock, *uids: str, image: str = "1.1") -> None:
    """Report these objects and deliver them to an archive that commits."""
    receive(store, image)
    analyse(store, clock.now)
    store.results.record_report(
        claim(store, JobKind.REPORT),
        StudyStatus.REPORTED,
        "",
        [made_object(uid) for uid in uids],
        [Delivery(uid, PACS) for uid in uids],
    )
    deliver_due_jobs(store)
    clock.advance(5)


def deliver_due_jobs(store: Store, sop_class_uid: str | None = None) -> int:
    count = 0
    while job := store.jobs.claim([JobKind.DELIVER], "courier", LEASE):
        store.results.record_delivery(job, 0, sop_class_uid, commit_after=AFTER)
        count += 1
    return count


def commit_job(store: Store) -> Job:
    (job,) = store.jobs.list(kind=JobKind.COMMIT)
    return job


def ask(store: Store, clock: Clock, transaction_uid: str = "2.25.1") -> CommitmentStep:
    """Do the next step of the COMMIT job, as a courier with a connection does."""
    job = claim(store, JobKind.COMMIT)
    step = store.commitments.next_step(job, transaction_uid)
    if step.order is not None:
        answer_by = clock.now + timedelta(seconds=60)
        store.commitments.record_sent(step.order.transaction_uid, answer_by)
        store.jobs.postpone(job, answer_by)
    elif step.answer_by is not None:
        store.jobs.postpone(job, step.answer_by)
    elif step.refused:
        store.commitments.give_up(job, "refused")
    else:
        store.jobs.finish(job)
    return step


def answer(
    store: Store,
    *committed: str,
    transaction_uid: str = "2.25.1",
    destination: str = PACS,
    **failed: int,
) -> CommitmentOutcome | None:
    """Record an answer. Failed instances are given as u1=REASON."""
    return store.commitments.record_answer(
        [destination],
        transaction_uid,
        committed,
        {uid.replace("u", "9."): reason for uid, reason in failed.items()},
        resend_for={NO_SUCH_INSTANCE, 0x0110},
        max_resends=2,
        resend_wait=lambda failures: timedelta(seconds=10 * failures),
    )


def committed(store: Store) -> str:
    return next(iter(store.export.rows()))["deliveries"]


def test_commitment_is_requested_some_time_after_the_last_delivery(
    store: Store, clock: Clock
) -> None:
    deliver(store, clock, "9.1", "9.2")
    clock.advance(-1)
    assert store.jobs.claim([JobKind.COMMIT], "courier", LEASE) is None

    clock.advance(1)
    step = ask(store, clock)

    assert step.order is not None
    assert step.order.transaction_uid == "2.25.1"
    assert step.order.instances == (
        InstanceName(REPORT_CLASS, "9.1"),
        InstanceName(REPORT_CLASS, "9.2"),
    )
    assert (commit_job(store).subject, commit_job(store).lane) == (f"{STUDY}@{PACS}", PACS)


def test_no_commitment_is_requested_from_other_destinations(store: Store, clock: Clock) -> None:
    receive(store, "1.1")
    analyse(store, clock.now)
    report = claim(store, JobKind.REPORT)
    store.results.record_report(
        report, StudyStatus.REPORTED, "", [made_object("9.1")], [Delivery("9.1", PACS)]
    )

    store.results.record_delivery(claim(store, JobKind.DELIVER), 0)

    assert store.jobs.list(kind=JobKind.COMMIT) == ()


@pytest.mark.parametrize(("later", "expected"), [(None, "2.25.5"), ("2.25.6", "2.25.6"), ("", "")])
def test_a_request_has_the_coerced_uid_of_the_last_delivery(
    store: Store, clock: Clock, later: str | None, expected: str
) -> None:
    deliver(store, clock, "9.1")
    for coerced_uid in ("2.25.5", later):
        store.jobs.retry(store.jobs.list(kind=JobKind.DELIVER)[0].id)
        again = claim(store, JobKind.DELIVER)
        store.results.record_delivery(
            again, 0xB000, REPORT_CLASS, coerced_uid=coerced_uid, commit_after=AFTER
        )
    clock.advance(5)

    step = ask(store, clock)

    assert step.order is not None
    assert step.order.instances == (InstanceName(REPORT_CLASS, "9.1", expected),)
    assert store.commitments.requested("2.25.1") == step.order.instances


def test_a_request_names_the_sop_class_sent(store: Store, clock: Clock) -> None:
    deliver(store, clock, "9.1")
    store.jobs.retry(store.jobs.list(kind=JobKind.DELIVER)[0].id)
    deliver_due_jobs(store, "1.2.840.10008.5.1.4.1.1.88.33")
    clock.advance(5)

    step = ask(store, clock)

    assert step.order is not None
    assert step.order.instances == (InstanceName("1.2.840.10008.5.1.4.1.1.88.33", "9.1"),)


def test_a_commitment_is_recorded_with_its_time(store: Store, clock: Clock) -> None:
    deliver(store, clock, "9.1")
    ask(store, clock)
    clock.advance(2)

    assert answer(store, "9.1") == CommitmentOutcome(1, 0, 0)

    assert committed(store).endswith(f"committed {clock.now.isoformat(timespec='milliseconds')}")
    assert ask(store, clock, "2.25.2").order is None
    assert commit_job(store).state is JobState.DONE


def test_a_repeated_answer_changes_nothing(store: Store, clock: Clock) -> None:
    deliver(store, clock, "9.1")
    ask(store, clock)
    answer(store, "9.1")
    before = committed(store)
    clock.advance(60)

    assert answer(store, u1=NO_SUCH_INSTANCE) == CommitmentOutcome(0, 0, 0)

    assert committed(store) == before


def test_an_answer_of_another_destination_or_transaction_is_ignored(
    store: Store, clock: Clock
) -> None:
    deliver(store, clock, "9.1")
    ask(store, clock)

    assert answer(store, "9.1", destination="stranger") is None
    assert answer(store, "9.1", transaction_uid="2.25.404") is None

    assert "committed" not in committed(store)


def test_a_missing_object_is_sent_and_requested_again(store: Store, clock: Clock) -> None:
    deliver(store, clock, "9.1", "9.2")
    ask(store, clock)

    assert answer(store, "9.1", u2=NO_SUCH_INSTANCE) == CommitmentOutcome(1, 1, 0)

    assert ask(store, clock, "2.25.2").order is None, "not before it has arrived"
    assert deliver_due_jobs(store) == 0, "not before its wait is over"
    clock.advance(10)
    assert deliver_due_jobs(store) == 1
    clock.advance(5)
    step = ask(store, clock, "2.25.2")
    assert step.order is not None
    assert [item.sop_instance_uid for item in step.order.instances] == ["9.2"]


def test_resends_are_limited_and_end_with_a_parked_job(store: Store, clock: Clock) -> None:
    deliver(store, clock, "9.1")
    for number in (1, 2):
        uid = f"2.25.{number}"
        ask(store, clock, uid)
        assert answer(store, transaction_uid=uid, u1=NO_SUCH_INSTANCE) == CommitmentOutcome(0, 1, 0)
        clock.advance(10 * number)
        deliver_due_jobs(store)
        clock.advance(5)
    ask(store, clock, "2.25.3")

    third = answer(store, transaction_uid="2.25.3", u1=NO_SUCH_INSTANCE)

    assert third == CommitmentOutcome(0, 0, 1)
    assert ask(store, clock, "2.25.4").refused == (NO_SUCH_INSTANCE,)
    assert commit_job(store).state is JobState.PARKED
    assert commit_job(store).last_error == "refused"
    store.jobs.retry(commit_job(store).id)
    step = ask(store, clock, "2.25.5")
    assert step.order is not None
    assert step.order.transaction_uid == "2.25.5"
    assert answer(store, "9.1", transaction_uid="2.25.5") == CommitmentOutcome(1, 0, 0)
    ask(store, clock)
    assert commit_job(store).state is JobState.DONE


def test_an_object_with_another_failure_reason_is_not_sent_again(
    store: Store, clock: Clock
) -> None:
    deliver(store, clock, "9.1", "9.2")
    ask(store, clock)

    assert answer(store, "9.1", u2=CLASS_CONFLICT) == CommitmentOutcome(1, 0, 1)

    assert ask(store, clock).refused == (CLASS_CONFLICT,)
    assert commit_job(store).state is JobState.PARKED
    clock.advance(1000)
    assert deliver_due_jobs(store) == 0


def test_an_object_missing_from_the_answer_is_not_committed(store: Store, clock: Clock) -> None:
    deliver(store, clock, "9.1", "9.2")
    ask(store, clock)

    assert answer(store, "9.1", "7.7") == CommitmentOutcome(1, 1, 0)

    assert [job.state for job in store.jobs.list(kind=JobKind.DELIVER)].count(JobState.QUEUED) == 1


def test_an_unsent_request_is_sent_again_unchanged(store: Store, clock: Clock) -> None:
    deliver(store, clock, "9.1")
    first = store.commitments.next_step(claim(store, JobKind.COMMIT, "killed"), "2.25.1").order
    store.jobs.release("killed")

    again = store.commitments.next_step(claim(store, JobKind.COMMIT), "2.25.2").order

    assert first is not None
    assert again == first


def test_an_overdue_answer_leads_to_a_new_request(store: Store, clock: Clock) -> None:
    deliver(store, clock, "9.1")
    ask(store, clock)
    clock.advance(59)
    assert store.jobs.claim([JobKind.COMMIT], "courier", LEASE) is None
    clock.advance(1)

    step = ask(store, clock, "2.25.2")

    assert step.unanswered == 1
    assert step.order is not None
    assert step.order.transaction_uid == "2.25.2"


def test_a_late_answer_commits_objects_but_reports_no_failure(store: Store, clock: Clock) -> None:
    deliver(store, clock, "9.1", "9.2")
    ask(store, clock)
    clock.advance(60)
    ask(store, clock, "2.25.2")

    assert answer(store, "9.1", u2=NO_SUCH_INSTANCE) == CommitmentOutcome(1, 0, 0)

    assert deliver_due_jobs(store) == 0
    assert answer(store, "9.1", "9.2", transaction_uid="2.25.2") == CommitmentOutcome(2, 0, 0)


def test_an_object_delivered_later_gets_its_own_request(store: Store, clock: Clock) -> None:
    deliver(store, clock, "9.1")
    ask(store, clock)
    deliver(store, clock, "9.2", image="1.2")

    step = ask(store, clock, "2.25.2")

    assert step.order is not None
    assert [item.sop_instance_uid for item in step.order.instances] == ["9.2"]
    answer(store, "9.2", transaction_uid="2.25.2")
    waiting = ask(store, clock, "2.25.3")
    assert (waiting.order, waiting.answer_by) == (None, clock.now + timedelta(seconds=55))


def test_an_answer_while_the_job_runs_is_not_lost(store: Store, clock: Clock) -> None:
    deliver(store, clock, "9.1")
    job = claim(store, JobKind.COMMIT)
    store.commitments.next_step(job, "2.25.1")
    answer(store, "9.1")

    store.jobs.postpone(job, clock.now + timedelta(seconds=60))

    assert ask(store, clock).order is None
    assert commit_job(store).state is JobState.DONE


def test_give_up_requires_the_lease(store: Store, clock: Clock) -> None:
    deliver(store, clock, "9.1")
    ask(store, clock)
    answer(store, u1=CLASS_CONFLICT)
    lost = claim(store, JobKind.COMMIT, "killed")
    store.jobs.release("killed")

    with pytest.raises(LeaseLostError):
        store.commitments.give_up(lost, "refused")

    assert ask(store, clock).refused == (CLASS_CONFLICT,)
