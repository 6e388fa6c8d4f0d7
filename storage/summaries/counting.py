"""Changes of one film, added to the row of its study without a look at its other films.

So the receptions and the analyses of a study with thousands of films take the same time each. What
is not added in this way is computed anew by `storage.summaries.keep`; both give the same row.
"""

import functools
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Connection,
    Executable,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    update,
)

from storage.records import InstanceState, JobKind, JobState, NewInstance, StudyKey, StudyState
from storage.status import ImageMark
from storage.summaries.compute import OF_FILM
from storage.summaries.folding import folded, folded_name
from storage.summaries.keep import in_order, summarise
from storage.summaries.records import as_json, ranked
from storage.tables.columns import storable
from storage.tables.conditions import has_later_revision
from storage.tables.database import insert_of, parameter
from storage.tables.schema import instances, jobs, study_summaries


@dataclass(frozen=True, slots=True)
class NewFilm:
    """A film that is new in its study, with the number of its row."""

    number: int
    instance: NewInstance

    @property
    def study(self) -> StudyKey:
        """The study of the film."""
        return StudyKey(self.instance.source, self.instance.study_instance_uid)


@dataclass(frozen=True, slots=True)
class FirstResult:
    """The result of a film that had none: its called findings, or the reason why it has none."""

    number: int
    study: StudyKey
    positives: Sequence[tuple[str, float]] = ()
    reason: str | None = None


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
    for key in in_order({*by_study, *whole}):
        if key in whole or not all(_is_added(connection, film) for film in by_study[key]):
            summarise(connection, [key])


def add_result(connection: Connection, result: FirstResult) -> None:
    """Write the row of the study of a film that has its first result."""
    if not _is_result_added(connection, result):
        summarise(connection, [result.study])


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
        "state": _WAITING,
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
    # A clock that was set back gives a new film an earlier time than the film before it.
    first, last = study_summaries.c.first_received_at, study_summaries.c.last_received_at
    return statement.on_conflict_do_update(
        index_elements=["study_instance_uid", "source"],
        set_={
            "films": study_summaries.c.films + 1,
            "first_received_at": case(
                (new.first_received_at < first, new.first_received_at), else_=first
            ),
            "last_received_at": case(
                (new.last_received_at > last, new.last_received_at), else_=last
            ),
            "state": case((state == StudyState.HELD, state), else_=_WAITING),
        },
        where=and_(
            # A film queues a parked report again: the state is then computed anew.
            state != StudyState.PARKED,
            study_summaries.c.mark.in_((ImageMark.NONE.value, ImageMark.IN_DOUBT.value)),
            *(study_summaries.c[name] == new[name] for name in (*OF_FILM, "senders", *_KEYS)),
        ),
    ).returning(study_summaries.c.id)


def _is_result_added(connection: Connection, result: FirstResult) -> bool:
    """Add a first result to the row of its study; return False if the row says too little for that.

    The film must count. The study must be held, or have waited for the analysis and be reported
    after it.
    The row is locked before the queries of the second statement, so that they see each change of
    the study.
    """
    is_server = connection.dialect.name == "postgresql"
    place = {"source": result.study.source, "uid": result.study.study_instance_uid}
    row = connection.execute(_LOCKED_ROW if is_server else _ROW, place).one_or_none()
    if row is None or row.state not in (StudyState.WAITING, StudyState.HELD):
        return False
    called = dict(json.loads(row.positives))
    for label, probability in ranked(result.positives):
        called[label] = max(probability, called.get(label, probability))
    reasons = json.loads(row.reasons)
    hold = reasons[:1] if row.state is StudyState.HELD else []
    further = {storable(result.reason)} if result.reason else set()
    added = {
        "row": row.id,
        "film": result.number,
        "report": result.study.subject,
        "of_source": result.study.source,
        "of_study": result.study.study_instance_uid,
        "more": int(result.reason is None),
        "new_positives": as_json(ranked(called.items())),
        "new_reasons": as_json([*hold, *sorted({*reasons[len(hold) :], *further})]),
    }
    return connection.execute(_ADD_RESULT, added).rowcount == 1


_KEYS = ("patient_key", "name_key", "accession_key")
_IS_HELD = study_summaries.c.state == StudyState.HELD
_WAITING = literal(StudyState.WAITING, study_summaries.c.state.type)
_ROW: Select[tuple[Any, ...]] = select(
    study_summaries.c.id,
    study_summaries.c.state,
    study_summaries.c.positives,
    study_summaries.c.reasons,
).where(
    study_summaries.c.study_instance_uid == parameter(study_summaries.c.study_instance_uid, "uid"),
    study_summaries.c.source == parameter(study_summaries.c.source, "source"),
)
_LOCKED_ROW = _ROW.with_for_update()
# With NOT IN the database reads the jobs of the study, not an index of all jobs that wait.
_IN_WORK = jobs.c.state.not_in((JobState.DONE, JobState.DISCARDED, JobState.PARKED))
_WAITS_FOR_ANOTHER = (
    select(instances.c.id)
    .join(
        jobs,
        and_(jobs.c.kind == JobKind.ANALYSE, jobs.c.subject == cast(instances.c.id, Text)),
    )
    .where(
        instances.c.source == parameter(instances.c.source, "of_source"),
        instances.c.study_instance_uid == parameter(instances.c.study_instance_uid, "of_study"),
        _IN_WORK,
    )
    .exists()
)
_IS_REPORTED_NEXT = (
    select(jobs.c.id)
    .where(
        jobs.c.kind == JobKind.REPORT,
        jobs.c.subject == parameter(jobs.c.subject, "report"),
        _IN_WORK,
    )
    .exists()
)
_FILM_COUNTS = (
    select(instances.c.id)
    .where(
        instances.c.id == parameter(instances.c.id, "film"),
        instances.c.state != InstanceState.RECEIVED,
        instances.c.set_aside_at.is_(None),
        instances.c.rejected_by.is_(None),
        ~has_later_revision(),
    )
    .exists()
)
_ADD_RESULT = (
    update(study_summaries)
    .where(
        study_summaries.c.id == parameter(study_summaries.c.id, "row"),
        or_(_IS_HELD, _IS_REPORTED_NEXT),
        _FILM_COUNTS,
    )
    .values(
        analysed=study_summaries.c.analysed + parameter(study_summaries.c.analysed, "more"),
        positives=parameter(study_summaries.c.positives, "new_positives"),
        reasons=parameter(study_summaries.c.reasons, "new_reasons"),
        state=case(
            (_IS_HELD, study_summaries.c.state),
            (_WAITS_FOR_ANOTHER, _WAITING),
            else_=literal(StudyState.ANALYSED, study_summaries.c.state.type),
        ),
    )
)
