"""What archives are asked to commit to: storage commitment as the one who asks.

A COMMIT job stands for the objects of one study at one destination. A request is in the store
before it is sent, so one that was cut short is sent again under its own transaction UID. Answers
come at any time, to whichever process; each touches the job, which then takes its next step.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from storage.audit.records import AuditEntry, AuditKind, AuditOutcome, subject_of
from storage.audit.trail import append
from storage.commitment.request_rows import (
    close_overdue,
    instances_of,
    leave_to_a_person,
    mark_committed,
    new_order,
    open_requests,
    record_failure,
    refused,
    sorted_out,
    unsent,
)
from storage.queue.jobs import parked
from storage.queue.transitions import enqueue, settle
from storage.records import CommitmentOutcome, CommitmentStep, InstanceName, Job, JobKind, JobState
from storage.tables.database import Database
from storage.tables.schema import commitment_items, commitment_requests, deliveries, objects


class Commitments:
    """Requests for commitment, and what was answered to them."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._now = clock

    def next_step(self, job: Job, transaction_uid: str) -> CommitmentStep:
        """What to do for a COMMIT job now.

        Every object that the destination has, that it has not committed to and that no open
        request names is put into a new request of this transaction UID.
        """
        study, destination = _subject(job)
        now = self._now()
        with self._database.writing() as connection:
            unanswered = close_overdue(connection, study, destination, now)
            order = unsent(connection, study, destination)
            if order is None:
                order = new_order(connection, study, destination, transaction_uid, now)
            return CommitmentStep(
                unanswered=unanswered,
                order=order,
                answer_by=connection.scalar(
                    select(func.min(commitment_requests.c.answer_by)).where(
                        *open_requests(study, destination)
                    )
                ),
                refused=tuple(
                    row.failure_reason for row in refused(connection, study, destination)
                ),
            )

    def asked(self, transaction_uid: str) -> tuple[InstanceName, ...]:
        """What a request asks for, by our own UIDs and the SOP classes sent; maybe nothing."""
        with self._database.reading() as connection:
            return instances_of(connection, transaction_uid)

    def record_sent(self, transaction_uid: str, answer_by: datetime) -> None:
        """The archive took the request; its answer is waited for until then."""
        with self._database.writing() as connection:
            connection.execute(
                update(commitment_requests)
                .where(commitment_requests.c.transaction_uid == transaction_uid)
                .values(answer_by=answer_by)
            )

    def record_answer(
        self,
        destinations: Collection[str],
        transaction_uid: str,
        committed: Collection[str],
        failed: Mapping[str, int],
        *,
        resend_for: Collection[int],
        max_resends: int,
        resend_wait: Callable[[int], timedelta],
    ) -> CommitmentOutcome | None:
        """Take in an answer; None when none of these destinations was asked that.

        `committed` holds SOP Instance UIDs, `failed` the failure reason of each other one. What
        failed for a reason in `resend_for` is delivered again after `resend_wait(failures)`, at
        most `max_resends` times. Saying the same again changes nothing; what comes after the
        request was closed still counts where it is good news.
        """
        now = self._now()
        with self._database.writing() as connection:
            request = connection.execute(
                select(commitment_requests)
                .where(
                    commitment_requests.c.transaction_uid == transaction_uid,
                    commitment_requests.c.destination.in_(destinations),
                )
                .with_for_update()
            ).one_or_none()
            if request is None:
                return None
            if request.answered_at is not None:
                return CommitmentOutcome(0, 0, 0)
            good, bad = sorted_out(connection, transaction_uid, committed, failed)
            mark_committed(connection, request.destination, good, now)
            connection.execute(
                update(commitment_requests)
                .where(commitment_requests.c.transaction_uid == transaction_uid)
                .values(answered_at=now, closed_at=request.closed_at or now)
            )
            sent_again = left = 0
            for uid, reason in bad.items() if request.closed_at is None else ():
                failures = record_failure(connection, request, uid, reason)
                if reason in resend_for and failures <= max_resends:
                    _deliver_again(connection, request, uid, now, now + resend_wait(failures))
                    sent_again += 1
                else:
                    leave_to_a_person(connection, request, uid)
                    left += 1
            subject = f"{request.study_instance_uid}@{request.destination}"
            enqueue(
                connection,
                JobKind.COMMIT,
                subject,
                now=now,
                not_before=now,
                lane=request.destination,
            )
            entry = AuditEntry(
                AuditKind.COMMITMENT_RECEIVED,
                AuditOutcome.FAILURE if bad else AuditOutcome.SUCCESS,
                actor=request.destination,
                subject=subject_of(study=request.study_instance_uid, transaction=transaction_uid),
                detail=f"{len(good)} committed, {sent_again} sent again, {left} refused",
            )
            append(connection, entry, now)
        return CommitmentOutcome(len(good), sent_again, left)

    def give_up(self, job: Job, error: str) -> None:
        """Park the job for what was refused; retried by hand, it asks for that once more.

        Raises LeaseLostError.
        """
        now = self._now()
        with self._database.writing() as connection:
            settle(connection, job, JobState.PARKED, now=now, error=error)
            for row in refused(connection, *_subject(job)):
                connection.execute(
                    update(commitment_items)
                    .where(
                        commitment_items.c.transaction_uid == row.transaction_uid,
                        commitment_items.c.sop_instance_uid == row.sop_instance_uid,
                    )
                    .values(given_up=False)
                )
            append(connection, parked(connection, job, error), now)


def enqueue_commitment(
    connection: Connection, delivery: Job, now: datetime, not_before: datetime
) -> None:
    """Have the destination of this DELIVER job asked for what it has of the object's study."""
    study, destination = connection.execute(
        select(objects.c.study_instance_uid, deliveries.c.destination)
        .join(deliveries, deliveries.c.sop_instance_uid == objects.c.sop_instance_uid)
        .where(deliveries.c.job_id == delivery.id)
    ).one()
    subject = f"{study}@{destination}"
    enqueue(connection, JobKind.COMMIT, subject, now=now, not_before=not_before, lane=destination)


def _subject(job: Job) -> tuple[str, str]:
    study, _, destination = job.subject.partition("@")
    return study, destination


def _deliver_again(
    connection: Connection, request: Row[Any], uid: str, now: datetime, not_before: datetime
) -> None:
    enqueue(
        connection,
        JobKind.DELIVER,
        f"{uid}@{request.destination}",
        now=now,
        not_before=not_before,
        lane=request.destination,
    )
