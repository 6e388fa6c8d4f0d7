"""Rows of commitment requests: statements for use inside a wider transaction."""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select, update
from sqlalchemy import insert as plain_insert

from storage.records import CommitmentOrder, InstanceName, JobState
from storage.tables.schema import commitment_items, commitment_requests, deliveries, jobs, objects

PROCESSING_FAILURE = 0x0110
"""Failure reason of an object that an answer does not mention (PS3.3 C.14.1.1)."""


def open_requests(study: str, destination: str) -> tuple[ColumnElement[bool], ...]:
    return (
        commitment_requests.c.study_instance_uid == study,
        commitment_requests.c.destination == destination,
        commitment_requests.c.closed_at.is_(None),
    )


def close_overdue(connection: Connection, study: str, destination: str, now: datetime) -> int:
    closed = connection.execute(
        update(commitment_requests)
        .where(*open_requests(study, destination), commitment_requests.c.answer_by <= now)
        .values(closed_at=now)
    )
    return closed.rowcount


def unsent(connection: Connection, study: str, destination: str) -> CommitmentOrder | None:
    """A request that the archive may or may not have got."""
    uid = connection.scalar(
        select(commitment_requests.c.transaction_uid)
        .where(*open_requests(study, destination), commitment_requests.c.answer_by.is_(None))
        .order_by(commitment_requests.c.requested_at)
        .limit(1)
    )
    if uid is None:
        return None
    return CommitmentOrder(uid, instances_of(connection, uid))


def instances_of(connection: Connection, transaction_uid: str) -> tuple[InstanceName, ...]:
    """What a request asks for."""
    rows = connection.execute(
        select(commitment_items.c.sop_class_uid, commitment_items.c.sop_instance_uid)
        .where(commitment_items.c.transaction_uid == transaction_uid)
        .order_by(commitment_items.c.sop_instance_uid)
    )
    return tuple(InstanceName(*row) for row in rows)


def new_order(
    connection: Connection, study: str, destination: str, transaction_uid: str, now: datetime
) -> CommitmentOrder | None:
    """A request for everything that none was made for, if there is anything."""
    spoken_for = (
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
        )
        .join(objects, objects.c.sop_instance_uid == deliveries.c.sop_instance_uid)
        .join(jobs, jobs.c.id == deliveries.c.job_id)
        .where(
            objects.c.study_instance_uid == study,
            deliveries.c.destination == destination,
            deliveries.c.delivered_at.is_not(None),
            deliveries.c.committed_at.is_(None),
            # One that is being sent again is asked for once it has arrived.
            jobs.c.state == JobState.DONE,
            deliveries.c.sop_instance_uid.not_in(spoken_for),
        )
        .order_by(objects.c.id)
    )
    order = CommitmentOrder(transaction_uid, tuple(InstanceName(*row) for row in rows))
    if not order.instances:
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
            {"transaction_uid": transaction_uid, "given_up": False, **asdict(instance)}
            for instance in order.instances
        ],
    )
    return order


def refused(connection: Connection, study: str, destination: str) -> list[Row[Any]]:
    """The items whose failure nobody has been told of yet."""
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


def sorted_out(
    connection: Connection,
    transaction_uid: str,
    committed: Collection[str],
    failed: Mapping[str, int],
) -> tuple[list[str], dict[str, int]]:
    """Which objects of the request are committed to, and why the others are not."""
    asked = connection.scalars(
        select(commitment_items.c.sop_instance_uid).where(
            commitment_items.c.transaction_uid == transaction_uid
        )
    ).all()
    good = [uid for uid in asked if uid in committed and uid not in failed]
    bad = {uid: failed.get(uid, PROCESSING_FAILURE) for uid in asked if uid not in good}
    return good, bad


def mark_committed(
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


def record_failure(connection: Connection, request: Row[Any], uid: str, reason: int) -> int:
    """Note the failure; how often this object has failed at this destination."""
    connection.execute(
        update(commitment_items).where(*_item(request, uid)).values(failure_reason=reason)
    )
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


def leave_to_a_person(connection: Connection, request: Row[Any], uid: str) -> None:
    connection.execute(update(commitment_items).where(*_item(request, uid)).values(given_up=True))


def _item(request: Row[Any], uid: str) -> tuple[ColumnElement[bool], ...]:
    return (
        commitment_items.c.transaction_uid == request.transaction_uid,
        commitment_items.c.sop_instance_uid == uid,
    )
