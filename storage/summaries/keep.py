"""Keeps the list of studies true: each transaction that changes a study ends with `summarise`.

The rows are computed anew from the tables, after they are locked: two transactions that change one
study at once both count. A transaction calls this once, after its other statements and before it
adds to the audit trail, and takes the rows in one order: no two transactions wait for each other.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, Select, bindparam, delete, insert, select, update

from storage.records import Job, JobKind, StudyKey, StudyState
from storage.summaries.compute import compute
from storage.summaries.records import StudySummary
from storage.tables.schema import deliveries, instances, objects, study_summaries

STUDIES_AT_ONCE = 500
"""Studies that are summarised together; databases limit the number of parameters."""

_CELLS = tuple(field.name for field in fields(StudySummary))


def summarise(connection: Connection, keys: Iterable[StudyKey]) -> None:
    """Write the rows of these studies as the tables are now."""
    ordered = in_order(keys)
    for start in range(0, len(ordered), STUDIES_AT_ONCE):
        _write(connection, ordered[start : start + STUDIES_AT_ONCE])


def summarise_jobs(connection: Connection, changed: Sequence[Job]) -> None:
    """Write the rows of the studies whose jobs were parked, queued again or discarded."""
    summarise(connection, _studies_of(connection, changed))


def summarise_unparked(connection: Connection, study_instance_uid: str) -> None:
    """Write the rows of a study in all its sources where they say that a job is parked."""
    parked = select(study_summaries.c.source).where(
        study_summaries.c.study_instance_uid == study_instance_uid,
        study_summaries.c.state == StudyState.PARKED,
    )
    sources = connection.scalars(parked).all()
    summarise(connection, [StudyKey(source, study_instance_uid) for source in sources])


def fill(
    connection: Connection,
    progress: Callable[[int, int], object] = lambda _done, _total: None,
) -> None:
    """Write the rows of all studies: the tables are those of a version without this list.

    `progress` gets the number of studies that are done, and that of all.
    """
    keys = connection.execute(
        select(instances.c.source, instances.c.study_instance_uid).group_by(
            instances.c.source, instances.c.study_instance_uid
        )
    ).all()
    for start in range(0, len(keys), STUDIES_AT_ONCE):
        progress(start, len(keys))
        some = keys[start : start + STUDIES_AT_ONCE]
        summarise(connection, (StudyKey(*key) for key in some))


def in_order(keys: Iterable[StudyKey]) -> list[StudyKey]:
    """Return the studies in the order in which each transaction locks their rows."""
    return sorted(set(keys), key=lambda key: (key.study_instance_uid, key.source))


def _write(connection: Connection, keys: Sequence[StudyKey]) -> None:
    names = {
        "uids": [key.study_instance_uid for key in keys],
        "sources": list({key.source for key in keys}),
    }
    is_server = connection.dialect.name == "postgresql"
    rows = connection.execute(_LOCKED_ROWS if is_server else _ROWS, names)
    known = {StudyKey(row.source, row.study_instance_uid): row for row in rows}
    found = compute(connection, keys)
    new = []
    for key in keys:
        row, summary = known.get(key), found.get(key)
        if summary is None:
            if row is not None:
                connection.execute(delete(study_summaries).where(study_summaries.c.id == row.id))
        elif row is None:
            cells = {name: getattr(summary, name) for name in _CELLS}
            new.append(
                {"source": key.source, "study_instance_uid": key.study_instance_uid, **cells}
            )
        else:
            changes = {
                name: getattr(summary, name)
                for name in _CELLS
                if getattr(summary, name) != getattr(row, name)
            }
            if changes:
                connection.execute(
                    update(study_summaries).where(study_summaries.c.id == row.id).values(changes)
                )
    if new:
        connection.execute(insert(study_summaries), new)


def _studies_of(connection: Connection, changed: Sequence[Job]) -> set[StudyKey]:
    """Return the studies of jobs; the source of a COMMIT job's study may be any that has it."""
    keys = {StudyKey.of_subject(job.subject) for job in changed if job.kind is JobKind.REPORT}
    for column, kind, value in (
        (instances.c.id, JobKind.ANALYSE, _number_of_film),
        (deliveries.c.job_id, JobKind.DELIVER, lambda job: job.id),
        (study_summaries.c.study_instance_uid, JobKind.COMMIT, _study_of_commitment),
    ):
        values = {value(job) for job in changed if job.kind is kind} - {None}
        if values:
            query = _STUDIES_OF[kind].where(column.in_(values)).distinct()
            keys |= {StudyKey(*row) for row in connection.execute(query)}
    return keys


def _number_of_film(job: Job) -> int | None:
    return int(job.subject) if job.subject.isdecimal() else None


def _study_of_commitment(job: Job) -> str:
    return job.subject.partition("@")[0]


_ROWS = select(study_summaries).where(
    study_summaries.c.study_instance_uid.in_(bindparam("uids", expanding=True)),
    # Another source's study of one UID is not locked: its row may be waited for in another order.
    study_summaries.c.source.in_(bindparam("sources", expanding=True)),
)
_LOCKED_ROWS = _ROWS.order_by(
    study_summaries.c.study_instance_uid.collate("C"), study_summaries.c.source.collate("C")
).with_for_update()
_STUDIES_OF: dict[JobKind, Select[tuple[Any, ...]]] = {
    JobKind.ANALYSE: select(instances.c.source, instances.c.study_instance_uid),
    JobKind.DELIVER: select(objects.c.source, objects.c.study_instance_uid).join(
        deliveries, deliveries.c.sop_instance_uid == objects.c.sop_instance_uid
    ),
    JobKind.COMMIT: select(study_summaries.c.source, study_summaries.c.study_instance_uid),
}
