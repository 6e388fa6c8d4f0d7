"""The identities of films: in their headers, and the present ones; for use inside a transaction."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, insert, select, update

from storage.patients.identity import (
    KnownPatient,
    PatientKey,
    identity_key,
    is_contradicted,
    key_of,
    line_of,
    present,
)
from storage.patients.patient import Patient
from storage.tables.database import parameter
from storage.tables.exchange.patients import film_identities
from storage.tables.schema import instances

COLUMNS = {
    "patient_id": "patient_id",
    "issuer": "issuer_of_patient_id",
    "name": "patient_name",
    "birth_date": "patient_birth_date",
    "sex": "patient_sex",
}
"""The columns of an identity, in both tables, by the fields of a Patient."""


@dataclass(frozen=True, slots=True)
class FilmIdentity:
    """The identity in the header of a film, and its present one.

    `is_known` is True for a film that has a row of its own, because a message named its patient.
    `contradicts` is True for a film that keeps its name, birth date and sex.
    """

    number: int
    study_instance_uid: str
    received: Patient
    now: Patient
    is_known: bool = False
    contradicts: bool = False


def load_films(
    connection: Connection,
    source: str,
    ids: Collection[str],
    studies: Collection[str] | None = None,
) -> list[FilmIdentity]:
    """Return the films of a source whose present Patient ID is one of these, of some studies."""
    query = _FILMS.where(instances.c.source == source, instances.c.patient_id.in_(ids))
    if studies is not None:
        query = query.where(instances.c.study_instance_uid.in_(studies))
    films = []
    for row in connection.execute(query):
        values = row._mapping
        now = Patient(**{field: values[field] for field in COLUMNS})
        is_known = row.contradicts is not None
        received = Patient(**{field: values[f"old_{field}"] for field in COLUMNS})
        films.append(
            FilmIdentity(
                row.id,
                row.study_instance_uid,
                received if is_known else now,
                now,
                is_known,
                bool(row.contradicts),
            )
        )
    return films


def present_of_new(
    connection: Connection,
    source: str,
    known: Mapping[PatientKey, KnownPatient],
    received: Patient,
) -> FilmIdentity | None:
    """Return the identity of a film that comes now; None if it is that of its header.

    A film that contradicts what is known of its number keeps its name and birth date, unless an
    earlier film had the same, which a message has changed.
    """
    if key_of(received) not in known:
        return None
    contradicts = is_contradicted(known, received) and not _was_explained(
        connection, source, line_of(known, key_of(received))[-1], received
    )
    now = present(known, received, contradicts=contradicts)
    if now == received and not contradicts:
        return None
    return FilmIdentity(0, "", received, now, contradicts=contradicts)


def _was_explained(connection: Connection, source: str, key: PatientKey, received: Patient) -> bool:
    """Return True if a film that is of this number now came with the same name and birth date."""
    same = (
        select(film_identities.c.instance_id)
        .join(instances, instances.c.id == film_identities.c.instance_id)
        .where(
            instances.c.source == source,
            instances.c.patient_id == key.patient_id,
            ~film_identities.c.contradicts,
            film_identities.c.patient_name == received.name,
            film_identities.c.patient_birth_date == received.birth_date,
        )
        .limit(1)
    )
    return connection.scalar(same) is not None


def record_identities(connection: Connection, films: Sequence[FilmIdentity]) -> None:
    """Write the present identities of films, and keep those of their headers."""
    new = [film for film in films if not film.is_known]
    known = [film for film in films if film.is_known]
    if new:
        connection.execute(_ADD, [_row(film) for film in new])
    if known:
        connection.execute(_CHANGE, [{**_names(film), "film": film.number} for film in known])
    present_ones = [
        {"film": film.number, **{f"now_{field}": getattr(film.now, field) for field in COLUMNS}}
        for film in films
    ]
    if present_ones:
        connection.execute(_SET_PRESENT, present_ones)


def _names(film: FilmIdentity) -> dict[str, object]:
    return {
        "contradicts": film.contradicts,
        "identity_key": identity_key(film.received, film.now),
    }


def _row(film: FilmIdentity) -> dict[str, object]:
    received = {column: getattr(film.received, field) for field, column in COLUMNS.items()}
    return {"instance_id": film.number, "made_for": "", **received, **_names(film)}


def load_identity_keys(
    connection: Connection, instance_ids: Collection[int]
) -> dict[int, dict[str, str]]:
    """Return `identity_key` and `made_for` of those of these films that have another identity."""
    query = select(
        film_identities.c.instance_id, film_identities.c.identity_key, film_identities.c.made_for
    ).where(film_identities.c.instance_id.in_(instance_ids))
    return {
        row.instance_id: {"identity_key": row.identity_key, "made_for": row.made_for}
        for row in connection.execute(query)
    }


def record_made_for(connection: Connection, instance_id: int, made_for: str) -> None:
    """Record the identity for which the objects of a film were made."""
    connection.execute(_SET_MADE_FOR, {"film": instance_id, "made_for": made_for})


def is_made_for_another() -> ColumnElement[bool]:
    """Return the condition that the objects of an instance are of an identity that is past."""
    return (
        select(film_identities.c.instance_id)
        .where(
            film_identities.c.instance_id == instances.c.id,
            film_identities.c.made_for != film_identities.c.identity_key,
        )
        .exists()
    )


_FILMS: Select[tuple[Any, ...]] = (
    select(
        instances.c.id,
        instances.c.study_instance_uid,
        *(func.coalesce(instances.c[column], "").label(field) for field, column in COLUMNS.items()),
        *(film_identities.c[column].label(f"old_{field}") for field, column in COLUMNS.items()),
        film_identities.c.contradicts,
    )
    .join(film_identities, film_identities.c.instance_id == instances.c.id, isouter=True)
    .order_by(instances.c.id)
)
_ADD = insert(film_identities)
_CHANGE = (
    update(film_identities)
    .where(film_identities.c.instance_id == parameter(film_identities.c.instance_id, "film"))
    .values(
        contradicts=parameter(film_identities.c.contradicts, "contradicts"),
        identity_key=parameter(film_identities.c.identity_key, "identity_key"),
    )
)
_SET_PRESENT = (
    update(instances)
    .where(instances.c.id == parameter(instances.c.id, "film"))
    .values(
        {
            column: parameter(instances.c[column], f"now_{field}")
            for field, column in COLUMNS.items()
        }
    )
)
_SET_MADE_FOR = (
    update(film_identities)
    .where(film_identities.c.instance_id == parameter(film_identities.c.instance_id, "film"))
    .values(made_for=parameter(film_identities.c.made_for, "made_for"))
)
