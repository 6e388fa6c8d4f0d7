"""Holds: nothing of a study in doubt leaves, and what left is marked.

Statements for use inside a transaction that has locked the study.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, select, update

from storage.audit.records import AuditEntry, AuditKind, AuditOutcome, subject_of
from storage.images.doubt import counts, films_of_another_patient, find_doubt, is_rejected
from storage.patients.films import is_made_for_another
from storage.queue.transitions import reopen
from storage.records import (
    InstanceState,
    JobKind,
    JobState,
    ObjectKind,
    Standing,
    StudyHold,
    StudyKey,
    StudyStatus,
)
from storage.tables.conditions import has_later_revision, of_study
from storage.tables.database import insert, parameter
from storage.tables.schema import deliveries, instances, jobs, objects, studies

SENT_AGAIN = "a film was sent again under another patient, and a new report decides"
"""Why a delivery waits for the next report of its study."""
WITHDRAWN = "the result does not count any more: its film or its study has changed"
"""Why a delivery was discarded without an operator. It is queued again if the result counts."""


def review(
    connection: Connection, key: StudyKey, entries: list[AuditEntry], now: datetime
) -> StudyHold | None:
    """Hold the study if it is in doubt now; return why, or None.

    What is to be audited is added to `entries`, which the caller appends as its last statement.
    A study that is in doubt no more stays held until its next report, which is due.
    """
    ended = (JobState.DONE, JobState.PARKED, JobState.DISCARDED)
    hold, of_another_patient = find_doubt(connection, key)
    if hold is not None:
        hold_study(connection, key, hold, entries, now)
    elif of_another_patient:
        _stop_deliveries(connection, key, SENT_AGAIN, now)
        reopen(connection, JobKind.REPORT, key.subject, now=now, ended=ended)
    return hold


def hold_study(
    connection: Connection,
    key: StudyKey,
    hold: StudyHold,
    entries: list[AuditEntry],
    now: datetime,
) -> None:
    """Park the deliveries of a study, mark its results, and add that it is held to `entries`."""
    stopped = _stop_deliveries(connection, key, str(hold), now)
    known = connection.execute(
        select(studies.c.status, studies.c.detail).where(of_study(studies, key))
    ).one_or_none()
    if known is not None and known == (StudyStatus.HELD, str(hold)):
        return
    row = {
        "source": key.source,
        "study_instance_uid": key.study_instance_uid,
        "status": StudyStatus.HELD,
        "detail": str(hold),
        "updated_at": now,
    }
    connection.execute(
        insert(connection, studies)
        .values(row)
        .on_conflict_do_update(index_elements=["source", "study_instance_uid"], set_=row)
    )
    # A report that waits, is done or was held before must say so, too.
    ended = (JobState.DONE, JobState.PARKED)
    reopen(connection, JobKind.REPORT, key.subject, now=now, ended=ended)
    entry = AuditEntry(
        AuditKind.STUDY_HELD,
        AuditOutcome.FAILURE,
        subject=subject_of(study=key.study_instance_uid, source=key.source),
        detail=f"{hold.reason}, {stopped} delivery(ies) parked",
    )
    entries.append(entry)


def reject_results(
    connection: Connection, key: StudyKey, code: str, entries: list[AuditEntry], now: datetime
) -> None:
    """Mark the results of rejected films, stop the study's deliveries, and make its report due.

    The next report decides which of the other results leave.
    """
    _stop_deliveries(connection, key, f"a film of the study was rejected ({code})", now)
    _set_standing(connection, key, Standing.REJECTED, _of_rejected_film(key))
    review(connection, key, entries, now)
    # A running report may have read the study before this change.
    ended = (JobState.RUNNING, JobState.DONE, JobState.PARKED, JobState.DISCARDED)
    reopen(connection, JobKind.REPORT, key.subject, now=now, ended=ended)


def follow_patient(
    connection: Connection, key: StudyKey, reason: str, entries: list[AuditEntry], now: datetime
) -> None:
    """Make the report of a study due whose patient has changed, and stop what names the old one.

    The results of a study without a film to report stay as they are: a new object needs the
    file of the film.
    """
    named = {"source": key.source, "study": key.study_instance_uid}
    is_reported_again = connection.scalar(_IS_REPORTED_AGAIN, named)
    if is_reported_again:
        _stop_deliveries(connection, key, reason, now)
    review(connection, key, entries, now)
    if is_reported_again:
        # A running report may have read the study before this change.
        ended = (JobState.RUNNING, JobState.DONE, JobState.PARKED, JobState.DISCARDED)
        reopen(connection, JobKind.REPORT, key.subject, now=now, ended=ended)


def _of_rejected_film(key: StudyKey) -> ColumnElement[bool]:
    return objects.c.instance_id.in_(
        select(instances.c.id).where(of_study(instances, key), is_rejected())
    )


def _stop_deliveries(connection: Connection, key: StudyKey, reason: str, now: datetime) -> int:
    """Park the queued deliveries of a study; return their number.

    A delivery that runs now ends as it may, and is not tried again. All results are in doubt.
    """
    connection.execute(
        update(deliveries)
        .where(deliveries.c.sop_instance_uid.in_(_objects(key)), deliveries.c.held_at.is_(None))
        .values(held_at=now)
    )
    parked = connection.execute(
        update(jobs)
        .where(jobs.c.id.in_(_jobs(key)), jobs.c.state == JobState.QUEUED)
        .values(state=JobState.PARKED, last_error=reason, updated_at=now)
    )
    _set_standing(connection, key, Standing.IN_DOUBT, objects.c.standing == Standing.VALID)
    return parked.rowcount


def settle_standing(
    connection: Connection,
    key: StudyKey,
    status: StudyStatus,
    current: tuple[str, ...],
    now: datetime,
) -> None:
    """Set the standing of each result after a REPORT job, and end a hold of the study.

    `current` names the report that says what the study holds now, in each of its forms. It and the
    objects of the films that count are valid, and leave. Other results are superseded, and leave no
    more if they were held. The results of a rejected film are rejected, and so is the last report
    if no film is left.
    """
    is_report = objects.c.kind == ObjectKind.REPORT
    not_rejected = objects.c.standing != Standing.REJECTED
    if current:
        is_current = objects.c.sop_instance_uid.in_(current)
        replaced = and_(is_report, ~is_current, not_rejected)
        # Nothing of them has left, and nothing will: later reports do not ask again.
        connection.execute(
            update(instances)
            .where(instances.c.id.in_(films_of_another_patient(connection, key)))
            .values(set_aside_at=now)
        )
        _set_standing(connection, key, Standing.SUPERSEDED, replaced)
        _set_standing(connection, key, Standing.VALID, and_(is_current, not_rejected))
    elif status is StudyStatus.NO_ELIGIBLE_IMAGE:
        doubtful = and_(is_report, objects.c.standing == Standing.IN_DOUBT)
        rejected = connection.scalar(
            select(instances.c.id).where(of_study(instances, key), is_rejected()).limit(1)
        )
        becomes = Standing.SUPERSEDED if rejected is None else Standing.REJECTED
        _set_standing(connection, key, becomes, doubtful)
    _set_standing(connection, key, Standing.REJECTED, _of_rejected_film(key))
    of_film = and_(~is_report, not_rejected)
    film_counts = objects.c.instance_id.in_(
        select(instances.c.id).where(
            of_study(instances, key), counts(), ~has_later_revision(), ~is_made_for_another()
        )
    )
    _set_standing(connection, key, Standing.VALID, and_(of_film, film_counts))
    # An object of an earlier analysis has no instance.
    without = objects.c.instance_id.is_(None) | ~film_counts
    _set_standing(connection, key, Standing.SUPERSEDED, and_(of_film, without))
    _resume_deliveries(connection, key, now)


def _resume_deliveries(connection: Connection, key: StudyKey, now: datetime) -> None:
    """Queue the held deliveries of valid results; discard those of other results."""
    is_valid = objects.c.standing == Standing.VALID
    is_over = objects.c.standing.in_((Standing.SUPERSEDED, Standing.REJECTED))
    was_withdrawn = and_(jobs.c.state == JobState.DISCARDED, jobs.c.last_error == WITHDRAWN)
    waits = jobs.c.state.in_((JobState.QUEUED, JobState.PARKED))
    for standing, was, values in (
        (
            is_valid,
            (jobs.c.state == JobState.PARKED) | was_withdrawn,
            {"state": JobState.QUEUED, "attempts": 0, "not_before": now, "updated_at": now},
        ),
        (
            is_over,
            waits,
            {"state": JobState.DISCARDED, "last_error": WITHDRAWN, "updated_at": now},
        ),
    ):
        held = _jobs(key).where(deliveries.c.held_at.is_not(None), standing)
        connection.execute(update(jobs).where(jobs.c.id.in_(held), was).values(values))
    valid = _objects(key, objects.c.standing == Standing.VALID)
    connection.execute(
        update(deliveries)
        .where(deliveries.c.sop_instance_uid.in_(valid), deliveries.c.held_at.is_not(None))
        .values(held_at=None)
    )


def _set_standing(
    connection: Connection, key: StudyKey, standing: Standing, condition: ColumnElement[bool]
) -> None:
    connection.execute(
        update(objects)
        .where(of_study(objects, key), objects.c.standing != standing, condition)
        .values(standing=standing)
    )


def _objects(key: StudyKey, *conditions: ColumnElement[bool]) -> Select[tuple[Any]]:
    return select(objects.c.sop_instance_uid).where(of_study(objects, key), *conditions)


def _jobs(key: StudyKey) -> Select[tuple[Any]]:
    return (
        select(deliveries.c.job_id)
        .join(objects, objects.c.sop_instance_uid == deliveries.c.sop_instance_uid)
        .where(of_study(objects, key))
    )


_FILM_TO_REPORT = select(instances.c.id).where(
    instances.c.source == parameter(instances.c.source, "source"),
    instances.c.study_instance_uid == parameter(instances.c.study_instance_uid, "study"),
    counts(),
    ~has_later_revision(),
    instances.c.state == InstanceState.ANALYSED,
    instances.c.purged_at.is_(None),
)
_HELD = select(studies.c.status).where(
    studies.c.source == parameter(studies.c.source, "source"),
    studies.c.study_instance_uid == parameter(studies.c.study_instance_uid, "study"),
    studies.c.status == StudyStatus.HELD,
)
_IS_REPORTED_AGAIN = select(_FILM_TO_REPORT.exists() | _HELD.exists())
