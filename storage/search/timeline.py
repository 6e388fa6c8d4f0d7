"""The history of a study, from the association to the commitment.

Most events are told by the rows of the study. The acts of operators, holds and parked jobs are told
by the audit trail, and so are the addresses of the senders.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, and_, select

from storage.audit.records import AuditKind, AuditRow, parse_subject, subject_of
from storage.audit.trail import timestamp
from storage.records import (
    Instance,
    InstanceState,
    Job,
    JobKind,
    ObjectKind,
    StudyKey,
    StudyStatus,
)
from storage.reviews import FILM, Review
from storage.search.study_records import (
    MadeObject,
    StudyDelivery,
    TimelineEvent,
    TimelineKind,
)
from storage.tables.conditions import of_study
from storage.tables.exchange.patients import study_changes
from storage.tables.schema import ACTS, audit_events, commitment_requests, rejections, studies
from storage.worklist.records import WorkitemState
from storage.worklist.workitems import load_of_study

_TOLD = (StudyStatus.HELD,)
"""The statuses that the audit trail tells, with those who act on them."""

_ASSOCIATION_SPAN = timedelta(minutes=10)
"""Longest time from the row of an association to the first film of it."""
_FIRST_FILMS = 50
"""Films of a study whose sender's address is looked up."""

_ACTS = {
    AuditKind.STUDY_HELD: TimelineKind.HELD,
    AuditKind.STUDY_RELEASED: TimelineKind.RELEASED,
    AuditKind.JOB_PARKED: TimelineKind.PARKED,
    AuditKind.JOB_RETRIED: TimelineKind.RETRIED,
    AuditKind.JOB_DISCARDED: TimelineKind.DISCARDED,
    AuditKind.ANALYSIS_REQUESTED: TimelineKind.ANALYSIS_REQUESTED,
    AuditKind.DELIVERY_REQUESTED: TimelineKind.DELIVERY_REQUESTED,
}


def load_timeline(
    connection: Connection,
    key: StudyKey,
    films: Sequence[Instance],
    made: Sequence[MadeObject],
    sent: Sequence[StudyDelivery],
    work: Sequence[Job],
    reviews: Sequence[Review],
) -> tuple[TimelineEvent, ...]:
    """Return the events of a study, oldest first; equal events in a row are one."""
    hosts = _load_hosts(connection, films)
    events = [
        *_associations(connection, films, hosts),
        *_of_films(films, hosts),
        *_of_results(connection, key, made),
        *_of_deliveries(sent),
        *_of_commitments(connection, key),
        *_of_rejections(connection, key, films),
        *_of_patient(connection, key),
        *_of_workitems(connection, key),
        *_of_acts(connection, key, films, sent, work),
        *(_of_review(review) for review in reviews),
    ]
    return tuple(_merged(sorted(events, key=lambda event: event.at)))


def _merged(events: Iterable[TimelineEvent]) -> Iterator[TimelineEvent]:
    """Count events in a row that differ in their time alone as one."""
    last: TimelineEvent | None = None
    for event in events:
        if last is not None and replace(event, at=last.at, count=last.count) == last:
            last = replace(last, count=last.count + 1)
            continue
        if last is not None:
            yield last
        last = event
    if last is not None:
        yield last


def _of_films(films: Sequence[Instance], hosts: dict[int, str]) -> Iterator[TimelineEvent]:
    for film in films:
        uid, title = film.sop_instance_uid, film.calling_ae_title
        revision = f"revision {film.revision}" if film.revision > 1 else ""
        host = hosts.get(film.id, "")
        yield TimelineEvent(film.received_at, TimelineKind.RECEIVED, uid, revision, title, host)
        if film.received_again_at is not None:
            again = TimelineKind.RECEIVED_AGAIN
            yield TimelineEvent(film.received_again_at, again, uid, revision, title)
        if film.analysed_at is not None:
            is_analysed = film.state is InstanceState.ANALYSED
            model = f"{film.model_name} {film.model_version}"
            yield TimelineEvent(
                film.analysed_at,
                TimelineKind.ANALYSED if is_analysed else TimelineKind.NOT_ANALYSED,
                uid,
                model if is_analysed else film.reason or "",
            )
        if film.set_aside_at is not None:
            yield TimelineEvent(film.set_aside_at, TimelineKind.SET_ASIDE, uid, "")
        if film.purged_at is not None:
            yield TimelineEvent(film.purged_at, TimelineKind.PURGED, uid, "")


def _of_results(
    connection: Connection, key: StudyKey, made: Sequence[MadeObject]
) -> Iterator[TimelineEvent]:
    reported = TimelineKind.REPORTED
    at = set()
    for one in made:
        if one.record.kind is ObjectKind.REPORT:
            at.add(one.created_at)
            yield TimelineEvent(one.created_at, reported, one.record.sop_instance_uid, "report")
    study = connection.execute(select(studies).where(of_study(studies, key))).one_or_none()
    if study is not None and study.updated_at not in at and study.status not in _TOLD:
        detail = study.detail or study.status.value
        yield TimelineEvent(study.updated_at, reported, "", detail)


def _of_deliveries(sent: Sequence[StudyDelivery]) -> Iterator[TimelineEvent]:
    for delivery in sent:
        name, kind = delivery.destination, delivery.kind.value
        if delivery.delivered_at is not None:
            status = delivery.dimse_status
            answer = "" if status is None else f", status 0x{status:04X}"
            yield TimelineEvent(
                delivery.delivered_at, TimelineKind.DELIVERED, name, f"{kind}{answer}"
            )
        if delivery.committed_at is not None:
            yield TimelineEvent(delivery.committed_at, TimelineKind.COMMITTED, name, kind)


def _of_commitments(connection: Connection, key: StudyKey) -> Iterator[TimelineEvent]:
    query = select(
        commitment_requests.c.requested_at,
        commitment_requests.c.destination,
        commitment_requests.c.closed_at,
        commitment_requests.c.answered_at,
    ).where(commitment_requests.c.study_instance_uid == key.study_instance_uid)
    for row in connection.execute(query):
        is_late = row.closed_at is not None and row.answered_at is None
        detail = "no answer in time" if is_late else ""
        requested = TimelineKind.COMMITMENT_REQUESTED
        yield TimelineEvent(row.requested_at, requested, row.destination, detail)


def _of_rejections(
    connection: Connection, key: StudyKey, films: Sequence[Instance]
) -> Iterator[TimelineEvent]:
    query = select(
        rejections.c.received_at, rejections.c.sop_instance_uid, rejections.c.code
    ).where(
        rejections.c.source == key.source,
        rejections.c.sop_instance_uid.in_(
            {film.sop_instance_uid for film in films if film.rejected_by is not None}
        ),
    )
    for at, uid, code in connection.execute(query):
        yield TimelineEvent(at, TimelineKind.REJECTED, uid, f"code {code}")


def _of_patient(connection: Connection, key: StudyKey) -> Iterator[TimelineEvent]:
    """Yield the messages that changed the patient of the study."""
    query = select(study_changes).where(of_study(study_changes, key)).order_by(study_changes.c.id)
    for row in connection.execute(query):
        changed = TimelineKind.PATIENT_CHANGED
        detail = f"{row.detail} by message {row.event}"
        yield TimelineEvent(row.changed_at, changed, "", detail, row.sender, row.host)


def _of_workitems(connection: Connection, key: StudyKey) -> Iterator[TimelineEvent]:
    for item in load_of_study(connection, key):
        name = item.manager
        yield TimelineEvent(item.found_at, TimelineKind.WORKITEM_FOUND, "", "", name)
        if item.claimed_at is not None:
            yield TimelineEvent(item.claimed_at, TimelineKind.WORKITEM_CLAIMED, "", "", name)
        if item.cancel_requested_at is not None:
            asked = TimelineKind.WORKITEM_CANCEL_REQUESTED
            yield TimelineEvent(item.cancel_requested_at, asked, "", "", name)
        if item.ended_at is not None:
            is_completed = item.state is WorkitemState.COMPLETED
            detail = f"{len(item.outputs)} object(s)" if is_completed else item.reason
            ended = TimelineKind.WORKITEM_ENDED
            yield TimelineEvent(item.ended_at, ended, item.state.value, detail, name)


def _of_review(review: Review) -> TimelineEvent:
    what = review.label if review.label != FILM else "film"
    said = review.verdict.value if review.verdict else "remark"
    return TimelineEvent(
        review.reviewed_at,
        TimelineKind.REVIEWED,
        review.sop_instance_uid,
        f"{what}: {said}",
        review.reviewer,
    )


def _of_acts(
    connection: Connection,
    key: StudyKey,
    films: Sequence[Instance],
    sent: Sequence[StudyDelivery],
    work: Sequence[Job],
) -> Iterator[TimelineEvent]:
    """Yield holds, parked jobs and the acts of operators, found by their whole subjects."""
    named = {job_subject(job, key): f"{job.kind} {job.id}" for job in work}
    place = {"study": key.study_instance_uid, "source": key.source}
    named[subject_of(**place)] = ""
    for delivery in sent:
        subject = subject_of(**place, destination=delivery.destination)
        named[subject] = delivery.destination
    for film in films:
        named[subject_of(**place, instance=film.sop_instance_uid)] = film.sop_instance_uid
    query = select(audit_events).where(ACTS, audit_events.c.subject.in_(named))
    for row in connection.execute(query.order_by(audit_events.c.number)):
        event = AuditRow(*row)
        yield TimelineEvent(
            datetime.fromisoformat(event.recorded_at),
            _ACTS[AuditKind(event.kind)],
            named[event.subject],
            event.detail,
            event.actor,
            event.host,
        )


def job_subject(job: Job, key: StudyKey) -> str:
    """Return the subject of a job of a study in the audit trail."""
    uid = job.subject.partition("@")[0]
    match job.kind:
        case JobKind.DELIVER:
            place = {"study": key.study_instance_uid, "source": key.source}
            return subject_of(job=job.id, **place, object=uid)
        case JobKind.REPORT:
            return subject_of(job=job.id, study=key.study_instance_uid, source=key.source)
        case JobKind.COMMIT | JobKind.RETRIEVE:
            return subject_of(job=job.id, study=uid)
        case JobKind.PERFORM:
            return subject_of(job=job.id, workitem=uid)
        case JobKind.ANALYSE | JobKind.ANSWER:
            return subject_of(job=job.id)


def _load_hosts(connection: Connection, films: Sequence[Instance]) -> dict[int, str]:
    """Return the addresses from which the first films came, by the number of the film.

    The row of a reception has the very time of the film's row.
    """
    first = {timestamp(film.received_at): film for film in films[:_FIRST_FILMS]}
    query = select(audit_events.c.recorded_at, audit_events.c.subject, audit_events.c.host).where(
        audit_events.c.recorded_at.in_(first),
        audit_events.c.kind == AuditKind.INSTANCE_RECEIVED,
    )
    numbers = {
        (timestamp(film.received_at), film.sop_instance_uid): film.id
        for film in films[:_FIRST_FILMS]
    }
    found = {}
    for at, subject, host in connection.execute(query):
        number = numbers.get((at, parse_subject(subject).get("instance", "")))
        if number is not None:
            found[number] = host
    return found


def _associations(
    connection: Connection, films: Sequence[Instance], hosts: dict[int, str]
) -> Iterator[TimelineEvent]:
    """Yield the last association of each sender before its first film here."""
    seen = set()
    for film in films[:_FIRST_FILMS]:
        sender = film.calling_ae_title, hosts.get(film.id, "")
        if sender in seen:
            continue
        seen.add(sender)
        before = film.received_at - _ASSOCIATION_SPAN
        window = (
            select(audit_events)
            .where(
                and_(
                    audit_events.c.recorded_at <= timestamp(film.received_at),
                    audit_events.c.recorded_at >= timestamp(before),
                ),
                audit_events.c.kind == AuditKind.ASSOCIATION_ACCEPTED,
                audit_events.c.actor == film.calling_ae_title,
            )
            .order_by(audit_events.c.recorded_at.desc(), audit_events.c.number.desc())
            .limit(1)
        )
        row = connection.execute(window).one_or_none()
        if row is not None:
            found = AuditRow(*row)
            yield TimelineEvent(
                datetime.fromisoformat(found.recorded_at),
                TimelineKind.ASSOCIATION,
                "",
                found.detail,
                found.actor,
                found.host,
            )
