"""The acknowledging transaction: a received instance and its jobs, or neither.

A purged revision comes back when the same bytes are received again.
"""

from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select, update

from storage.audit.records import AuditEntry, AuditKind, subject_of
from storage.audit.trail import append
from storage.images.doubt import is_like_another, is_same_film
from storage.images.holds import review
from storage.images.rejections import rejected_before
from storage.queue.transitions import enqueue, lock_source, lock_studies, reopen
from storage.records import (
    InstanceState,
    JobKind,
    JobState,
    NewInstance,
    Receipt,
    ReceiptOutcome,
    StudyKey,
)
from storage.tables.database import insert
from storage.tables.schema import instances


def record_instance(
    connection: Connection,
    instance: NewInstance,
    quiet_time: timedelta,
    host: str,
    retried: Collection[str],
    now: datetime,
) -> Receipt:
    """Add the instance and its jobs inside a transaction; see `Store.record_instance`."""
    study = StudyKey(instance.source, instance.study_instance_uid)
    lock_source(connection, instance.source, shared=True)
    left = _earlier_studies(connection, instance)
    lock_studies(connection, (study, *left))
    known, receipt = _add(connection, instance, now)
    subject = str(receipt.instance_id)
    if known is None or known.reason in retried or _awaits_first_analysis(known):
        enqueue(connection, JobKind.ANALYSE, subject, now=now, not_before=now)
    else:
        reopen(connection, JobKind.ANALYSE, subject, now=now, ended=(JobState.PARKED,))
    if receipt.outcome is not ReceiptOutcome.DUPLICATE:
        enqueue(connection, JobKind.REPORT, study.subject, now=now, not_before=now + quiet_time)
        is_new = receipt.outcome is ReceiptOutcome.NEW
        if not (is_new and is_like_another(connection, study, receipt.instance_id)):
            for key in (study, *left):
                review(connection, key, now)
    append(connection, _audit_entry(instance, receipt, host), now)
    return receipt


def _earlier_studies(connection: Connection, instance: NewInstance) -> tuple[StudyKey, ...]:
    """Return the other studies of the source that had this instance before."""
    query = (
        select(instances.c.study_instance_uid)
        .where(
            instances.c.source == instance.source,
            instances.c.sop_instance_uid == instance.sop_instance_uid,
            instances.c.study_instance_uid != instance.study_instance_uid,
        )
        .distinct()
    )
    return tuple(StudyKey(instance.source, uid) for uid in connection.scalars(query))


def _add(
    connection: Connection, instance: NewInstance, now: datetime
) -> tuple[Row[Any] | None, Receipt]:
    """Add a revision, or update the row of the same bytes.

    Returns that row as it was before, if there is one, and the receipt. Repeats after each
    conflict with another transaction.
    """
    while True:
        known = _find_same_bytes(connection, instance)
        if known is None:
            receipt = _insert_revision(connection, instance, now)
        elif is_same_film(connection, known.id):
            receipt = _receive_again(connection, known, instance, now)
        else:
            receipt = _renew(connection, known, instance, now)
        if receipt is not None:
            return known, receipt


def _find_same_bytes(connection: Connection, instance: NewInstance) -> Row[Any] | None:
    """Return the revision of the instance that has these bytes."""
    query: Select[tuple[Any, ...]] = select(
        instances.c.id,
        instances.c.revision,
        instances.c.state,
        instances.c.reason,
        instances.c.purged_at,
    ).where(
        instances.c.source == instance.source,
        instances.c.sop_instance_uid == instance.sop_instance_uid,
        instances.c.sha256 == instance.sha256,
    )
    return connection.execute(query).one_or_none()


def _awaits_first_analysis(known: Row[Any]) -> bool:
    """Return True if the revision was purged before its first analysis."""
    return known.purged_at is not None and known.state is InstanceState.RECEIVED


def _receive_again(
    connection: Connection, known: Row[Any], instance: NewInstance, now: datetime
) -> Receipt | None:
    """Restart the retention time of a revision; return None on a conflict.

    A purged revision gets the file just received: its old file may be about to be removed.
    """
    is_purged = known.purged_at is not None
    values: dict[str, Any] = {"received_again_at": now}
    if is_purged:
        values |= {"spool_path": instance.spool_path, "purged_at": None}
    updated = connection.execute(
        update(instances)
        .where(
            instances.c.id == known.id, instances.c.purged_at.is_not_distinct_from(known.purged_at)
        )
        .values(values)
    )
    if updated.rowcount == 0:
        return None
    outcome = ReceiptOutcome.KEPT_AGAIN if is_purged else ReceiptOutcome.DUPLICATE
    return Receipt(outcome, known.id, known.revision)


def _renew(
    connection: Connection, known: Row[Any], instance: NewInstance, now: datetime
) -> Receipt | None:
    """Make a revision the latest again that a later one had put under another patient or study.

    So a sender takes a wrong correction back. Returns None on a conflict.
    """
    receipt = _receive_again(connection, known, instance, now)
    if receipt is None:
        return None
    number = connection.scalar(
        update(instances)
        .where(instances.c.id == known.id)
        .values(revision=_next_revision(instance).scalar_subquery(), set_aside_at=None)
        .returning(instances.c.revision)
    )
    is_duplicate = receipt.outcome is ReceiptOutcome.DUPLICATE
    outcome = ReceiptOutcome.RENEWED if is_duplicate else receipt.outcome
    return Receipt(outcome, known.id, number or known.revision)


def _next_revision(instance: NewInstance) -> Select[tuple[int]]:
    return select(func.coalesce(func.max(instances.c.revision), 0) + 1).where(
        instances.c.source == instance.source,
        instances.c.sop_instance_uid == instance.sop_instance_uid,
    )


def _insert_revision(
    connection: Connection, instance: NewInstance, now: datetime
) -> Receipt | None:
    """Add the next revision; return None if another transaction took its number or its bytes."""
    next_revision = _next_revision(instance).scalar_subquery()
    row = connection.execute(
        insert(connection, instances)
        .values(
            **asdict(instance),
            revision=next_revision,
            received_at=now,
            state=InstanceState.RECEIVED,
            notes=[],
            rejected_by=rejected_before(connection, instance.source, instance.sop_instance_uid),
        )
        .on_conflict_do_nothing()
        .returning(instances.c.id, instances.c.revision)
    ).one_or_none()
    if row is None:
        return None
    outcome = ReceiptOutcome.NEW if row.revision == 1 else ReceiptOutcome.REVISION
    return Receipt(outcome, row.id, row.revision)


def _audit_entry(instance: NewInstance, receipt: Receipt, host: str) -> AuditEntry:
    return AuditEntry(
        AuditKind.INSTANCE_RECEIVED,
        actor=instance.calling_ae_title,
        host=host,
        subject=subject_of(
            study=instance.study_instance_uid,
            source=instance.source,
            instance=instance.sop_instance_uid,
            sop_class=instance.sop_class_uid,
        ),
        detail=f"{receipt.outcome}, revision {receipt.revision}, sha256 {instance.sha256}",
    )
