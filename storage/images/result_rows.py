"""Rows of a result: its objects, their deliveries, and the status of the study that they report.

The functions work in the transaction of their caller.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import Connection, Update, select, update
from sqlalchemy import insert as plain_insert

from storage.audit.records import AuditEntry, AuditKind, subject_of
from storage.audit.trail import append
from storage.images.holds import settle_standing
from storage.queue.transitions import enqueue_once
from storage.records import (
    Delivery,
    FindingRecord,
    Job,
    JobKind,
    ObjectKind,
    ObjectRecord,
    StudyKey,
    StudyStatus,
)
from storage.summaries.keep import summarise
from storage.tables.conditions import of_study
from storage.tables.database import insert
from storage.tables.schema import deliveries, findings, heat_maps, objects, studies


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
    for delivery in deliveries:
        queue_delivery(connection, delivery, now)
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


def queue_delivery(connection: Connection, delivery: Delivery, now: datetime) -> None:
    """Queue a delivery, unless it was queued before."""
    job_id = enqueue_once(
        connection,
        JobKind.DELIVER,
        f"{delivery.sop_instance_uid}@{delivery.destination}",
        now=now,
        lane=delivery.destination,
    )
    if job_id is not None:
        connection.execute(plain_insert(deliveries).values(**asdict(delivery), job_id=job_id))


def _delivery_detail(dimse_status: int | None, coerced_uid: str | None) -> str:
    status = "" if dimse_status is None else f"status 0x{dimse_status:04X}"
    return f"{status}, kept there as {coerced_uid}" if coerced_uid else status
