"""Work on a study that an operator requests again: analyses and deliveries.

Each function is one transaction's statements; the caller has opened it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from storage.audit.records import AuditEntry, subject_of
from storage.audit.trail import append
from storage.errors import StudyHeldError, UnknownRecordError
from storage.images.by_hand.seen import SeenStudy, require_unchanged
from storage.images.doubt import KEY_OBJECT_SELECTION, OWN_RESULT, find_hold, is_rejected
from storage.images.result_rows import queue_delivery
from storage.queue.transitions import enqueue, lock_study, reopen
from storage.records import Delivery, JobKind, JobState, Standing, StudyKey
from storage.summaries.keep import summarise
from storage.tables.conditions import has_later_revision, of_study
from storage.tables.schema import deliveries, instances, jobs, objects

_STANDINGS = {
    Standing.SUPERSEDED: "a later result replaces it",
    Standing.IN_DOUBT: "its study is in doubt",
    Standing.REJECTED: "its film was rejected in its archive",
}


@dataclass(frozen=True, slots=True)
class Repetition:
    """UIDs of the films or objects whose work is queued again, and the refused with reasons."""

    queued: tuple[str, ...]
    refused: Mapping[str, str]


def analyse_again(
    connection: Connection,
    key: StudyKey,
    films: Collection[int] | None,
    act: AuditEntry,
    seen: SeenStudy | None,
    now: datetime,
) -> Repetition:
    """Queue the analyses of a study again; see `Studies.analyse_again`."""
    lock_study(connection, key)
    rows = connection.execute(
        select(instances, has_later_revision().label("is_replaced"), is_rejected().label("is_out"))
        .where(of_study(instances, key))
        .order_by(instances.c.id)
    ).all()
    known = {row.id for row in rows}
    unknown = sorted(set(films or ()) - known)
    if unknown or not rows:
        missing = f"no film {unknown[0]} in" if unknown else "nothing of"
        raise UnknownRecordError(f"there is {missing} study {key.study_instance_uid}")
    _require_no_hold(connection, key)
    require_unchanged(connection, key, seen)
    chosen = [row for row in rows if films is None or row.id in films]
    states = _states(connection, JobKind.ANALYSE, [str(row.id) for row in chosen])
    refused = {}
    queued = []
    for row in chosen:
        reason = _why_not_analysed(row, states.get(str(row.id)))
        if reason is None:
            enqueue(connection, JobKind.ANALYSE, str(row.id), now=now, not_before=now)
            queued.append(row.sop_instance_uid)
        elif films is not None or not _is_past(row):
            refused[row.sop_instance_uid] = reason
    if queued:
        # The end of an analysis queues every other report again.
        reopen(connection, JobKind.REPORT, key.subject, now=now, ended=(JobState.DISCARDED,))
        named = {"instance": queued[0]} if films is not None and len(queued) == 1 else {}
        _append(connection, act, key, now, f"{len(queued)} film(s)", **named)
    return Repetition(tuple(queued), refused)


def send_again(
    connection: Connection,
    key: StudyKey,
    wanted: Sequence[Delivery],
    act: AuditEntry,
    seen: SeenStudy | None,
    now: datetime,
) -> Repetition:
    """Queue deliveries of one destination again; see `Studies.send_again`."""
    lock_study(connection, key)
    _require_no_hold(connection, key)
    require_unchanged(connection, key, seen)
    uids = [delivery.sop_instance_uid for delivery in wanted]
    query = select(objects).where(of_study(objects, key), objects.c.sop_instance_uid.in_(uids))
    made = {row.sop_instance_uid: row for row in connection.execute(query)}
    subjects = [f"{item.sop_instance_uid}@{item.destination}" for item in wanted]
    states = _states(connection, JobKind.DELIVER, subjects)
    held = _held(connection, wanted)
    refused = {}
    queued = []
    for delivery, subject in zip(wanted, subjects, strict=True):
        uid = delivery.sop_instance_uid
        reason = _why_not_sent(made.get(uid), states.get(subject), is_held=uid in held)
        if reason is not None:
            refused[uid] = reason
            continue
        lane = delivery.destination
        if subject in states:
            enqueue(connection, JobKind.DELIVER, subject, now=now, not_before=now, lane=lane)
        else:
            queue_delivery(connection, delivery, now)
        queued.append(uid)
    if queued:
        named = {"destination": wanted[0].destination}
        _append(connection, act, key, now, f"{len(queued)} object(s)", **named)
    return Repetition(tuple(queued), refused)


def _require_no_hold(connection: Connection, key: StudyKey) -> None:
    hold = find_hold(connection, key)
    if hold is not None:
        raise StudyHeldError(f"study {key.study_instance_uid} is held: {hold.detail}")


def _states(
    connection: Connection, kind: JobKind, subjects: Collection[str]
) -> Mapping[str, JobState]:
    """Return the states of jobs by subject, and lock the jobs against the workers."""
    query = (
        select(jobs.c.subject, jobs.c.state)
        .where(jobs.c.kind == kind, jobs.c.subject.in_(subjects))
        .order_by(jobs.c.id)
        .with_for_update()
    )
    return {row.subject: row.state for row in connection.execute(query)}


def _held(connection: Connection, wanted: Sequence[Delivery]) -> frozenset[str]:
    query = select(deliveries.c.sop_instance_uid).where(
        deliveries.c.sop_instance_uid.in_([item.sop_instance_uid for item in wanted]),
        deliveries.c.destination.in_({item.destination for item in wanted}),
        deliveries.c.held_at.is_not(None),
    )
    return frozenset(connection.scalars(query))


def _is_past(row: Row[Any]) -> bool:
    """Return True for a row that is no film of the study now; an operator does not miss it."""
    return bool(row.is_replaced) or _is_no_film(row)


def _is_no_film(row: Row[Any]) -> bool:
    return bool(row.sop_class_uid == KEY_OBJECT_SELECTION or row.reason == OWN_RESULT)


def _why_not_analysed(row: Row[Any], state: JobState | None) -> str | None:
    if _is_no_film(row):
        return "it is no film"
    if row.is_replaced:
        return "a later revision replaces it"
    if row.set_aside_at is not None:
        return "it was set aside when its study was released"
    if row.is_out:
        return f"it was rejected in its archive ({row.rejected_by})"
    if row.purged_at is not None:
        return f"it was purged on {row.purged_at.date()}: have it sent again"
    if state is JobState.RUNNING:
        return "it is being analysed now"
    if state is JobState.QUEUED:
        return "its analysis waits already"
    return None


def _why_not_sent(row: Row[Any] | None, state: JobState | None, *, is_held: bool) -> str | None:
    if row is None:
        return "it is no result of this study"
    if row.standing is not Standing.VALID:
        return _STANDINGS[row.standing]
    if row.purged_at is not None:
        return f"it was purged on {row.purged_at.date()}"
    if is_held:
        return _STANDINGS[Standing.IN_DOUBT]
    if state is JobState.RUNNING:
        return "it is being sent now"
    if state is JobState.QUEUED:
        return "it waits to be sent already"
    return None


def _append(
    connection: Connection, act: AuditEntry, key: StudyKey, now: datetime, detail: str, **named: str
) -> None:
    subject = subject_of(study=key.study_instance_uid, source=key.source, **named)
    summarise(connection, [key])
    append(connection, replace(act, subject=subject, detail=detail), now)
