"""Reading instances, studies and objects inside a transaction."""

from collections import defaultdict
from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, cast, func, select

from storage.records import (
    FindingRecord,
    Instance,
    InstanceState,
    JobKind,
    JobState,
    ObjectKind,
    ObjectRecord,
    StudyResults,
)
from storage.tables.schema import findings, instances, jobs, objects, studies

_OBJECT_COLUMNS = [column for column in objects.c if column.name not in ("id", "created_at")]


def load_instance(connection: Connection, instance_id: int) -> Instance | None:
    """One revision of an instance, if it is there."""
    found = load_instances(connection, instances.c.id == instance_id)
    return found[0] if found else None


def load_instances(connection: Connection, which: ColumnElement[bool]) -> tuple[Instance, ...]:
    """Instances with their findings and objects, in the order they were received."""
    rows = connection.execute(select(instances).where(which).order_by(instances.c.id)).mappings()
    by_id: dict[int, dict[str, Any]] = {row["id"]: dict(row) for row in rows}
    found = load_findings(connection, by_id)
    made = _load_objects(connection, by_id)
    return tuple(
        Instance(
            **{**row, "notes": tuple(row["notes"])},
            findings=tuple(found[instance_id]),
            objects=tuple(made[instance_id]),
        )
        for instance_id, row in by_id.items()
    )


def load_findings(
    connection: Connection, instance_ids: Collection[int]
) -> dict[int, list[FindingRecord]]:
    """The findings of each of these instances, in the order they were recorded."""
    query = (
        select(findings)
        .where(findings.c.instance_id.in_(instance_ids))
        .order_by(findings.c.instance_id, findings.c.position)
    )
    found: dict[int, list[FindingRecord]] = defaultdict(list)
    for row in connection.execute(query):
        found[row.instance_id].append(
            FindingRecord(
                row.label,
                row.logit,
                row.probability,
                row.threshold,
                row.present,
                _region(row.region),
            )
        )
    return found


def _region(stored: list[list[float]] | None) -> tuple[tuple[float, float], ...] | None:
    return None if stored is None else tuple((x, y) for x, y in stored)


def load_object(connection: Connection, sop_instance_uid: str) -> ObjectRecord | None:
    """One object made here, if it is there."""
    query = select(*_OBJECT_COLUMNS).where(objects.c.sop_instance_uid == sop_instance_uid)
    row = connection.execute(query).mappings().one_or_none()
    return ObjectRecord(**row) if row else None


def load_study(connection: Connection, study_instance_uid: str) -> StudyResults:
    """The latest revision of each instance of a study, and its reports.

    One that came in another study under the same UID takes nothing away from this one.
    """
    newer = instances.alias()
    is_latest = ~(
        select(newer.c.id)
        .where(
            newer.c.sop_instance_uid == instances.c.sop_instance_uid,
            newer.c.study_instance_uid == instances.c.study_instance_uid,
            newer.c.revision > instances.c.revision,
        )
        .exists()
    )
    of_study = instances.c.study_instance_uid == study_instance_uid
    reports = connection.execute(
        select(*_OBJECT_COLUMNS)
        .where(
            objects.c.study_instance_uid == study_instance_uid,
            objects.c.kind == ObjectKind.REPORT,
        )
        .order_by(objects.c.id)
    ).mappings()
    study = connection.execute(
        select(studies).where(studies.c.study_instance_uid == study_instance_uid)
    ).one_or_none()
    return StudyResults(
        study_instance_uid=study_instance_uid,
        instances=load_instances(connection, of_study & is_latest),
        reports=tuple(ObjectRecord(**row) for row in reports),
        pending=_count_pending(connection, of_study & is_latest),
        status=study.status if study else None,
        detail=study.detail if study else None,
    )


def _count_pending(connection: Connection, which: ColumnElement[bool]) -> int:
    """How many will still be analysed; a parked or discarded analysis is not waited for."""
    query = (
        select(func.count())
        .select_from(instances)
        .join(
            jobs,
            (jobs.c.kind == JobKind.ANALYSE) & (jobs.c.subject == cast(instances.c.id, Text)),
        )
        .where(
            which,
            instances.c.state == InstanceState.RECEIVED,
            jobs.c.state.in_([JobState.QUEUED, JobState.RUNNING]),
        )
    )
    return connection.scalar(query) or 0


def _load_objects(
    connection: Connection, instance_ids: Collection[int]
) -> dict[int, list[ObjectRecord]]:
    query = (
        select(*_OBJECT_COLUMNS)
        .where(objects.c.instance_id.in_(instance_ids))
        .order_by(objects.c.id)
    )
    made: dict[int, list[ObjectRecord]] = defaultdict(list)
    for row in connection.execute(query).mappings():
        made[row["instance_id"]].append(ObjectRecord(**row))
    return made
