"""The study of each job, with its accession numbers."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, select

from storage.records import Job, JobKind, ListedJob, StudyKey
from storage.tables.exchange.workitems import workitems
from storage.tables.schema import deliveries, instances, objects


def with_studies(connection: Connection, found: Sequence[Job]) -> tuple[ListedJob, ...]:
    """Return each job with its study, in the same order."""
    studies = _studies(connection, found)
    accessions = _accessions(connection, studies.values())
    coerced = _coerced(connection, found)
    return tuple(
        ListedJob(
            job,
            key.study_instance_uid if key else "",
            ", ".join(sorted(accessions[key])) if key else "",
            coerced.get(job.id, ""),
            key.source if key else "",
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
    subjects = {job.subject: job.id for job in found if job.kind is JobKind.PERFORM}
    uids = {subject.partition("@")[0] for subject in subjects}
    performed = select(workitems).where(workitems.c.workitem_uid.in_(uids))
    for row in connection.execute(performed):
        number = subjects.get(f"{row.workitem_uid}@{row.manager}")
        if number is not None and row.study_instance_uid:
            studies[number] = StudyKey(row.source, row.study_instance_uid)
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
