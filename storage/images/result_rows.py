"""Rows of a result: its objects, their deliveries, and the status of the study that they report.

The functions work in the transaction of their caller.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, Update, delete, func, select, update
from sqlalchemy import insert as plain_insert

from storage.audit.records import AuditEntry, AuditKind, subject_of
from storage.audit.trail import append
from storage.errors import UnknownRecordError
from storage.images.holds import settle_standing
from storage.images.lookup import is_analysed_further
from storage.queue.priority import present_priority
from storage.queue.transitions import advance, enqueue_once, lock_study, reopen, settle
from storage.records import (
    Delivery,
    FindingRecord,
    InstanceState,
    Job,
    JobKind,
    JobState,
    ObjectKind,
    ObjectRecord,
    StudyKey,
    StudyStatus,
)
from storage.summaries.counting import FirstResult, add_result
from storage.summaries.keep import summarise
from storage.tables.conditions import of_study
from storage.tables.database import insert, parameter
from storage.tables.schema import deliveries, findings, heat_maps, instances, objects, studies


def record_result(
    connection: Connection,
    job: Job,
    key: StudyKey,
    now: datetime,
    status: StudyStatus,
    detail: str,
    objects: Sequence[ObjectRecord],
    deliveries: Sequence[Delivery],
    current: tuple[str, ...],
) -> None:
    """Record the result of a report job; see `Results.record_report`."""
    record_objects(connection, objects, now)
    priority = present_priority(connection, job) if deliveries else 0
    for delivery in deliveries:
        queue_delivery(connection, delivery, now, priority)
    row = {
        **asdict(key),
        "status": status,
        "detail": detail,
        "updated_at": now,
    }
    statement = insert(connection, studies).values(row)
    settle_standing(connection, key, status, current, now)
    if status is StudyStatus.UNCHANGED:
        connection.execute(statement.on_conflict_do_nothing())
        connection.execute(_restore_reported(key, now))
        # A hold has ended, and there is no report to restore.
        held = update(studies).where(of_study(studies, key), studies.c.status == StudyStatus.HELD)
        connection.execute(held.values(row))
    else:
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["source", "study_instance_uid"], set_=row
            )
        )
    entry = AuditEntry(
        AuditKind.STUDY_REPORTED,
        actor=job.worker or "",
        subject=subject_of(
            study=key.study_instance_uid,
            source=key.source,
            object=objects[0].sop_instance_uid if objects else None,
            sop_class=objects[0].sop_class_uid if objects else None,
        ),
        detail=f"{status}, {len(deliveries)} delivery(ies)",
    )
    summarise(connection, [key])
    append(connection, entry, now)


@dataclass(frozen=True, slots=True)
class EndedAnalysis:
    """The study of an instance whose analysis has ended, and its subject for the audit trail.

    `is_first` is True for an instance that had no result before.
    """

    study: StudyKey
    subject: str
    is_first: bool


def end_analysis(
    connection: Connection,
    job: Job,
    instance_id: int,
    now: datetime,
    quiet_time: timedelta | None,
    **values: object,
) -> EndedAnalysis:
    """Settle the job, set the result of its instance, and reopen the report of the study."""
    before = connection.execute(_BEFORE, {"film": instance_id}).one_or_none()
    if before is not None:
        lock_study(connection, StudyKey(before.source, before.study_instance_uid))
    settle(connection, job, JobState.DONE, now=now)
    row = connection.execute(_SET_RESULT, {"film": instance_id, **values}).one_or_none()
    if before is None or row is None:
        raise UnknownRecordError(f"there is no instance {instance_id} in the store")
    is_first = before.state is InstanceState.RECEIVED
    if not is_first:
        for statement in _FORGET_FINDINGS:
            connection.execute(statement, {"film": instance_id})
    # A running report may have read the study before this change.
    started = (JobState.RUNNING, JobState.DONE, JobState.PARKED)
    key = StudyKey(row.source, row.study_instance_uid)
    reopen(connection, JobKind.REPORT, key.subject, now=now, ended=started)
    if quiet_time is not None and not is_analysed_further(connection, key):
        due = max(now, _last_received(connection, key) + quiet_time)
        advance(connection, JobKind.REPORT, key.subject, now=now, due=due)
    subject = subject_of(
        study=row.study_instance_uid,
        source=row.source,
        instance=row.sop_instance_uid,
        sop_class=row.sop_class_uid,
        revision=row.revision,
    )
    return EndedAnalysis(key, subject, is_first)


def leave_objects(connection: Connection, instance_id: int) -> None:
    """Take the objects of an earlier analysis from their instance: they stay for deliveries."""
    connection.execute(_LEAVE_OBJECTS, {"film": instance_id})


def summarise_result(
    connection: Connection,
    instance_id: int,
    ended: EndedAnalysis,
    positives: Sequence[tuple[str, float]] = (),
    reason: str | None = None,
) -> None:
    """Write the row of the study of an instance that has a new result."""
    if ended.is_first:
        add_result(connection, FirstResult(instance_id, ended.study, positives, reason))
    else:
        summarise(connection, [ended.study])


def _last_received(connection: Connection, key: StudyKey) -> datetime:
    """Return when an image of the study came last, for the first time or again."""
    named = {"source": key.source, "uid": key.study_instance_uid}
    moments: tuple[datetime, datetime] = tuple(connection.execute(_LAST_RECEIVED, named).one())
    return max(moments)


def record_findings(
    connection: Connection, instance_id: int, found: Sequence[FindingRecord]
) -> None:
    """Add the findings of an instance and their heat maps; there are none of it."""
    rows = [
        {"instance_id": instance_id, "position": position, **asdict(finding)}
        for position, finding in enumerate(found)
    ]
    maps = [
        {"instance_id": instance_id, "label": finding.label, "heat": finding.heat}
        for finding in found
        if finding.heat is not None
    ]
    for row in rows:
        del row["heat"]
    if rows:
        connection.execute(plain_insert(findings), rows)
    if maps:
        connection.execute(plain_insert(heat_maps), maps)


def record_objects(connection: Connection, records: Sequence[ObjectRecord], now: datetime) -> None:
    """Add objects; the row of an object made before gets its new file."""
    for record in records:
        statement = insert(connection, objects).values(**asdict(record), created_at=now)
        new = statement.excluded
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["sop_instance_uid"],
                set_={
                    name: getattr(new, name)
                    for name in ("spool_path", "size", "sha256", "instance_id", "purged_at")
                },
            )
        )


def delivery_entry(
    connection: Connection, job: Job, dimse_status: int | None, sop_class_uid: str | None
) -> AuditEntry:
    """Return the audit row of a delivery; its job is in the store."""
    row = connection.execute(
        select(
            objects.c.study_instance_uid,
            objects.c.source,
            objects.c.sop_instance_uid,
            objects.c.sop_class_uid,
            deliveries.c.coerced_uid,
        )
        .join(deliveries, deliveries.c.sop_instance_uid == objects.c.sop_instance_uid)
        .where(deliveries.c.job_id == job.id)
    ).one()
    return AuditEntry(
        AuditKind.OBJECT_DELIVERED,
        actor=job.lane or "",
        subject=subject_of(
            study=row.study_instance_uid,
            source=row.source,
            object=row.sop_instance_uid,
            sop_class=sop_class_uid or row.sop_class_uid,
        ),
        detail=_delivery_detail(dimse_status, row.coerced_uid),
    )


def _restore_reported(key: StudyKey, now: datetime) -> Update:
    """Return the statement that restores REPORTED for a study with a report."""
    reports = select(objects.c.id).where(
        of_study(objects, key), objects.c.kind == ObjectKind.REPORT
    )
    return (
        update(studies)
        .where(
            of_study(studies, key),
            studies.c.status.in_((StudyStatus.NO_ELIGIBLE_IMAGE, StudyStatus.HELD)),
            reports.exists(),
        )
        .values(status=StudyStatus.REPORTED, detail="", updated_at=now)
    )


def queue_delivery(
    connection: Connection, delivery: Delivery, now: datetime, priority: int = 0
) -> None:
    """Queue a delivery, unless it was queued before."""
    job_id = enqueue_once(
        connection,
        JobKind.DELIVER,
        f"{delivery.sop_instance_uid}@{delivery.destination}",
        now=now,
        lane=delivery.destination,
        priority=priority,
    )
    if job_id is not None:
        connection.execute(plain_insert(deliveries).values(**asdict(delivery), job_id=job_id))


def _delivery_detail(dimse_status: int | None, coerced_uid: str | None) -> str:
    status = "" if dimse_status is None else f"status 0x{dimse_status:04X}"
    return f"{status}, kept there as {coerced_uid}" if coerced_uid else status


_FILM = instances.c.id == parameter(instances.c.id, "film")
_BEFORE: Select[tuple[Any, ...]] = select(
    instances.c.source, instances.c.study_instance_uid, instances.c.state
).where(_FILM)
_SET_RESULT = (
    update(instances)
    .where(_FILM)
    .values(
        {
            column: parameter(column, column.name)
            for column in (
                instances.c.state,
                instances.c.reason,
                instances.c.detail,
                instances.c.notes,
                instances.c.analysed_at,
                instances.c.model_name,
                instances.c.model_version,
                instances.c.model_sha256,
            )
        }
    )
    .returning(
        instances.c.source,
        instances.c.study_instance_uid,
        instances.c.sop_instance_uid,
        instances.c.sop_class_uid,
        instances.c.revision,
    )
)
_LAST_RECEIVED: Select[tuple[Any, ...]] = select(
    func.max(instances.c.received_at),
    func.max(func.coalesce(instances.c.received_again_at, instances.c.received_at)),
).where(
    instances.c.source == parameter(instances.c.source, "source"),
    instances.c.study_instance_uid == parameter(instances.c.study_instance_uid, "uid"),
)
_FORGET_FINDINGS = [
    delete(table).where(table.c.instance_id == parameter(table.c.instance_id, "film"))
    for table in (findings, heat_maps)
]
_LEAVE_OBJECTS = (
    update(objects)
    .where(objects.c.instance_id == parameter(objects.c.instance_id, "film"))
    .values(instance_id=None)
)
