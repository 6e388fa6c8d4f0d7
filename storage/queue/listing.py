"""The jobs as an operator reads them: what needs a person first, each with its study."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, and_, case, func, select

from storage.records import Job, JobKind, JobPage, JobState, ListedJob, StudyKey
from storage.tables.database import Database
from storage.tables.schema import deliveries, instances, jobs, objects

_URGENCY = case(
    (jobs.c.state == JobState.PARKED, 0),
    (and_(jobs.c.state == JobState.QUEUED, jobs.c.attempts > 0), 1),
    (jobs.c.state == JobState.RUNNING, 2),
    (jobs.c.state == JobState.QUEUED, 3),
    (jobs.c.state == JobState.DONE, 4),
    else_=5,
)
"""Parked jobs need a person; jobs that wait after a failure may."""


class JobList:
    """The queue as an operator reads it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, state: JobState | None, limit: int) -> JobPage:
        """Return the first jobs, of all states or of one, and the number of them all."""
        chosen = [jobs.c.state == state] if state is not None else []
        query = select(jobs).where(*chosen).order_by(_URGENCY, jobs.c.id.desc()).limit(limit)
        with self._database.reading() as connection:
            found = [Job(**row) for row in connection.execute(query).mappings()]
            count = select(func.count()).select_from(jobs).where(*chosen)
            return JobPage(_listed(connection, found), connection.scalar(count) or 0)

    def listed(self, job: Job) -> ListedJob:
        """Return the job with its study."""
        with self._database.reading() as connection:
            return _listed(connection, [job])[0]


def _listed(connection: Connection, found: Sequence[Job]) -> tuple[ListedJob, ...]:
    studies = _studies(connection, found)
    accessions = _accessions(connection, studies.values())
    coerced = _coerced(connection, found)
    return tuple(
        ListedJob(
            job,
            key.study_instance_uid if key else "",
            ", ".join(sorted(accessions[key])) if key else "",
            coerced.get(job.id, ""),
        )
        for job in found
        for key in [studies.get(job.id)]
    )


def _studies(connection: Connection, found: Sequence[Job]) -> dict[int, StudyKey]:
    """Return the study of each job that has one; the source of a COMMIT job's study is ''."""
    studies = {}
    for job in found:
        if job.kind is JobKind.REPORT:
            studies[job.id] = StudyKey.of_subject(job.subject)
        elif job.kind is JobKind.COMMIT:
            studies[job.id] = StudyKey("", job.subject.partition("@")[0])
    numbers = {job.subject: job.id for job in found if job.kind is JobKind.ANALYSE}
    images = select(instances.c.id, instances.c.source, instances.c.study_instance_uid).where(
        instances.c.id.in_(map(int, numbers))
    )
    for number, source, study in connection.execute(images):
        studies[numbers[str(number)]] = StudyKey(source, study)
    sent = (
        select(deliveries.c.job_id, objects.c.source, objects.c.study_instance_uid)
        .join(objects, objects.c.sop_instance_uid == deliveries.c.sop_instance_uid)
        .where(deliveries.c.job_id.in_([job.id for job in found if job.kind is JobKind.DELIVER]))
    )
    for job_id, source, study in connection.execute(sent):
        studies[job_id] = StudyKey(source, study)
    return studies


def _coerced(connection: Connection, found: Sequence[Job]) -> dict[int, str]:
    query = select(deliveries.c.job_id, deliveries.c.coerced_uid).where(
        deliveries.c.job_id.in_([job.id for job in found if job.kind is JobKind.DELIVER]),
        deliveries.c.coerced_uid.is_not(None),
    )
    return {row.job_id: row.coerced_uid for row in connection.execute(query)}


def _accessions(connection: Connection, keys: Iterable[StudyKey]) -> dict[StudyKey, set[str]]:
    """Return the accession numbers of each study; a key without source stands for all sources."""
    uids = {key.study_instance_uid for key in keys}
    query = (
        select(instances.c.source, instances.c.study_instance_uid, instances.c.accession_number)
        .where(instances.c.study_instance_uid.in_(uids), instances.c.accession_number != "")
        .distinct()
    )
    found: dict[StudyKey, set[str]] = defaultdict(set)
    for source, study, accession in connection.execute(query):
        found[StudyKey(source, study)].add(accession)
        found[StudyKey("", study)].add(accession)
    return found
