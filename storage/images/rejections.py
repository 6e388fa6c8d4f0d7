"""Rejections: films that an archive withdrew, and the results that rest on them.

Statements for use inside a transaction.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, or_, select, update

from storage.audit.records import AuditEntry
from storage.images.holds import reject_results
from storage.queue.transitions import lock_source, lock_studies
from storage.records import RETENTION_EXPIRED, Rejection, StudyKey
from storage.tables.database import insert, parameter
from storage.tables.schema import instances, rejections

_UIDS_AT_ONCE = 500

_NOTE = instances.alias()
_FILM = instances.alias()
# A film that moved: the note is in the study that it left, and means the film there.
_MEANS_ANOTHER = (
    select(_NOTE.c.id)
    .join(
        _FILM,
        and_(
            _FILM.c.source == _NOTE.c.source,
            _FILM.c.study_instance_uid == _NOTE.c.study_instance_uid,
        ),
    )
    .where(
        _NOTE.c.source == rejections.c.source,
        _NOTE.c.sop_instance_uid == rejections.c.note_uid,
        _NOTE.c.study_instance_uid != parameter(instances.c.study_instance_uid, "study"),
        _FILM.c.sop_instance_uid == rejections.c.sop_instance_uid,
    )
    .exists()
)
_CODES = (
    select(rejections.c.code)
    .where(
        rejections.c.source == parameter(rejections.c.source, "of_source"),
        rejections.c.sop_instance_uid == parameter(rejections.c.sop_instance_uid, "uid"),
        ~_MEANS_ANOTHER,
    )
    .order_by(rejections.c.received_at, rejections.c.note_uid)
)


def lock_rejected(connection: Connection, note: int, rejection: Rejection) -> tuple[StudyKey, ...]:
    """Lock the note's source, its study and every study of a rejected film; return the latter.

    The source is locked first, as `record_instance` does.
    """
    place = connection.execute(
        select(instances.c.source, instances.c.study_instance_uid).where(instances.c.id == note)
    ).one_or_none()
    if place is None:
        return ()
    own = StudyKey(*place)
    lock_source(connection, own.source, shared=False)
    films = {
        StudyKey(own.source, uid)
        for condition in _rejected_films(own, note, rejection)
        for uid in connection.scalars(select(instances.c.study_instance_uid).where(condition))
    }
    lock_studies(connection, {own, *films})
    return tuple(sorted(films, key=lambda key: key.subject))


def apply_rejection(
    connection: Connection,
    note: int,
    rejection: Rejection,
    studies: Sequence[StudyKey],
    entries: list[AuditEntry],
    now: datetime,
) -> int:
    """Record what a note rejects, and mark the films that are here; return their number.

    Audit entries are added to `entries`.

    Only films of the note's own source are rejected, and of a film that is in the note's own study
    and in another one, only that in the note's. A film that arrives later is rejected by
    `rejected_before`. `studies` are those of the films, locked. A note of an expired retention time
    only marks its films.
    """
    source, study, note_uid = connection.execute(
        select(
            instances.c.source, instances.c.study_instance_uid, instances.c.sop_instance_uid
        ).where(instances.c.id == note)
    ).one()
    for uids in _parts(rejection):
        rows = [
            {
                "source": source,
                "sop_instance_uid": uid,
                "code": rejection.code,
                "note_uid": note_uid,
                "received_at": now,
            }
            for uid in uids
        ]
        connection.execute(insert(connection, rejections).values(rows).on_conflict_do_nothing())
    marked = 0
    for condition in _rejected_films(StudyKey(source, study), note, rejection):
        marked += connection.execute(
            update(instances)
            .where(condition, _yields_to(rejection.code))
            .values(rejected_by=rejection.code)
        ).rowcount
    if rejection.code != RETENTION_EXPIRED:
        for key in studies:
            reject_results(connection, key, rejection.code, entries, now)
    return marked


def rejected_before(connection: Connection, study: StudyKey, sop_instance_uid: str) -> str | None:
    """Return the code of the note that rejected an instance of a study before it came, or None."""
    named = {
        "of_source": study.source,
        "uid": sop_instance_uid,
        "study": study.study_instance_uid,
    }
    codes = connection.scalars(_CODES, named).all()
    withdrawn = [code for code in codes if code != RETENTION_EXPIRED]
    return next(iter([*withdrawn, *codes]), None)


def _rejected_films(
    own: StudyKey, note: int, rejection: Rejection
) -> Iterator[ColumnElement[bool]]:
    """Yield the condition of some of the films that a note in the study `own` rejects."""
    is_in_own = select(_FILM.c.id).where(
        _FILM.c.source == instances.c.source,
        _FILM.c.sop_instance_uid == instances.c.sop_instance_uid,
        _FILM.c.study_instance_uid == own.study_instance_uid,
    )
    for uids in _parts(rejection):
        yield and_(
            instances.c.source == own.source,
            instances.c.id != note,
            instances.c.sop_instance_uid.in_(uids),
            or_(instances.c.study_instance_uid == own.study_instance_uid, ~is_in_own.exists()),
        )


def _parts(rejection: Rejection) -> Iterator[tuple[str, ...]]:
    uids = rejection.sop_instance_uids
    for start in range(0, len(uids), _UIDS_AT_ONCE):
        yield uids[start : start + _UIDS_AT_ONCE]


def _yields_to(code: str) -> ColumnElement[Any]:
    """Return the condition that a film has no rejection that counts for more than this code."""
    unmarked = instances.c.rejected_by.is_(None)
    return (
        unmarked
        if code == RETENTION_EXPIRED
        else (unmarked | (instances.c.rejected_by == RETENTION_EXPIRED))
    )
