"""What became of instances, studies and objects: results and the outbox.

Each `record_…` method settles the job that produced the result in the same transaction: either
both are in the store or neither, and a worker that lost its lease records nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

from sqlalchemy import Connection, Update, delete, select, update
from sqlalchemy import insert as plain_insert

from storage.audit.records import AuditEntry, AuditKind, subject_of
from storage.audit.trail import append
from storage.commitment.requests import enqueue_commitment
from storage.errors import UnknownRecordError
from storage.images.lookup import load_instance, load_object, load_study
from storage.queue.transitions import enqueue_once, lock_study, reopen, settle
from storage.records import (
    AnalysisRecord,
    Delivery,
    Instance,
    InstanceState,
    Job,
    JobKind,
    JobState,
    ObjectKind,
    ObjectRecord,
    PendingDelivery,
    StudyResults,
    StudyStatus,
)
from storage.tables.database import Database, insert
from storage.tables.schema import deliveries, findings, instances, objects, studies


class Results:
    """Results by instance, by study and by object."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._now = clock

    def instance(self, instance_id: int) -> Instance:
        """One revision of an instance; raises UnknownRecordError."""
        with self._database.reading() as connection:
            found = load_instance(connection, instance_id)
        if found is None:
            raise UnknownRecordError(f"there is no instance {instance_id} in the store")
        return found

    def study(self, study_instance_uid: str) -> StudyResults:
        """All of a study; one never heard of has no instances."""
        with self._database.reading() as connection:
            return load_study(connection, study_instance_uid)

    def patient_id(self, study_instance_uid: str) -> str:
        """The Patient ID of a study's newest instance; nothing where there is none."""
        query = (
            select(instances.c.patient_id)
            .where(instances.c.study_instance_uid == study_instance_uid)
            .order_by(instances.c.id.desc())
            .limit(1)
        )
        with self._database.reading() as connection:
            return connection.scalar(query) or ""

    def object(self, sop_instance_uid: str) -> ObjectRecord | None:
        """An object made here, if there is one of this UID."""
        with self._database.reading() as connection:
            return load_object(connection, sop_instance_uid)

    def delivery(self, job: Job) -> PendingDelivery:
        """What a DELIVER job has to send; raises UnknownRecordError."""
        query = select(deliveries).where(deliveries.c.job_id == job.id)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
            found = load_object(connection, row.sop_instance_uid) if row else None
        if row is None or found is None:
            raise UnknownRecordError(f"job {job.id} has nothing to deliver")
        return PendingDelivery(found, row.destination)

    def record_analysis(self, job: Job, instance_id: int, analysis: AnalysisRecord) -> None:
        """The instance is analysed; its study is reported anew if it was reported before.

        The objects are kept but not delivered: that is for `record_report`. A repeated analysis
        replaces the findings. Raises LeaseLostError.
        """
        now = self._now()
        with self._database.writing() as connection:
            _lock_study_of(connection, instance_id)
            settle(connection, job, JobState.DONE, now=now)
            instance = _end_instance(
                connection,
                instance_id,
                now,
                state=InstanceState.ANALYSED,
                reason=None,
                detail=None,
                notes=list(analysis.notes),
                analysed_at=analysis.analysed_at,
                model_name=analysis.model_name,
                model_version=analysis.model_version,
                model_sha256=analysis.model_sha256,
            )
            rows = [
                {"instance_id": instance_id, "position": position, **asdict(finding)}
                for position, finding in enumerate(analysis.findings)
            ]
            if rows:
                connection.execute(plain_insert(findings), rows)
            # Those of an earlier model stay for their deliveries, but show this analysis no more.
            connection.execute(
                update(objects).where(objects.c.instance_id == instance_id).values(instance_id=None)
            )
            _keep_objects(connection, analysis.objects, now)
            append(connection, _analysed(job, instance, analysis), now)

    def record_refusal(
        self, job: Job, instance_id: int, reason: str, detail: str, notes: Sequence[str] = ()
    ) -> None:
        """The instance is not analysed, for this named reason. Raises LeaseLostError."""
        now = self._now()
        with self._database.writing() as connection:
            _lock_study_of(connection, instance_id)
            settle(connection, job, JobState.DONE, now=now)
            instance = _end_instance(
                connection,
                instance_id,
                now,
                state=InstanceState.NOT_ANALYSED,
                reason=str(reason),
                detail=detail,
                notes=list(notes),
                analysed_at=now,
                model_name=None,
                model_version=None,
                model_sha256=None,
            )
            entry = AuditEntry(
                AuditKind.INSTANCE_NOT_ANALYSED,
                actor=job.worker or "",
                subject=instance,
                detail=str(reason),
            )
            append(connection, entry, now)

    def record_report(
        self,
        job: Job,
        study_instance_uid: str,
        status: StudyStatus,
        detail: str,
        objects: Sequence[ObjectRecord] = (),
        deliveries: Sequence[Delivery] = (),
    ) -> None:
        """The study's report, its objects and every delivery of them, in one transaction.

        A delivery that was asked for before is left as it is, sent or not. UNCHANGED leaves the
        study's earlier status standing, which is REPORTED once there is a report. Raises
        LeaseLostError.
        """
        now = self._now()
        with self._database.writing() as connection:
            settle(connection, job, JobState.DONE, now=now)
            _keep_objects(connection, objects, now)
            for delivery in deliveries:
                _queue_delivery(connection, delivery, now)
            row = {
                "study_instance_uid": study_instance_uid,
                "status": status,
                "detail": detail,
                "updated_at": now,
            }
            statement = insert(connection, studies).values(row)
            if status is StudyStatus.UNCHANGED:
                connection.execute(statement.on_conflict_do_nothing())
                connection.execute(_reported_again(study_instance_uid, now))
            else:
                connection.execute(
                    statement.on_conflict_do_update(index_elements=["study_instance_uid"], set_=row)
                )
            entry = AuditEntry(
                AuditKind.STUDY_REPORTED,
                actor=job.worker or "",
                subject=subject_of(
                    study=study_instance_uid,
                    object=objects[0].sop_instance_uid if objects else None,
                    sop_class=objects[0].sop_class_uid if objects else None,
                ),
                detail=f"{status}, {len(deliveries)} delivery(ies)",
            )
            append(connection, entry, now)

    def record_delivery(
        self,
        job: Job,
        dimse_status: int | None,
        sop_class_uid: str | None = None,
        *,
        commit_after: timedelta | None = None,
    ) -> None:
        """The destination has the object, as an instance of `sop_class_uid`.

        With `commit_after` the destination is asked to commit to what it has of the study, once
        nothing more was delivered for so long. Raises LeaseLostError.
        """
        now = self._now()
        with self._database.writing() as connection:
            settle(connection, job, JobState.DONE, now=now)
            connection.execute(
                update(deliveries)
                .where(deliveries.c.job_id == job.id)
                .values(delivered_at=now, dimse_status=dimse_status, sop_class_uid=sop_class_uid)
            )
            if commit_after is not None:
                enqueue_commitment(connection, job, now, now + commit_after)
            append(connection, _delivered(connection, job, dimse_status, sop_class_uid), now)


def _reported_again(study: str, now: datetime) -> Update:
    """What was said of a study since its report no longer holds."""
    reports = select(objects.c.id).where(
        objects.c.study_instance_uid == study, objects.c.kind == ObjectKind.REPORT
    )
    return (
        update(studies)
        .where(
            studies.c.study_instance_uid == study,
            studies.c.status == StudyStatus.NO_ELIGIBLE_IMAGE,
            reports.exists(),
        )
        .values(status=StudyStatus.REPORTED, detail="", updated_at=now)
    )


def _lock_study_of(connection: Connection, instance_id: int) -> None:
    study = connection.scalar(
        select(instances.c.study_instance_uid).where(instances.c.id == instance_id)
    )
    if study is not None:
        lock_study(connection, study)


def _end_instance(connection: Connection, instance_id: int, now: datetime, **values: object) -> str:
    """Give the instance its outcome, and have its study reported anew if that was done before.

    Returns its names for the audit trail.
    """
    row = connection.execute(
        update(instances)
        .where(instances.c.id == instance_id)
        .values(**values)
        .returning(
            instances.c.study_instance_uid,
            instances.c.sop_instance_uid,
            instances.c.sop_class_uid,
            instances.c.revision,
        )
    ).one_or_none()
    if row is None:
        raise UnknownRecordError(f"there is no instance {instance_id} in the store")
    connection.execute(delete(findings).where(findings.c.instance_id == instance_id))
    # A report under way may have read the study already.
    begun = (JobState.RUNNING, JobState.DONE, JobState.PARKED)
    reopen(connection, JobKind.REPORT, row.study_instance_uid, now=now, ended=begun)
    return subject_of(
        study=row.study_instance_uid,
        instance=row.sop_instance_uid,
        sop_class=row.sop_class_uid,
        revision=row.revision,
    )


def _analysed(job: Job, instance: str, analysis: AnalysisRecord) -> AuditEntry:
    present = [f"{one.label} {one.probability:.2f}" for one in analysis.findings if one.present]
    model = f"{analysis.model_name} {analysis.model_version}, sha256 {analysis.model_sha256}"
    return AuditEntry(
        AuditKind.INSTANCE_ANALYSED,
        actor=job.worker or "",
        subject=instance,
        detail=f"{', '.join(present) or 'no finding'}; model {model}",
    )


def _delivered(
    connection: Connection, job: Job, dimse_status: int | None, sop_class_uid: str | None
) -> AuditEntry:
    row = connection.execute(
        select(objects.c.study_instance_uid, objects.c.sop_instance_uid, objects.c.sop_class_uid)
        .join(deliveries, deliveries.c.sop_instance_uid == objects.c.sop_instance_uid)
        .where(deliveries.c.job_id == job.id)
    ).one()
    return AuditEntry(
        AuditKind.OBJECT_DELIVERED,
        actor=job.lane or "",
        subject=subject_of(
            study=row.study_instance_uid,
            object=row.sop_instance_uid,
            sop_class=sop_class_uid or row.sop_class_uid,
        ),
        detail="" if dimse_status is None else f"status 0x{dimse_status:04X}",
    )


def _keep_objects(connection: Connection, records: Sequence[ObjectRecord], now: datetime) -> None:
    """Add the objects; the row of one made before follows the file that was just written."""
    for record in records:
        statement = insert(connection, objects).values(**asdict(record), created_at=now)
        new = statement.excluded
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["sop_instance_uid"],
                set_={
                    name: getattr(new, name)
                    for name in ("spool_path", "size", "sha256", "instance_id", "purged_at")
                },
            )
        )


def _queue_delivery(connection: Connection, delivery: Delivery, now: datetime) -> None:
    job_id = enqueue_once(
        connection,
        JobKind.DELIVER,
        f"{delivery.sop_instance_uid}@{delivery.destination}",
        now=now,
        lane=delivery.destination,
    )
    if job_id is not None:
        connection.execute(plain_insert(deliveries).values(**asdict(delivery), job_id=job_id))
