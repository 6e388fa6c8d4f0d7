"""Keeps the list of studies true: each transaction that changes a study ends with `summarise`.

The rows are computed anew from the tables, after they are locked: two transactions that change one
study at once both count. A transaction calls this once, after its other statements and before it
adds to the audit trail, and takes the rows in one order: no two transactions wait for each other.
"""

import functools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from sqlalchemy import (
    Connection,
    Executable,
    Select,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)

from storage.records import Job, JobKind, NewInstance, StudyKey, StudyState
from storage.status import ImageMark
from storage.summaries.compute import OF_FILM, compute
from storage.summaries.folding import folded, folded_name
from storage.summaries.records import StudySummary, as_json
from storage.tables.database import insert_of, parameter
from storage.tables.schema import deliveries, instances, objects, storable, study_summaries

STUDIES_AT_ONCE = 500
"""Studies that are summarised together; databases limit the number of parameters."""

_CELLS = tuple(field.name for field in fields(StudySummary))


@dataclass(frozen=True, slots=True)
class NewFilm:
    """A film that is new in its study, with the number of its row."""

    number: int
    instance: NewInstance

    @property
    def study(self) -> StudyKey:
        """The study of the film."""
        return StudyKey(self.instance.source, self.instance.study_instance_uid)


def summarise(connection: Connection, keys: Iterable[StudyKey]) -> None:
    """Write the rows of these studies as the tables are now."""
    ordered = _ordered(keys)
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


def add_films(
    connection: Connection, films: Sequence[NewFilm], changed: Iterable[StudyKey]
) -> None:
    """Write the rows of the studies of new films, and of the studies `changed`.

    A new film like the earlier films of its study is counted, without a look at all of them.
    """
    by_study: dict[StudyKey, list[NewFilm]] = defaultdict(list)
    for film in films:
        by_study[film.study].append(film)
    whole = set(changed)
    for key in _ordered({*by_study, *whole}):
        if key in whole or not all(_is_added(connection, film) for film in by_study[key]):
            _write(connection, [key])


def fill(connection: Connection) -> None:
    """Write the rows of all studies: the tables are those of a version without this list."""
    keys = connection.execute(
        select(instances.c.source, instances.c.study_instance_uid).group_by(
            instances.c.source, instances.c.study_instance_uid
        )
    ).all()
    summarise(connection, (StudyKey(*key) for key in keys))


def _ordered(keys: Iterable[StudyKey]) -> list[StudyKey]:
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
            new.append({**asdict(key), **asdict(summary)})
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


def _is_added(connection: Connection, film: NewFilm) -> bool:
    """Count a new film in the row of its study; return False if the row says too little for that.

    A study without a row gets one. The film must have the patient, the order and the sender of
    the earlier films, and not be rejected.
    """
    instance = film.instance
    named = {
        "number": film.number,
        "patient_key": folded(storable(instance.patient_id)),
        "name_key": folded_name(storable(instance.patient_name)),
        "accession_key": folded(storable(instance.accession_number)),
    }
    return connection.scalar(_add(connection.dialect.name), named) is not None


@functools.cache
def _add(dialect: str) -> Executable:
    of_film = {
        "source": instances.c.source,
        "study_instance_uid": instances.c.study_instance_uid,
        **{name: func.coalesce(instances.c[name], "") for name in OF_FILM},
        "senders": instances.c.calling_ae_title,
        "patient_key": parameter(study_summaries.c.patient_key, "patient_key"),
        "name_key": parameter(study_summaries.c.name_key, "name_key"),
        "accession_key": parameter(study_summaries.c.accession_key, "accession_key"),
        "films": literal(1),
        "analysed": literal(0),
        "first_received_at": instances.c.received_at,
        "last_received_at": instances.c.received_at,
        "state": literal(StudyState.WAITING, study_summaries.c.state.type),
        "reasons": literal(as_json([])),
        "positives": literal(as_json([])),
        "mark": literal(ImageMark.NONE.value),
    }
    query = select(*of_film.values()).where(
        instances.c.id == parameter(instances.c.id, "number"), instances.c.rejected_by.is_(None)
    )
    statement = insert_of(dialect, study_summaries).from_select(list(of_film), query)
    new = statement.excluded
    state = study_summaries.c.state
    waiting = literal(StudyState.WAITING, state.type)
    return statement.on_conflict_do_update(
        index_elements=["study_instance_uid", "source"],
        set_={
            "films": study_summaries.c.films + 1,
            "last_received_at": new.last_received_at,
            "state": case((state == StudyState.HELD, state), else_=waiting),
        },
        where=and_(
            # A film queues a parked report again: the state is then computed anew.
            state != StudyState.PARKED,
            study_summaries.c.mark.in_((ImageMark.NONE.value, ImageMark.IN_DOUBT.value)),
            *(study_summaries.c[name] == new[name] for name in (*OF_FILM, "senders", *_KEYS)),
        ),
    ).returning(study_summaries.c.id)


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


_KEYS = ("patient_key", "name_key", "accession_key")
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
