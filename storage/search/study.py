"""One study: its films, results, deliveries and jobs, each read by an index."""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection, or_, select

from storage.images.doubt import find_hold
from storage.images.lookup import load_instances
from storage.records import Instance, Job, JobKind, ObjectKind, ObjectRecord, StudyKey
from storage.reviews import load_reviews
from storage.search.studies import load_row
from storage.search.study_records import MadeObject, StudyDelivery, StudyFilm, StudyView
from storage.search.timeline import load_timeline
from storage.tables.conditions import of_study
from storage.tables.schema import deliveries, instances, jobs, objects, studies
from storage.worklist.workitems import load_of_study

_OBJECT_FIELDS = tuple(ObjectRecord.__slots__)


def load_view(connection: Connection, key: StudyKey) -> StudyView | None:
    """Return the view of a study; see `Search.study`."""
    row = load_row(connection, key)
    if row is None:
        return None
    revisions = load_instances(connection, of_study(instances, key))
    made = _load_objects(connection, key)
    sent = _load_deliveries(connection, key)
    work = _load_jobs(connection, key, revisions, sent)
    reviews = load_reviews(connection, of_study(instances, key))
    study = connection.execute(select(studies).where(of_study(studies, key))).one_or_none()
    return StudyView(
        key=key,
        row=row,
        films=_films(revisions, _load_latest(connection, key, revisions), key),
        reports=tuple(one for one in made if one.record.kind is ObjectKind.REPORT),
        objects=made,
        deliveries=sent,
        jobs=work,
        reviews=reviews,
        hold=find_hold(connection, key),
        status=study.status if study else None,
        status_detail=study.detail if study else "",
        status_at=study.updated_at if study else None,
        timeline=load_timeline(connection, key, revisions, made, sent, work, reviews),
    )


def _films(
    revisions: Sequence[Instance], latest: Mapping[str, tuple[int, str]], key: StudyKey
) -> tuple[StudyFilm, ...]:
    numbers = {
        uid: number
        for number, uid in enumerate(dict.fromkeys(one.sop_instance_uid for one in revisions), 1)
    }
    films = []
    for one in revisions:
        last, study = latest[one.sop_instance_uid]
        is_here = study == key.study_instance_uid
        films.append(
            StudyFilm(
                number=numbers[one.sop_instance_uid],
                instance=one,
                is_latest=last == one.id,
                moved_to=None if is_here else StudyKey(key.source, study),
            )
        )
    return tuple(films)


def _load_latest(
    connection: Connection, key: StudyKey, revisions: Sequence[Instance]
) -> dict[str, tuple[int, str]]:
    """Return the number and the study of the latest revision of each film, wherever it is."""
    query = (
        select(instances.c.id, instances.c.sop_instance_uid, instances.c.study_instance_uid)
        .where(
            instances.c.source == key.source,
            instances.c.sop_instance_uid.in_({one.sop_instance_uid for one in revisions}),
        )
        .order_by(instances.c.revision)
    )
    return {uid: (number, study) for number, uid, study in connection.execute(query)}


def _load_objects(connection: Connection, key: StudyKey) -> tuple[MadeObject, ...]:
    query = select(objects).where(of_study(objects, key)).order_by(objects.c.id)
    return tuple(
        MadeObject(ObjectRecord(**{name: row[name] for name in _OBJECT_FIELDS}), row["created_at"])
        for row in connection.execute(query).mappings()
    )


def _load_deliveries(connection: Connection, key: StudyKey) -> tuple[StudyDelivery, ...]:
    query = (
        select(
            deliveries.c.sop_instance_uid,
            objects.c.kind,
            deliveries.c.destination,
            jobs.c.state,
            jobs.c.attempts,
            jobs.c.not_before,
            deliveries.c.delivered_at,
            deliveries.c.dimse_status,
            deliveries.c.answer,
            deliveries.c.sop_class_uid,
            objects.c.sop_class_uid.label("made_as"),
            deliveries.c.coerced_uid,
            deliveries.c.committed_at,
            deliveries.c.held_at,
            jobs.c.last_error,
            jobs.c.id,
        )
        .join(objects, objects.c.sop_instance_uid == deliveries.c.sop_instance_uid)
        .join(jobs, jobs.c.id == deliveries.c.job_id)
        .where(of_study(objects, key))
        .order_by(deliveries.c.destination, objects.c.id)
    )
    return tuple(
        StudyDelivery(
            sop_instance_uid=row.sop_instance_uid,
            kind=row.kind,
            destination=row.destination,
            state=row.state,
            attempts=row.attempts,
            not_before=row.not_before,
            delivered_at=row.delivered_at,
            dimse_status=row.dimse_status,
            sent_as=row.sop_class_uid if row.sop_class_uid not in (None, row.made_as) else "",
            coerced_uid=row.coerced_uid or "",
            committed_at=row.committed_at,
            held_at=row.held_at,
            last_error=row.last_error or "",
            job_id=row.id,
            answer=row.answer or "",
        )
        for row in connection.execute(query)
    )


def _load_jobs(
    connection: Connection,
    key: StudyKey,
    revisions: Sequence[Instance],
    sent: Collection[StudyDelivery],
) -> tuple[Job, ...]:
    destinations = {delivery.destination for delivery in sent}
    subjects = {
        JobKind.ANALYSE: [str(one.id) for one in revisions],
        JobKind.REPORT: [key.subject],
        JobKind.COMMIT: [f"{key.study_instance_uid}@{name}" for name in destinations],
        JobKind.PERFORM: [item.subject for item in load_of_study(connection, key)],
    }
    named = or_(
        *(
            (jobs.c.kind == kind) & jobs.c.subject.in_(of_kind)
            for kind, of_kind in subjects.items()
            if of_kind
        ),
        jobs.c.id.in_([delivery.job_id for delivery in sent]),
    )
    query = select(jobs).where(named).order_by(jobs.c.id)
    return tuple(Job(**row) for row in connection.execute(query).mappings())
