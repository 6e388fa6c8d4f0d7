"""The priority of a study's jobs while they wait."""

from sqlalchemy import Connection, Text, cast, literal, select, union_all, update

from storage.records import Job, JobKind, JobState, Priority, StudyKey
from storage.tables.database import parameter
from storage.tables.schema import deliveries, instances, jobs, objects


def raise_study(connection: Connection, study: StudyKey) -> None:
    """Make every job of a study STAT that has not ended. The caller has locked the study.

    A job that another transaction changes just now is left: no transaction waits for this one while
    this one waits for it.
    """
    connection.execute(_RAISE, {"of_source": study.source, "of_study": study.study_instance_uid})


def present_priority(connection: Connection, job: Job) -> int:
    """Return the priority of a job, which may have been raised since its claim."""
    found: int = connection.execute(_PRESENT, {"number": job.id}).scalar_one()
    return found


_PRESENT = select(jobs.c.priority).where(jobs.c.id == parameter(jobs.c.id, "number"))
_FILMS = (
    instances.c.source == parameter(instances.c.source, "of_source"),
    instances.c.study_instance_uid == parameter(instances.c.study_instance_uid, "of_study"),
)
_SENT = (
    select(objects.c.study_instance_uid, deliveries.c.destination, deliveries.c.job_id)
    .join(deliveries, deliveries.c.sop_instance_uid == objects.c.sop_instance_uid)
    .where(
        objects.c.source == parameter(objects.c.source, "of_source"),
        objects.c.study_instance_uid == parameter(objects.c.study_instance_uid, "of_study"),
    )
    .subquery()
)
_ANALYSES = select(jobs.c.id).where(
    jobs.c.kind == JobKind.ANALYSE,
    jobs.c.subject.in_(select(cast(instances.c.id, Text)).where(*_FILMS)),
)
_REPORT = select(jobs.c.id).where(
    jobs.c.kind == JobKind.REPORT,
    jobs.c.subject
    == parameter(instances.c.study_instance_uid, "of_study")
    + literal("@")
    + parameter(instances.c.source, "of_source"),
)
_COMMITMENTS = select(jobs.c.id).where(
    jobs.c.kind == JobKind.COMMIT,
    jobs.c.subject.in_(select(_SENT.c.study_instance_uid + "@" + _SENT.c.destination)),
)
_RAISED = (
    select(jobs.c.id)
    .where(
        jobs.c.id.in_(union_all(_ANALYSES, _REPORT, select(_SENT.c.job_id), _COMMITMENTS)),
        jobs.c.state.not_in((JobState.DONE, JobState.DISCARDED)),
        jobs.c.priority < int(Priority.STAT),
    )
    .with_for_update(skip_locked=True)
    .correlate(None)
)
_RAISE = update(jobs).where(jobs.c.id.in_(_RAISED)).values(priority=int(Priority.STAT))
