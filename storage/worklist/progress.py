"""The progress of the study of a workitem: what is missing, in work, parked and delivered."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, cast, func, or_, select

from storage.images.doubt import find_hold
from storage.records import JobKind, JobState, ObjectRecord, Standing, StudyKey
from storage.tables.conditions import of_study
from storage.tables.schema import deliveries, instances, jobs, objects, studies
from storage.worklist.records import DeliveredObject, StudyProgress, WorkitemInput

_WORKING = (JobState.QUEUED, JobState.RUNNING)
_OBJECT_COLUMNS = [objects.c[name] for name in ObjectRecord.__slots__]


def load_progress(
    connection: Connection,
    key: StudyKey,
    inputs: Sequence[WorkitemInput],
    destinations: Collection[str],
) -> StudyProgress:
    """Return the progress of a study towards the destinations that keep its results."""
    study = connection.execute(select(studies).where(of_study(studies, key))).one_or_none()
    work = _jobs(connection, key, destinations)
    return StudyProgress(
        missing=missing_inputs(connection, key, inputs),
        is_working=any(state in _WORKING for _, state, _ in work),
        hold=find_hold(connection, key),
        parked=tuple(
            f"{kind}: {error or ''}" for kind, state, error in work if state is JobState.PARKED
        ),
        status=study.status if study else None,
        detail=study.detail if study else "",
        delivered=_delivered(connection, key, destinations),
    )


def missing_inputs(
    connection: Connection, key: StudyKey, inputs: Sequence[WorkitemInput]
) -> tuple[WorkitemInput, ...]:
    """Return the inputs of which the source has sent no instance."""
    wanted = inputs or (WorkitemInput(key.study_instance_uid),)
    uids = {one.sop_instance_uid for one in wanted if one.sop_instance_uid}
    films = select(instances.c.sop_instance_uid).where(
        instances.c.source == key.source, instances.c.sop_instance_uid.in_(uids)
    )
    here = set(connection.scalars(films)) if uids else set()
    whole = {(one.study_instance_uid, one.series_instance_uid) for one in wanted}
    for study, series in whole:
        if _has_film(connection, key.source, study, series):
            here.add(f"{study}/{series}")
    return tuple(
        one
        for one in wanted
        if (one.sop_instance_uid or f"{one.study_instance_uid}/{one.series_instance_uid}")
        not in here
    )


def _has_film(connection: Connection, source: str, study: str, series: str) -> bool:
    condition = (instances.c.source == source) & (instances.c.study_instance_uid == study)
    if series:
        condition &= instances.c.series_instance_uid == series
    return connection.scalar(select(instances.c.id).where(condition).limit(1)) is not None


def _jobs(
    connection: Connection, key: StudyKey, destinations: Collection[str]
) -> Sequence[tuple[JobKind, JobState, str | None]]:
    """Return kind, state and error of the jobs on which the results of the study wait."""
    films = select(cast(instances.c.id, Text)).where(of_study(instances, key))
    sent = (
        select(deliveries.c.job_id)
        .join(objects, objects.c.sop_instance_uid == deliveries.c.sop_instance_uid)
        .where(*_of_results(key, destinations))
    )
    query = select(jobs.c.kind, jobs.c.state, jobs.c.last_error).where(
        jobs.c.state.in_((*_WORKING, JobState.PARKED)),
        or_(
            (jobs.c.kind == JobKind.ANALYSE) & jobs.c.subject.in_(films),
            (jobs.c.kind == JobKind.REPORT) & (jobs.c.subject == key.subject),
            jobs.c.id.in_(sent),
        ),
    )
    return [tuple(row) for row in connection.execute(query)]


def _of_results(key: StudyKey, destinations: Collection[str]) -> tuple[ColumnElement[bool], ...]:
    return (
        of_study(objects, key),
        objects.c.standing == Standing.VALID,
        deliveries.c.destination.in_(destinations),
    )


def _delivered(
    connection: Connection, key: StudyKey, destinations: Collection[str]
) -> tuple[DeliveredObject, ...]:
    kept = func.coalesce(deliveries.c.coerced_uid, deliveries.c.sop_instance_uid)
    sent_as = func.coalesce(deliveries.c.sop_class_uid, objects.c.sop_class_uid)
    query = (
        select(
            *_OBJECT_COLUMNS,
            kept.label("kept_uid"),
            sent_as.label("sent_as"),
            deliveries.c.destination,
        )
        .join(deliveries, deliveries.c.sop_instance_uid == objects.c.sop_instance_uid)
        .where(*_of_results(key, destinations), deliveries.c.delivered_at.is_not(None))
        .order_by(objects.c.id, deliveries.c.destination)
    )
    records: dict[tuple[str, str], ObjectRecord] = {}
    places: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in connection.execute(query).mappings():
        place = row["kept_uid"], row["sent_as"]
        cells: dict[str, Any] = {name: row[name] for name in ObjectRecord.__slots__}
        records[place] = ObjectRecord(**cells)
        places[place].append(row["destination"])
    return tuple(
        DeliveredObject(record, kept_uid, sop_class, tuple(places[kept_uid, sop_class]))
        for (kept_uid, sop_class), record in records.items()
    )
