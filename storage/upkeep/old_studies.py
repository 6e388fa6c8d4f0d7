"""Old studies, and the conditions that hold them back from a purge."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    Text,
    and_,
    cast,
    func,
    or_,
    select,
)

from storage.records import InstanceState, JobKind, JobState, ObjectKind, Standing, StudyKey
from storage.tables.schema import deliveries, instances, jobs, objects

CLOSED = (JobState.DONE, JobState.DISCARDED)

INACTIVE = (*CLOSED, JobState.PARKED)


_Text = str | ColumnElement[str]


class Hold(StrEnum):
    """Reason to keep an old study."""

    WORK_OPEN = "work is queued, running or parked"
    NOT_DELIVERED = "results were not delivered"
    NOT_COMMITTED = "results were not committed to"


@dataclass(frozen=True, slots=True)
class OldStudy:
    """A study without a reception, a delivery or a commitment since a given day.

    `number` is the number of its first kept image; `size` counts the bytes of images and objects;
    `hold` is None if the study may be purged.
    """

    number: int
    images: int
    objects: int
    size: int
    hold: Hold | None


def load_old_studies(
    connection: Connection, before: datetime, committers: Collection[str]
) -> tuple[OldStudy, ...]:
    """Return the studies older than `before`, oldest first."""
    rows = connection.execute(select_old_studies(before, committers)).all()
    return tuple(_old_study(connection, row) for row in rows)


def _old_study(connection: Connection, row: Row[Any]) -> OldStudy:
    made = connection.execute(
        select(func.count(), func.coalesce(func.sum(objects.c.size), 0)).where(
            _is_of(objects, row.source, row.study_instance_uid), objects.c.purged_at.is_(None)
        )
    ).one()
    return OldStudy(row.number, row.images, made[0], int(row.size + made[1]), hold_of(row))


def hold_of(row: Row[Any]) -> Hold | None:
    """Return the reason to keep the study of a row of `select_old_studies`."""
    if row.work_open:
        return Hold.WORK_OPEN
    if row.not_delivered:
        return Hold.NOT_DELIVERED
    return Hold.NOT_COMMITTED if row.not_committed else None


def select_old_studies(
    before: datetime, committers: Collection[str], study: StudyKey | None = None
) -> Select[tuple[Any, ...]]:
    """Return a query for all studies older than `before`, or for one, with the reasons to keep it.

    `committers` names the destinations that commit to the objects they receive.
    """
    received_at = func.coalesce(instances.c.received_again_at, instances.c.received_at)
    old = (
        select(
            instances.c.source,
            instances.c.study_instance_uid,
            func.min(instances.c.id).label("number"),
            func.count().label("images"),
            func.sum(instances.c.size).label("size"),
        )
        .where(instances.c.purged_at.is_(None))
        .group_by(instances.c.source, instances.c.study_instance_uid)
        .having(func.max(received_at) < before)
    )
    if study is not None:
        old = old.where(_is_of(instances, study.source, study.study_instance_uid))
    found = old.subquery()
    place = found.c.source, found.c.study_instance_uid
    return (
        select(
            found,
            work_is_open(*place, CLOSED).label("work_open"),
            _is_not_delivered(*place).label("not_delivered"),
            _is_not_committed(*place, committers).label("not_committed"),
        )
        .where(~_changed_since(*place, before))
        .order_by(found.c.number)
    )


def _is_of(table: Table, source: _Text, study: _Text) -> ColumnElement[bool]:
    return and_(table.c.source == source, table.c.study_instance_uid == study)


def work_is_open(
    source: ColumnElement[str], study: ColumnElement[str], closed: Collection[JobState]
) -> ColumnElement[bool]:
    """Return the condition that a job of the study is in a state other than `closed`."""
    # With NOT IN the database reads the jobs of the study, not an index of states per study.
    is_open = jobs.c.state.not_in(closed)
    reports = select(jobs.c.id).where(
        is_open, jobs.c.kind == JobKind.REPORT, jobs.c.subject == study + "@" + source
    )
    analyses = (
        select(jobs.c.id)
        .select_from(jobs)
        .join(instances, jobs.c.subject == cast(instances.c.id, Text))
        .where(is_open, jobs.c.kind == JobKind.ANALYSE, _is_of(instances, source, study))
    )
    sent = (
        select(jobs.c.id)
        .select_from(jobs)
        .join(deliveries, deliveries.c.job_id == jobs.c.id)
        .join(objects, objects.c.sop_instance_uid == deliveries.c.sop_instance_uid)
        .where(is_open, _is_of(objects, source, study))
    )
    commitments = (
        select(jobs.c.id)
        .select_from(jobs)
        .join(deliveries, jobs.c.subject == study + "@" + deliveries.c.destination)
        .join(objects, objects.c.sop_instance_uid == deliveries.c.sop_instance_uid)
        .where(is_open, jobs.c.kind == JobKind.COMMIT, _is_of(objects, source, study))
    )
    return or_(*(query.exists() for query in (reports, analyses, sent, commitments)))


def _is_not_delivered(source: ColumnElement[str], study: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that a result of the study is not delivered to all its destinations.

    If any object of a kind has a delivery, every image's object of that kind must have a delivery,
    in one of its forms; an object without one waits for the next report. Objects of an earlier
    model do not wait.

    A discarded delivery or analysis does not hold the study.
    """
    of_study = _is_of(objects, source, study)
    # A result that is superseded or rejected may never have left.
    is_over = objects.c.standing.in_((Standing.SUPERSEDED, Standing.REJECTED))
    of_worth = and_(of_study, ~is_over)
    made = select(objects.c.id).where(of_worth, objects.c.purged_at.is_(None)).exists()
    requested = select(deliveries.c.job_id).join(objects).where(of_study)
    missing = requested.join(jobs).where(
        deliveries.c.delivered_at.is_(None), jobs.c.state != JobState.DISCARDED
    )
    given_up = select(jobs.c.id).where(
        jobs.c.kind == JobKind.ANALYSE,
        jobs.c.subject == cast(instances.c.id, Text),
        jobs.c.state == JobState.DISCARDED,
    )
    unanalysed = select(instances.c.id).where(
        _is_of(instances, source, study),
        instances.c.state == InstanceState.RECEIVED,
        ~given_up.exists(),
    )
    sent = objects.alias()
    # A destination gets one form of an object. The forms of a report have neither image nor label.
    own = (
        select(deliveries.c.job_id)
        .join(sent, sent.c.sop_instance_uid == deliveries.c.sop_instance_uid)
        .where(
            sent.c.source == objects.c.source,
            sent.c.study_instance_uid == objects.c.study_instance_uid,
            sent.c.kind == objects.c.kind,
            sent.c.instance_id.is_not_distinct_from(objects.c.instance_id),
            sent.c.label.is_not_distinct_from(objects.c.label),
            sent.c.standing.not_in((Standing.SUPERSEDED, Standing.REJECTED)),
        )
    )
    kinds = (
        select(sent.c.kind)
        .join(deliveries, deliveries.c.sop_instance_uid == sent.c.sop_instance_uid)
        .where(
            sent.c.source == objects.c.source,
            sent.c.study_instance_uid == objects.c.study_instance_uid,
        )
    )
    unreported = select(objects.c.id).where(
        of_worth,
        objects.c.purged_at.is_(None),
        or_(objects.c.kind == ObjectKind.REPORT, objects.c.instance_id.is_not(None)),
        objects.c.kind.in_(kinds),
        ~own.exists(),
    )
    return or_(
        and_(made, ~requested.exists()),
        unreported.exists(),
        missing.exists(),
        unanalysed.exists(),
    )


def _is_not_committed(
    source: ColumnElement[str], study: ColumnElement[str], committers: Collection[str]
) -> ColumnElement[bool]:
    """Return the condition that a committer has not committed, and its job is not discarded."""
    given_up = select(jobs.c.id).where(
        jobs.c.kind == JobKind.COMMIT,
        jobs.c.subject == objects.c.study_instance_uid + "@" + deliveries.c.destination,
        jobs.c.state == JobState.DISCARDED,
    )
    return (
        select(deliveries.c.job_id)
        .join(objects)
        .where(
            _is_of(objects, source, study),
            deliveries.c.destination.in_(committers),
            deliveries.c.delivered_at.is_not(None),
            deliveries.c.committed_at.is_(None),
            ~given_up.exists(),
        )
        .exists()
    )


def _changed_since(
    source: ColumnElement[str], study: ColumnElement[str], before: datetime
) -> ColumnElement[bool]:
    """Return the condition that an object was delivered or committed to at or after `before`."""
    return (
        select(deliveries.c.job_id)
        .join(objects)
        .where(
            _is_of(objects, source, study),
            or_(deliveries.c.delivered_at >= before, deliveries.c.committed_at >= before),
        )
        .exists()
    )
