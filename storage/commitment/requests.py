"""Storage commitment requests to archives (PS3.4 J.3).

A COMMIT job stands for the objects of one study at one destination. A request is in the store
before it is sent. After a crash it is sent again under its own transaction UID. An answer may come
at any time, to any process. Each answer touches the job, which then takes its next step.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select, update
from sqlalchemy import insert as plain_insert

from storage.audit.records import AuditEntry, AuditKind, AuditOutcome, subject_of
from storage.audit.trail import append
from storage.queue.jobs import parked_entry
from storage.queue.transitions import enqueue, settle
from storage.records import (
    CommitmentOrder,
    CommitmentOutcome,
    CommitmentStep,
    InstanceName,
    Job,
    JobKind,
    JobState,
)
from storage.summaries.keep import summarise_jobs, summarise_unparked
from storage.tables.database import Database
from storage.tables.schema import commitment_items, commitment_requests, deliveries, jobs, objects

PROCESSING_FAILURE = 0x0110
"""Failure reason of an object that an answer does not mention (PS3.3 C.14.1.1)."""


class Commitments:
    """Our requests for commitment and the answers to them."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._now = clock

    def next_step(self, job: Job, transaction_uid: str) -> CommitmentStep:
        """Return the next step of a COMMIT job.

        A new request under this transaction UID names every object that was delivered to the
        destination, is not committed to, and is in no open request.
        """
        study, destination = _subject(job)
        now = self._now()
        with self._database.writing() as connection:
            unanswered = _close_overdue(connection, study, destination, now)
            order = _unsent_request(connection, study, destination)
            if order is None:
                order = _new_request(connection, study, destination, transaction_uid, now)
            return CommitmentStep(
                unanswered=unanswered,
                order=order,
                answer_by=connection.scalar(
                    select(func.min(commitment_requests.c.answer_by)).where(
                        *_is_open(study, destination)
                    )
                ),
                refused=tuple(
                    row.failure_reason for row in _refused_items(connection, study, destination)
                ),
            )

    def requested(self, transaction_uid: str) -> tuple[InstanceName, ...]:
        """Return the instances of a request, by our own UIDs and as the destination has them.

        An unknown request has no instances.
        """
        with self._database.reading() as connection:
            return _instances_of(connection, transaction_uid)

    def record_sent(self, transaction_uid: str, answer_by: datetime) -> None:
        """Record that the archive accepted the request and until when its answer is due."""
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
        """Record an answer; return None if no destination in `destinations` got that request.

        `committed` holds SOP Instance UIDs; `failed` maps other UIDs to failure reasons. An object
        that failed for a reason in `resend_for` is delivered again after `resend_wait(failures)`,
        at most `max_resends` times. A repeated answer has no effect. An answer to a closed
        request still commits objects; its failures are ignored.
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
            good, bad = _split_answer(connection, transaction_uid, committed, failed)
            _mark_committed(connection, request.destination, good, now)
            connection.execute(
                update(commitment_requests)
                .where(commitment_requests.c.transaction_uid == transaction_uid)
                .values(answered_at=now, closed_at=request.closed_at or now)
            )
            sent_again = given_up = 0
            for uid, reason in bad.items() if request.closed_at is None else ():
                failures = _record_failure(connection, request, uid, reason)
                if reason in resend_for and failures <= max_resends:
                    _deliver_again(connection, request, uid, now, now + resend_wait(failures))
                    sent_again += 1
                else:
                    _update_item(connection, request.transaction_uid, uid, given_up=True)
                    given_up += 1
            _touch_commit_job(
                connection, request.study_instance_uid, request.destination, now, not_before=now
            )
            entry = AuditEntry(
                AuditKind.COMMITMENT_RECEIVED,
                AuditOutcome.FAILURE if bad else AuditOutcome.SUCCESS,
                actor=request.destination,
                subject=subject_of(study=request.study_instance_uid, transaction=transaction_uid),
                detail=f"{len(good)} committed, {sent_again} sent again, {given_up} refused",
            )
            summarise_unparked(connection, request.study_instance_uid)
            append(connection, entry, now)
        return CommitmentOutcome(len(good), sent_again, given_up)

    def give_up(self, job: Job, error: str) -> None:
        """Park the job because of refused objects. A retry by hand requests these objects again.

        Raises LeaseLostError.
        """
        now = self._now()
        with self._database.writing() as connection:
            settle(connection, job, JobState.PARKED, now=now, error=error)
            for row in _refused_items(connection, *_subject(job)):
                _update_item(connection, row.transaction_uid, row.sop_instance_uid, given_up=False)
            summarise_jobs(connection, [job])
            append(connection, parked_entry(connection, job, error), now)


def enqueue_commitment(
    connection: Connection, delivery: Job, now: datetime, not_before: datetime
) -> None:
    """Enqueue the COMMIT job for the study and the destination of a DELIVER job."""
    study, destination = connection.execute(
        select(objects.c.study_instance_uid, deliveries.c.destination)
        .join(deliveries, deliveries.c.sop_instance_uid == objects.c.sop_instance_uid)
        .where(deliveries.c.job_id == delivery.id)
    ).one()
    _touch_commit_job(
        connection, study, destination, now, not_before=not_before, priority=delivery.priority
    )
    summarise_unparked(connection, study)


def _touch_commit_job(
    connection: Connection,
    study: str,
    destination: str,
    now: datetime,
    *,
    not_before: datetime,
    priority: int | None = None,
) -> None:
    enqueue(
        connection,
        JobKind.COMMIT,
        f"{study}@{destination}",
        now=now,
        not_before=not_before,
        lane=destination,
        priority=priority,
    )


def _deliver_again(
    connection: Connection, request: Row[Any], uid: str, now: datetime, not_before: datetime
) -> None:
    destination = request.destination
    subject = f"{uid}@{destination}"
    enqueue(connection, JobKind.DELIVER, subject, now=now, not_before=not_before, lane=destination)


def _subject(job: Job) -> tuple[str, str]:
    """Return the StudyInstanceUID and the destination of a COMMIT job."""
    study, _, destination = job.subject.partition("@")
    return study, destination


def _is_open(study: str, destination: str) -> tuple[ColumnElement[bool], ...]:
    return (
        commitment_requests.c.study_instance_uid == study,
        commitment_requests.c.destination == destination,
        commitment_requests.c.closed_at.is_(None),
    )


def _close_overdue(connection: Connection, study: str, destination: str, now: datetime) -> int:
    """Close requests whose answer is overdue; return their number."""
    closed = connection.execute(
        update(commitment_requests)
        .where(*_is_open(study, destination), commitment_requests.c.answer_by <= now)
        .values(closed_at=now)
    )
    return closed.rowcount


def _unsent_request(connection: Connection, study: str, destination: str) -> CommitmentOrder | None:
    """Return the oldest request that is not recorded as sent; the archive may have it already."""
    uid = connection.scalar(
        select(commitment_requests.c.transaction_uid)
        .where(*_is_open(study, destination), commitment_requests.c.answer_by.is_(None))
        .order_by(commitment_requests.c.requested_at)
        .limit(1)
    )
    if uid is None:
        return None
    return CommitmentOrder(uid, _instances_of(connection, uid))


def _instances_of(connection: Connection, transaction_uid: str) -> tuple[InstanceName, ...]:
    rows = connection.execute(
        select(
            commitment_items.c.sop_class_uid,
            commitment_items.c.sop_instance_uid,
            func.coalesce(deliveries.c.coerced_uid, ""),
        )
        .join(commitment_requests)
        .join(
            deliveries,
            (deliveries.c.sop_instance_uid == commitment_items.c.sop_instance_uid)
            & (deliveries.c.destination == commitment_requests.c.destination),
        )
        .where(commitment_items.c.transaction_uid == transaction_uid)
        .order_by(commitment_items.c.sop_instance_uid)
    )
    return tuple(InstanceName(*row) for row in rows)


def _new_request(
    connection: Connection, study: str, destination: str, transaction_uid: str, now: datetime
) -> CommitmentOrder | None:
    """Add a request for every object without one; return None if there is no such object."""
    instances = _objects_without_request(connection, study, destination)
    if not instances:
        return None
    connection.execute(
        plain_insert(commitment_requests).values(
            transaction_uid=transaction_uid,
            study_instance_uid=study,
            destination=destination,
            requested_at=now,
        )
    )
    connection.execute(
        plain_insert(commitment_items),
        [
            {
                "transaction_uid": transaction_uid,
                "given_up": False,
                "sop_class_uid": instance.sop_class_uid,
                "sop_instance_uid": instance.sop_instance_uid,
            }
            for instance in instances
        ],
    )
    return CommitmentOrder(transaction_uid, instances)


def _objects_without_request(
    connection: Connection, study: str, destination: str
) -> tuple[InstanceName, ...]:
    """Return delivered, uncommitted objects that are neither in an open request nor given up."""
    excluded = (
        select(commitment_items.c.sop_instance_uid)
        .join(commitment_requests)
        .where(
            commitment_requests.c.study_instance_uid == study,
            commitment_requests.c.destination == destination,
            commitment_requests.c.closed_at.is_(None) | commitment_items.c.given_up,
        )
    )
    rows = connection.execute(
        select(
            func.coalesce(deliveries.c.sop_class_uid, objects.c.sop_class_uid),
            deliveries.c.sop_instance_uid,
            func.coalesce(deliveries.c.coerced_uid, ""),
        )
        .join(objects, objects.c.sop_instance_uid == deliveries.c.sop_instance_uid)
        .join(jobs, jobs.c.id == deliveries.c.job_id)
        .where(
            objects.c.study_instance_uid == study,
            deliveries.c.destination == destination,
            deliveries.c.delivered_at.is_not(None),
            deliveries.c.committed_at.is_(None),
            # An object that is being sent again is requested after its arrival.
            jobs.c.state == JobState.DONE,
            deliveries.c.sop_instance_uid.not_in(excluded),
        )
        .order_by(objects.c.id)
    )
    return tuple(InstanceName(*row) for row in rows)


def _refused_items(connection: Connection, study: str, destination: str) -> list[Row[Any]]:
    """Return the given-up items whose failure is not yet on a parked job."""
    query = (
        select(commitment_items)
        .join(commitment_requests)
        .join(
            deliveries,
            (deliveries.c.sop_instance_uid == commitment_items.c.sop_instance_uid)
            & (deliveries.c.destination == commitment_requests.c.destination),
        )
        .where(
            commitment_requests.c.study_instance_uid == study,
            commitment_requests.c.destination == destination,
            commitment_items.c.given_up,
            deliveries.c.committed_at.is_(None),
        )
    )
    return list(connection.execute(query))


def _split_answer(
    connection: Connection,
    transaction_uid: str,
    committed: Collection[str],
    failed: Mapping[str, int],
) -> tuple[list[str], dict[str, int]]:
    """Return the committed objects of a request, and the failure reasons of its other objects."""
    requested = connection.scalars(
        select(commitment_items.c.sop_instance_uid).where(
            commitment_items.c.transaction_uid == transaction_uid
        )
    ).all()
    good = [uid for uid in requested if uid in committed and uid not in failed]
    bad = {uid: failed.get(uid, PROCESSING_FAILURE) for uid in requested if uid not in good}
    return good, bad


def _mark_committed(
    connection: Connection, destination: str, uids: Collection[str], now: datetime
) -> None:
    for uid in uids:
        connection.execute(
            update(deliveries)
            .where(
                deliveries.c.sop_instance_uid == uid,
                deliveries.c.destination == destination,
                deliveries.c.committed_at.is_(None),
            )
            .values(committed_at=now)
        )


def _record_failure(connection: Connection, request: Row[Any], uid: str, reason: int) -> int:
    """Record a failure; return the number of failures of this object at this destination."""
    _update_item(connection, request.transaction_uid, uid, failure_reason=reason)
    failures: int | None = connection.scalar(
        select(func.count())
        .select_from(commitment_items)
        .join(commitment_requests)
        .where(
            commitment_items.c.sop_instance_uid == uid,
            commitment_items.c.failure_reason.is_not(None),
            commitment_requests.c.destination == request.destination,
        )
    )
    return failures or 0


def _update_item(
    connection: Connection, transaction_uid: str, sop_instance_uid: str, **values: object
) -> None:
    connection.execute(
        update(commitment_items)
        .where(
            commitment_items.c.transaction_uid == transaction_uid,
            commitment_items.c.sop_instance_uid == sop_instance_uid,
        )
        .values(**values)
    )
