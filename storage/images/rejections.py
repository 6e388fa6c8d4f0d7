"""Rejections: films that an archive withdrew, and the results that rest on them.

Statements for use inside a transaction.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, select, update

from storage.audit.records import AuditEntry
from storage.images.holds import reject_results
from storage.queue.transitions import lock_source, lock_studies
from storage.records import RETENTION_EXPIRED, Rejection, StudyKey
from storage.tables.database import insert, parameter
from storage.tables.schema import instances, rejections

_UIDS_AT_ONCE = 500

_CODES = (
    select(rejections.c.code)
    .where(
        rejections.c.source == parameter(rejections.c.source, "of_source"),
        rejections.c.sop_instance_uid == parameter(rejections.c.sop_instance_uid, "uid"),
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
        for condition in _rejected_films(own.source, note, rejection)
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

    Only films of the note's own source are rejected. A film that arrives later is rejected by
    `rejected_before`. `studies` are those of the films, locked. A note of an expired retention time
    only marks its films.
    """
    source, note_uid = connection.execute(
        select(instances.c.source, instances.c.sop_instance_uid).where(instances.c.id == note)
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
    for condition in _rejected_films(source, note, rejection):
        marked += connection.execute(
            update(instances)
            .where(condition, _yields_to(rejection.code))
            .values(rejected_by=rejection.code)
        ).rowcount
    if rejection.code != RETENTION_EXPIRED:
        for key in studies:
            reject_results(connection, key, rejection.code, entries, now)
    return marked


def rejected_before(connection: Connection, source: str, sop_instance_uid: str) -> str | None:
    """Return the code of the note that rejected an instance before it arrived, or None."""
    codes = connection.scalars(_CODES, {"of_source": source, "uid": sop_instance_uid}).all()
    withdrawn = [code for code in codes if code != RETENTION_EXPIRED]
    return next(iter([*withdrawn, *codes]), None)


def _rejected_films(source: str, note: int, rejection: Rejection) -> Iterator[ColumnElement[bool]]:
    for uids in _parts(rejection):
        yield and_(
            instances.c.source == source,
            instances.c.id != note,
            instances.c.sop_instance_uid.in_(uids),
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
