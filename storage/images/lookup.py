"""Queries for instances, studies, objects and their files, for use inside a transaction."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Text,
    and_,
    cast,
    func,
    select,
    text,
    union_all,
)

from storage.errors import AmbiguousStudyError
from storage.patients.films import load_identity_keys
from storage.records import (
    FindingRecord,
    Instance,
    InstanceState,
    JobKind,
    JobState,
    KeptFile,
    ObjectKind,
    ObjectRecord,
    StudyHold,
    StudyKey,
    StudyResults,
)
from storage.tables.conditions import has_later_revision, of_study
from storage.tables.database import parameter
from storage.tables.schema import findings, instances, jobs, objects, studies

_WRITERS_TIMEOUT_SECONDS = 5
"""Limits how long the table locks of one waiting caller delay all writers."""

_Report = TypeVar("_Report", ObjectRecord, Row[Any])
OBJECT_COLUMNS = [column for column in objects.c if column.name not in ("id", "created_at")]


def load_instance(connection: Connection, instance_id: int) -> Instance | None:
    """Return one revision of an instance, or None."""
    found = load_instances(connection, instances.c.id == instance_id)
    return found[0] if found else None


def load_instances(connection: Connection, condition: ColumnElement[bool]) -> tuple[Instance, ...]:
    """Return instances with their findings and objects, in the order of their reception."""
    rows = connection.execute(
        select(instances).where(condition).order_by(instances.c.id)
    ).mappings()
    by_id: dict[int, dict[str, Any]] = {row["id"]: dict(row) for row in rows}
    found = load_findings(connection, by_id)
    for instance_id, names in load_identity_keys(connection, by_id).items():
        by_id[instance_id] |= names
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
    """Return the findings of each instance, in the order of their recording."""
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
    """Return an object made here, or None."""
    query = select(*OBJECT_COLUMNS).where(objects.c.sop_instance_uid == sop_instance_uid)
    row = connection.execute(query).mappings().one_or_none()
    return ObjectRecord(**row) if row else None


def load_study(
    connection: Connection, key: StudyKey, hold: StudyHold | None = None
) -> StudyResults:
    """Return the latest revision of each instance of a study, and the study's reports.

    An instance whose latest revision is in another study has moved there. An instance that an
    operator set aside is left out. `hold` says why the study is in doubt.
    """
    is_present = and_(
        of_study(instances, key), instances.c.set_aside_at.is_(None), ~has_later_revision()
    )
    query = (
        select(*OBJECT_COLUMNS)
        .where(of_study(objects, key), objects.c.kind == ObjectKind.REPORT)
        .order_by(objects.c.id)
    )
    reports = reports_by_form(
        [ObjectRecord(**row) for row in connection.execute(query).mappings()],
    )
    study = connection.execute(select(studies).where(of_study(studies, key))).one_or_none()
    return StudyResults(
        source=key.source,
        study_instance_uid=key.study_instance_uid,
        instances=load_instances(connection, is_present),
        reports=tuple(default for default, *_ in reports),
        pending=_count_pending(connection, is_present),
        status=study.status if study else None,
        detail=study.detail if study else None,
        hold=hold,
        other_forms=tuple(reports[-1][1:]) if reports else (),
    )


def reports_by_form(reports: Iterable[_Report]) -> list[list[_Report]]:
    """Return a list per report of a study: the report in the default form, then its other forms.

    `reports` are rows of objects in their order. The forms of one report are recorded together, the
    default form first.
    """
    found: list[list[_Report]] = []
    for report in reports:
        if report.form == "":
            found.append([report])
        elif found:
            found[-1].append(report)
    return found


def find_study(
    connection: Connection, study_instance_uid: str, source: str | None = None
) -> StudyKey:
    """Return the name of a study: of this source, or of the only source that has it.

    Raises AmbiguousStudyError if `source` is None and several sources have it.
    """
    if source is not None:
        return StudyKey(source, study_instance_uid)
    found = connection.scalars(
        select(instances.c.source)
        .where(instances.c.study_instance_uid == study_instance_uid)
        .distinct()
        .order_by(instances.c.source)
    ).all()
    if len(found) > 1:
        raise AmbiguousStudyError(
            f"{len(found)} sources hold a study {study_instance_uid}: name one of"
            f" {', '.join(repr(name) for name in found)}"
        )
    return StudyKey(found[0] if found else "", study_instance_uid)


def _count_pending(connection: Connection, condition: ColumnElement[bool]) -> int:
    """Return the number of instances with a queued or running analysis."""
    query = (
        select(func.count())
        .select_from(instances)
        .join(
            jobs,
            (jobs.c.kind == JobKind.ANALYSE) & (jobs.c.subject == cast(instances.c.id, Text)),
        )
        .where(
            condition,
            instances.c.state == InstanceState.RECEIVED,
            jobs.c.state.in_([JobState.QUEUED, JobState.RUNNING]),
        )
    )
    return connection.scalar(query) or 0


def is_analysed_further(connection: Connection, key: StudyKey) -> bool:
    """Return True if an analysis of an image of the study is queued or running."""
    named = {"source": key.source, "uid": key.study_instance_uid}
    return connection.scalar(_ANALYSED_FURTHER, named) is not None


def _load_objects(
    connection: Connection, instance_ids: Collection[int]
) -> dict[int, list[ObjectRecord]]:
    query = (
        select(*OBJECT_COLUMNS)
        .where(objects.c.instance_id.in_(instance_ids))
        .order_by(objects.c.id)
    )
    made: dict[int, list[ObjectRecord]] = defaultdict(list)
    for row in connection.execute(query).mappings():
        made[row["instance_id"]].append(ObjectRecord(**row))
    return made


def load_kept_files(connection: Connection, condition: ColumnElement[bool]) -> tuple[KeptFile, ...]:
    """Return the files of these received instances, without purged revisions."""
    query = (
        select(instances.c.sop_class_uid, instances.c.spool_path, instances.c.sha256)
        .where(condition, instances.c.purged_at.is_(None))
        .order_by(instances.c.revision)
    )
    return tuple(KeptFile(*row) for row in connection.execute(query))


def unreferenced_paths(
    connection: Connection, spool_paths: Collection[str], *, wait_for_writers: bool
) -> tuple[str, ...]:
    """Return the spool paths that no row names."""
    query = union_all(
        *(
            select(table.c.spool_path).where(table.c.spool_path.in_(spool_paths))
            for table in (instances, objects)
        )
    )
    if wait_for_writers:
        _await_writers(connection)
    named = set(connection.scalars(query))
    return tuple(path for path in spool_paths if path not in named)


def _await_writers(connection: Connection) -> None:
    """Wait for open transactions that add rows with a spool path.

    A PostgreSQL server may still commit for a client that is gone. SQLite commits in the calling
    process, or does not commit.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SET LOCAL lock_timeout = '{_WRITERS_TIMEOUT_SECONDS}s'"))
        connection.execute(text("LOCK TABLE instances, objects IN SHARE MODE"))


_ANALYSED_FURTHER = (
    select(instances.c.id)
    .join(
        jobs,
        and_(jobs.c.kind == JobKind.ANALYSE, jobs.c.subject == cast(instances.c.id, Text)),
    )
    .where(
        instances.c.source == parameter(instances.c.source, "source"),
        instances.c.study_instance_uid == parameter(instances.c.study_instance_uid, "uid"),
        jobs.c.state.in_([JobState.QUEUED, JobState.RUNNING]),
    )
    .limit(1)
)
