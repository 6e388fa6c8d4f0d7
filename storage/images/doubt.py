"""Doubt about a study: films of two patients, or a film that moved to another study.

Statements for use inside a transaction that has locked the study.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, func, or_, select

from storage.patients.patient import Patient, by_patient, is_same_patient
from storage.records import (
    RETENTION_EXPIRED,
    HeldFilm,
    HoldReason,
    InstanceState,
    JobState,
    ObjectKind,
    StudyHold,
    StudyKey,
)
from storage.tables.conditions import has_later_revision, of_study
from storage.tables.database import parameter
from storage.tables.schema import deliveries, instances, jobs, objects

OWN_RESULT = "OWN_RESULT"
"""The reason of an instance that is a result of ours, sent back by an archive."""
KEY_OBJECT_SELECTION = "1.2.840.10008.5.1.4.1.1.88.59"
"""The SOP class of notes about images, which are no images of the patient themselves."""
_FILMS_NAMED = 10

# The identity of a patient as the columns hold it.
_IDENTITY = (
    instances.c.patient_id,
    instances.c.issuer_of_patient_id,
    instances.c.patient_name,
    instances.c.patient_birth_date,
    instances.c.patient_sex,
)


@dataclass(frozen=True, slots=True)
class _Films:
    """The rows of a study that count: latest revisions, and earlier ones by their fate."""

    latest: Sequence[Row[Any]]
    replaced: Sequence[tuple[Row[Any], Row[Any]]]
    """An earlier revision of this study and the latest one, of the same study."""
    moved: Sequence[Row[Any]]
    """Revisions of this study whose latest revision is in another study."""


def find_doubt(connection: Connection, key: StudyKey) -> tuple[StudyHold | None, list[int]]:
    """Return `find_hold` and `films_of_another_patient` of a study, which is read once."""
    films = _load_films(connection, key)
    return _hold(connection, key, films), _of_another_patient(films)


def find_hold(connection: Connection, key: StudyKey) -> StudyHold | None:
    """Return why the study is in doubt, or None.

    The latest revision of each film counts. An earlier one counts, too, if it was of another
    patient and its results have left: then a person must say which is right.
    """
    return _hold(connection, key, _load_films(connection, key))


def _hold(connection: Connection, key: StudyKey, films: _Films) -> StudyHold | None:
    patients = _group(films.latest)
    if len(patients) > 1:
        named = ", ".join(
            f"patient {number}: {_named(rows)}" for number, rows in enumerate(patients, 1)
        )
        return StudyHold(
            HoldReason.TWO_PATIENTS,
            f"the study holds films of {len(patients)} patients ({named}){_remedy(key, drop=True)}",
        )
    changed = [
        new
        for old, new in films.replaced
        if not is_same_patient(_patient(old), _patient(new)) and _has_left(connection, old)
    ]
    if changed:
        return StudyHold(
            HoldReason.TWO_PATIENTS,
            "results have left, and then a film was sent again under another patient"
            f" ({_named(changed)}){_remedy(key)}",
        )
    if films.moved:
        return StudyHold(
            HoldReason.FILM_MOVED,
            f"a film was sent again in another study ({_named(films.moved)}){_remedy(key)}",
        )
    return None


def films_of_another_patient(connection: Connection, key: StudyKey) -> list[int]:
    """Return the earlier revisions of films that were sent again under another patient."""
    return _of_another_patient(_load_films(connection, key))


def _of_another_patient(films: _Films) -> list[int]:
    return [
        old.id for old, new in films.replaced if not is_same_patient(_patient(old), _patient(new))
    ]


def replaced_films(connection: Connection, key: StudyKey) -> list[int]:
    """Return the revisions of a study that a later one has replaced, here or in another study."""
    films = _load_films(connection, key)
    return [row.id for row in (*(old for old, _ in films.replaced), *films.moved)]


def films_by_patient(connection: Connection, key: StudyKey) -> tuple[tuple[HeldFilm, ...], ...]:
    """Return the films of a study by patient, then the films that moved away.

    Earlier revisions of its films are among them: they may be of another patient.
    """
    return _by_patient(_load_films(connection, key))


def find_held(
    connection: Connection, key: StudyKey
) -> tuple[StudyHold | None, tuple[tuple[HeldFilm, ...], ...]]:
    """Return `find_hold` and `films_by_patient` of a study, which is read once."""
    films = _load_films(connection, key)
    return _hold(connection, key, films), _by_patient(films)


def _by_patient(films: _Films) -> tuple[tuple[HeldFilm, ...], ...]:
    own = sorted((*films.latest, *(old for old, _ in films.replaced)), key=lambda row: row.id)
    return tuple(
        tuple(
            HeldFilm(
                row.id, row.sop_instance_uid, row.revision, row.received_at, row.calling_ae_title
            )
            for row in rows
        )
        for rows in (*_group(own), films.moved)
        if rows
    )


def counts() -> ColumnElement[bool]:
    """Return the condition that an instance is a film of its study: not set aside or rejected."""
    return and_(instances.c.set_aside_at.is_(None), ~is_rejected())


def is_rejected() -> ColumnElement[bool]:
    """Return the condition that a note rejected an instance, as `Instance.is_rejected`."""
    return func.coalesce(instances.c.rejected_by, RETENTION_EXPIRED) != RETENTION_EXPIRED


def _is_film() -> ColumnElement[bool]:
    """Return the condition that an instance is no note, and no result of ours sent back."""
    made_here = select(objects.c.id).where(
        objects.c.sop_instance_uid == instances.c.sop_instance_uid
    )
    # Before its analysis only its UID tells a result of ours from a film.
    is_own = or_(
        and_(instances.c.state == InstanceState.RECEIVED, made_here.exists()),
        and_(
            instances.c.state == InstanceState.NOT_ANALYSED,
            func.coalesce(instances.c.reason, "") == OWN_RESULT,
        ),
    )
    return and_(instances.c.sop_class_uid != KEY_OBJECT_SELECTION, ~is_own)


def is_same_film(connection: Connection, instance_id: int) -> bool:
    """Return True if the latest revision of this film is of the same study and patient."""
    *_, last = rows = connection.execute(_REVISIONS, {"film": instance_id}).all()
    own = next(row for row in rows if row.id == instance_id)
    return own.study_instance_uid == last.study_instance_uid and is_same_patient(
        _patient(own), _patient(last)
    )


def is_like_another(connection: Connection, key: StudyKey, instance_id: int) -> bool:
    """Return True if another film of the study has the very same identity of a patient.

    Then this film makes no difference to the doubt. The answer needs no look at the whole of a
    large study.
    """
    named = {"film": instance_id, "source": key.source, "study": key.study_instance_uid}
    return connection.scalar(_LIKE_ANOTHER, named) is not None


def _load_films(connection: Connection, key: StudyKey) -> _Films:
    named = {"source": key.source, "study": key.study_instance_uid}
    rows = connection.execute(_FILMS, named).all()
    latest: dict[str, Row[Any]] = {}
    for row in rows:
        known = latest.get(row.sop_instance_uid)
        if known is None or row.revision > known.revision:
            latest[row.sop_instance_uid] = row
    here = [row for row in rows if row.study_instance_uid == key.study_instance_uid and row.counts]
    earlier = [(row, latest[row.sop_instance_uid]) for row in here]
    return _Films(
        latest=[row for row, last in earlier if row is last],
        replaced=[
            (row, last)
            for row, last in earlier
            if row is not last and last.study_instance_uid == key.study_instance_uid
        ],
        moved=[row for row, last in earlier if last.study_instance_uid != key.study_instance_uid],
    )


def _has_left(connection: Connection, film: Row[Any]) -> bool:
    """Return True if a result made since this revision came has left, or may be leaving now."""
    left = (
        select(deliveries.c.job_id)
        .join(objects, objects.c.sop_instance_uid == deliveries.c.sop_instance_uid)
        .join(jobs, jobs.c.id == deliveries.c.job_id)
        .where(
            of_study(objects, StudyKey(film.source, film.study_instance_uid)),
            objects.c.created_at >= film.received_at,
            or_(objects.c.kind == ObjectKind.REPORT, objects.c.instance_id == film.id),
            or_(deliveries.c.delivered_at.is_not(None), jobs.c.state == JobState.RUNNING),
        )
    )
    return bool(connection.scalar(select(left.exists())))


def _group(rows: Sequence[Row[Any]]) -> list[list[Row[Any]]]:
    return by_patient([(_patient(row), row) for row in rows])


def _patient(row: Row[Any]) -> Patient:
    return Patient(
        row.patient_id,
        row.issuer_of_patient_id or "",
        row.patient_name or "",
        row.patient_birth_date or "",
        row.patient_sex or "",
    )


def _named(rows: Sequence[Row[Any]]) -> str:
    uids = list(dict.fromkeys(row.sop_instance_uid for row in rows))
    more = len(uids) - _FILMS_NAMED
    return " ".join(uids[:_FILMS_NAMED]) + (f" and {more} more" if more > 0 else "")


def _remedy(key: StudyKey, *, drop: bool = False) -> str:
    release = f"cxrd studies release {key.study_instance_uid}{' --drop SOP_UID' if drop else ''}"
    return f": see `cxrd studies list`, then `{release}`"


_SOURCE = parameter(instances.c.source, "source")
_FILM = parameter(instances.c.id, "film")
_IN_STUDY = and_(
    instances.c.source == _SOURCE,
    instances.c.study_instance_uid == parameter(instances.c.study_instance_uid, "study"),
)
_THIS = instances.alias()

_REVISIONS: Select[tuple[Any, ...]] = (
    select(instances.c.id, instances.c.study_instance_uid, *_IDENTITY)
    .join(
        _THIS,
        and_(
            _THIS.c.source == instances.c.source,
            _THIS.c.sop_instance_uid == instances.c.sop_instance_uid,
        ),
    )
    .where(_THIS.c.id == _FILM)
    .order_by(instances.c.revision)
)

_LIKE_ANOTHER = (
    select(instances.c.id)
    .where(
        _IN_STUDY,
        counts(),
        _is_film(),
        ~has_later_revision(),
        _THIS.c.id == _FILM,
        instances.c.id != _THIS.c.id,
        *(
            instances.c[column.name].is_not_distinct_from(_THIS.c[column.name])
            for column in _IDENTITY
        ),
    )
    .limit(1)
)

_FILMS: Select[tuple[Any, ...]] = (
    select(
        instances.c.id,
        instances.c.source,
        instances.c.study_instance_uid,
        instances.c.sop_instance_uid,
        instances.c.revision,
        instances.c.received_at,
        instances.c.calling_ae_title,
        counts().label("counts"),
        *_IDENTITY,
    )
    .where(
        instances.c.source == _SOURCE,
        instances.c.sop_instance_uid.in_(select(instances.c.sop_instance_uid).where(_IN_STUDY)),
        _is_film(),
    )
    .order_by(instances.c.id)
)
