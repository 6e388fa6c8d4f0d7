"""Which studies may be purged: conditions and queries for use inside a wider transaction."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, Text, and_, cast, func, or_, select

from storage.records import InstanceState, JobKind, JobState, ObjectKind
from storage.tables.schema import deliveries, instances, jobs, objects

CLOSED = (JobState.DONE, JobState.DISCARDED)

AT_REST = (*CLOSED, JobState.PARKED)


def to_remove(table: Table) -> ColumnElement[bool]:
    return and_(table.c.purged_at.is_not(None), table.c.spool_path != "")


def marked_studies() -> Select[tuple[str]]:
    """Those whose rows are a mere record but still name files."""
    of_images, of_objects = (
        select(table.c.study_instance_uid).where(to_remove(table)) for table in (instances, objects)
    )
    found = of_images.union(of_objects).subquery()
    return select(found.c.study_instance_uid)


def old_studies(
    before: datetime, committers: Collection[str], study: str | None = None
) -> Select[tuple[Any, ...]]:
    """The studies older than `before`, or that one if it is, and what still holds each."""
    received_at = func.coalesce(instances.c.received_again_at, instances.c.received_at)
    old = (
        select(
            instances.c.study_instance_uid,
            func.min(instances.c.id).label("number"),
            func.count().label("images"),
            func.sum(instances.c.size).label("size"),
        )
        .where(instances.c.purged_at.is_(None))
        .group_by(instances.c.study_instance_uid)
        .having(func.max(received_at) < before)
    )
    if study is not None:
        old = old.where(instances.c.study_instance_uid == study)
    found = old.subquery()
    uid = found.c.study_instance_uid
    return (
        select(
            found,
            work_is_open(uid, CLOSED).label("work_open"),
            _is_not_delivered(uid).label("not_delivered"),
            _is_not_committed(uid, committers).label("not_committed"),
        )
        .where(~_has_moved_since(uid, before))
        .order_by(found.c.number)
    )


def work_is_open(study: ColumnElement[str], closed: Collection[JobState]) -> ColumnElement[bool]:
    """Whether any job of the study is in another state than these."""
    # Said by what it is not, so that no index of states is read for each study in turn.
    is_open = jobs.c.state.not_in(closed)
    reports = select(jobs.c.id).where(
        is_open, jobs.c.kind == JobKind.REPORT, jobs.c.subject == study
    )
    analyses = (
        select(jobs.c.id)
        .select_from(jobs)
        .join(instances, jobs.c.subject == cast(instances.c.id, Text))
        .where(is_open, jobs.c.kind == JobKind.ANALYSE, instances.c.study_instance_uid == study)
    )
    sent = (
        select(jobs.c.id)
        .select_from(jobs)
        .join(deliveries, deliveries.c.job_id == jobs.c.id)
        .join(objects, objects.c.sop_instance_uid == deliveries.c.sop_instance_uid)
        .where(is_open, objects.c.study_instance_uid == study)
    )
    commitments = (
        select(jobs.c.id)
        .select_from(jobs)
        .join(deliveries, jobs.c.subject == study + "@" + deliveries.c.destination)
        .join(objects, objects.c.sop_instance_uid == deliveries.c.sop_instance_uid)
        .where(is_open, jobs.c.kind == JobKind.COMMIT, objects.c.study_instance_uid == study)
    )
    return or_(*(one.exists() for one in (reports, analyses, sent, commitments)))


def _is_not_delivered(study: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether results are kept here that reached nobody, or not all whom they were meant for.

    A kind of object that is sent at all is sent of every image, once the study is reported: one of
    it without a delivery waits for that. Those of an earlier model do not.

    A delivery that a person discarded is not waited for, nor an analysis.
    """
    of_study = objects.c.study_instance_uid == study
    made = select(objects.c.id).where(of_study, objects.c.purged_at.is_(None)).exists()
    asked_for = select(deliveries.c.job_id).join(objects).where(of_study)
    missing = asked_for.join(jobs).where(
        deliveries.c.delivered_at.is_(None), jobs.c.state != JobState.DISCARDED
    )
    given_up = select(jobs.c.id).where(
        jobs.c.kind == JobKind.ANALYSE,
        jobs.c.subject == cast(instances.c.id, Text),
        jobs.c.state == JobState.DISCARDED,
    )
    not_looked_at = select(instances.c.id).where(
        instances.c.study_instance_uid == study,
        instances.c.state == InstanceState.RECEIVED,
        ~given_up.exists(),
    )
    own = select(deliveries.c.job_id).where(
        deliveries.c.sop_instance_uid == objects.c.sop_instance_uid
    )
    sent = objects.alias()
    kinds = (
        select(sent.c.kind)
        .join(deliveries, deliveries.c.sop_instance_uid == sent.c.sop_instance_uid)
        .where(sent.c.study_instance_uid == objects.c.study_instance_uid)
    )
    unreported = select(objects.c.id).where(
        of_study,
        objects.c.purged_at.is_(None),
        or_(objects.c.kind == ObjectKind.REPORT, objects.c.instance_id.is_not(None)),
        objects.c.kind.in_(kinds),
        ~own.exists(),
    )
    return or_(
        and_(made, ~asked_for.exists()),
        unreported.exists(),
        missing.exists(),
        not_looked_at.exists(),
    )


def _is_not_committed(
    study: ColumnElement[str], committers: Collection[str]
) -> ColumnElement[bool]:
    """Whether a destination that commits has not done so. A person may discard that job, too."""
    given_up = select(jobs.c.id).where(
        jobs.c.kind == JobKind.COMMIT,
        jobs.c.subject == objects.c.study_instance_uid + "@" + deliveries.c.destination,
        jobs.c.state == JobState.DISCARDED,
    )
    return (
        select(deliveries.c.job_id)
        .join(objects)
        .where(
            objects.c.study_instance_uid == study,
            deliveries.c.destination.in_(committers),
            deliveries.c.delivered_at.is_not(None),
            deliveries.c.committed_at.is_(None),
            ~given_up.exists(),
        )
        .exists()
    )


def _has_moved_since(study: ColumnElement[str], before: datetime) -> ColumnElement[bool]:
    return (
        select(deliveries.c.job_id)
        .join(objects)
        .where(
            objects.c.study_instance_uid == study,
            or_(deliveries.c.delivered_at >= before, deliveries.c.committed_at >= before),
        )
        .exists()
    )
