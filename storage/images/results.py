"""Results of instances, studies and objects, and their deliveries.

Each `record_…` method settles the job of the result in the same transaction: both are in the store,
or neither. A worker that lost its lease gets LeaseLostError and records no result.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import select, update

from storage.audit.records import AuditEntry, AuditKind
from storage.audit.trail import append, append_all
from storage.commitment.requests import enqueue_commitment
from storage.errors import StudyChangedError, UnknownRecordError
from storage.finding_text import summary
from storage.images.comparison.priors import load_priors
from storage.images.doubt import find_hold
from storage.images.holds import hold_study
from storage.images.lookup import (
    find_study,
    load_instance,
    load_object,
    load_study,
)
from storage.images.rejections import apply_rejection, lock_rejected
from storage.images.result_rows import (
    delivery_entry,
    end_analysis,
    leave_objects,
    record_findings,
    record_objects,
    record_result,
    summarise_result,
)
from storage.patients.films import record_made_for
from storage.queue.jobs import parked_entry
from storage.queue.transitions import (
    lock_study,
    settle,
    was_touched,
)
from storage.records import (
    AnalysisRecord,
    Delivery,
    Instance,
    InstanceState,
    Job,
    JobState,
    ObjectRecord,
    PendingDelivery,
    Rejection,
    StudyHold,
    StudyKey,
    StudyResults,
    StudyStatus,
)
from storage.summaries.keep import summarise
from storage.tables.conditions import of_study
from storage.tables.database import Database
from storage.tables.schema import deliveries, heat_maps, instances


class Results:
    """Results by instance, by study and by object."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._now = clock

    def instance(self, instance_id: int) -> Instance:
        """Return one revision of an instance. Raises UnknownRecordError."""
        with self._database.reading() as connection:
            found = load_instance(connection, instance_id)
        if found is None:
            raise UnknownRecordError(f"there is no instance {instance_id} in the store")
        return found

    def study(self, study_instance_uid: str, source: str | None = None) -> StudyResults:
        """Return a study of a source, or of the only source that has it.

        An unknown study has no instances. Raises AmbiguousStudyError if several sources have it.
        """
        with self._database.reading() as connection:
            key = find_study(connection, study_instance_uid, source)
            return load_study(connection, key, find_hold(connection, key))

    def priors(self, study: StudyResults, most: int) -> list[tuple[ObjectRecord, ...]]:
        """Return the reports on earlier studies of a study's patient: see `load_priors`."""
        with self._database.reading() as connection:
            return load_priors(connection, study, most)

    def patient_id(self, study_instance_uid: str, source: str = "") -> str:
        """Return the Patient ID of a study's newest instance, or an empty text."""
        query = (
            select(instances.c.patient_id)
            .where(of_study(instances, StudyKey(source, study_instance_uid)))
            .order_by(instances.c.id.desc())
            .limit(1)
        )
        with self._database.reading() as connection:
            return connection.scalar(query) or ""

    def object(self, sop_instance_uid: str) -> ObjectRecord | None:
        """Return the object with this UID made here, or None."""
        with self._database.reading() as connection:
            return load_object(connection, sop_instance_uid)

    def heat(self, instance_id: int, label: str) -> bytes | None:
        """Return the small heat map of a finding as it was recorded, or None."""
        query = select(heat_maps.c.heat).where(
            heat_maps.c.instance_id == instance_id, heat_maps.c.label == label
        )
        with self._database.reading() as connection:
            return connection.scalar(query)

    def labels_with_heat(self, instance_id: int) -> frozenset[str]:
        """Return the labels of the findings whose heat map is kept."""
        query = select(heat_maps.c.label).where(heat_maps.c.instance_id == instance_id)
        with self._database.reading() as connection:
            return frozenset(connection.scalars(query))

    def delivery(self, job: Job) -> PendingDelivery:
        """Return the delivery of a DELIVER job. Raises UnknownRecordError."""
        query = select(deliveries).where(deliveries.c.job_id == job.id)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
            found = load_object(connection, row.sop_instance_uid) if row else None
        if row is None or found is None:
            raise UnknownRecordError(f"job {job.id} has nothing to deliver")
        return PendingDelivery(
            found, row.destination, row.held_at is not None, row.coerced_uid or ""
        )

    def record_analysis(
        self,
        job: Job,
        instance_id: int,
        analysis: AnalysisRecord,
        quiet_time: timedelta | None = None,
    ) -> None:
        """Record an analysis. A study that was reported before is reported again.

        With `quiet_time`, the report of a study is due that long after its last image came, or at
        once, when no further image of the study is in work; a report that waits for images is
        looked at no earlier than it has to be. The same is true of `record_refusal` and
        `record_rejection`.

        The objects are recorded without deliveries, which `record_report` adds. A repeated
        analysis replaces the findings. Raises LeaseLostError.
        """
        now = self._now()
        with self._database.writing() as connection:
            ended = end_analysis(
                connection,
                job,
                instance_id,
                now,
                quiet_time,
                state=InstanceState.ANALYSED,
                reason=None,
                detail=None,
                notes=list(analysis.notes),
                analysed_at=analysis.analysed_at,
                model_name=analysis.model_name,
                model_version=analysis.model_version,
                model_sha256=analysis.model_sha256,
            )
            record_findings(connection, instance_id, analysis.findings)
            if not ended.is_first:
                leave_objects(connection, instance_id)
            record_objects(connection, analysis.objects, now)
            record_made_for(connection, instance_id, analysis.made_for)
            called = [(one.label, one.probability) for one in analysis.findings if one.present]
            summarise_result(connection, instance_id, ended, positives=called)
            append(connection, _analysis_entry(job, ended.subject, analysis), now)

    def record_refusal(
        self,
        job: Job,
        instance_id: int,
        reason: str,
        detail: str,
        notes: Sequence[str] = (),
        quiet_time: timedelta | None = None,
    ) -> None:
        """Record that an instance is not analysed, with the reason. Raises LeaseLostError."""
        now = self._now()
        with self._database.writing() as connection:
            ended = end_analysis(
                connection,
                job,
                instance_id,
                now,
                quiet_time,
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
                subject=ended.subject,
                detail=str(reason),
            )
            summarise_result(connection, instance_id, ended, reason=str(reason))
            append(connection, entry, now)

    def record_rejection(
        self,
        job: Job,
        instance_id: int,
        reason: str,
        detail: str,
        rejection: Rejection,
        quiet_time: timedelta | None = None,
    ) -> int:
        """Record a rejection note: the films that it names and their results are rejected.

        Only films of the note's source are rejected, now or when they arrive. Their studies are
        reported again. Returns the number of films marked. Raises LeaseLostError.
        """
        now = self._now()
        with self._database.writing() as connection:
            affected = lock_rejected(connection, instance_id, rejection)
            ended = end_analysis(
                connection,
                job,
                instance_id,
                now,
                quiet_time,
                state=InstanceState.NOT_ANALYSED,
                reason=str(reason),
                detail=detail,
                notes=[],
                analysed_at=now,
                model_name=None,
                model_version=None,
                model_sha256=None,
            )
            entries: list[AuditEntry] = []
            marked = apply_rejection(connection, instance_id, rejection, affected, entries, now)
            entry = AuditEntry(
                AuditKind.INSTANCES_REJECTED,
                actor=job.worker or "",
                subject=ended.subject,
                detail=f"{detail}; {marked} of them here",
            )
            summarise(connection, [ended.study, *affected])
            append_all(connection, (*entries, entry), now)
        return marked

    def record_report(
        self,
        job: Job,
        status: StudyStatus,
        detail: str,
        objects: Sequence[ObjectRecord] = (),
        deliveries: Sequence[Delivery] = (),
        *,
        current: tuple[str, ...] = (),
    ) -> StudyHold | None:
        """Record the result of a REPORT job: the report, its objects and their deliveries.

        An existing delivery is unchanged, sent or not. UNCHANGED keeps the study's earlier status,
        or restores REPORTED if the study has a report. `current` names the report that says what
        the study holds now, in each of its forms, by default all `objects`: other reports are
        superseded.

        If the study is in doubt, nothing of this is recorded: the job is parked, the study is held,
        and the reason is returned. A film that came, moved or was rejected since the job was
        claimed touched the job: then nothing is recorded, and the job is queued again. Raises
        StudyChangedError for that, LeaseLostError.
        """
        key = StudyKey.of_subject(job.subject)
        now = self._now()
        current = current or tuple(record.sop_instance_uid for record in objects)
        with self._database.writing() as connection:
            lock_study(connection, key)
            hold = find_hold(connection, key)
            if hold is not None:
                settle(connection, job, JobState.PARKED, now=now, error=str(hold))
                entries: list[AuditEntry] = []
                hold_study(connection, key, hold, entries, now)
                entries.append(parked_entry(connection, job, str(hold.reason)))
                summarise(connection, [key])
                append_all(connection, entries, now)
                return hold
            is_outdated = was_touched(connection, job)
            settle(connection, job, JobState.DONE, now=now)
            if is_outdated:
                summarise(connection, [key])
            else:
                record_result(
                    connection, job, key, now, status, detail, objects, deliveries, current
                )
        if is_outdated:
            raise StudyChangedError(f"the study of job {job.id} changed while its report was made")
        return None

    def record_delivery(
        self,
        job: Job,
        dimse_status: int | None,
        sop_class_uid: str | None = None,
        *,
        coerced_uid: str | None = "",
        answer: str = "",
        commit_after: timedelta | None = None,
    ) -> None:
        """Record that the destination has the object, as an instance of `sop_class_uid`.

        `coerced_uid` is the SOP Instance UID that the destination gave it; an empty text if it kept
        the object's, None to leave what an earlier delivery recorded.
        `answer` is what the delivery is found by at the destination, without patient data.
        With `commit_after`, commitment is requested for the study's objects at the destination,
        that long after the last delivery. Raises LeaseLostError.
        """
        now = self._now()
        with self._database.writing() as connection:
            settle(connection, job, JobState.DONE, now=now)
            values: dict[str, object] = {
                "delivered_at": now,
                "dimse_status": dimse_status,
                "sop_class_uid": sop_class_uid,
                "answer": answer or None,
            }
            if coerced_uid is not None:
                values["coerced_uid"] = coerced_uid or None
            connection.execute(
                update(deliveries).where(deliveries.c.job_id == job.id).values(values)
            )
            if commit_after is not None:
                enqueue_commitment(connection, job, now, now + commit_after)
            append(connection, delivery_entry(connection, job, dimse_status, sop_class_uid), now)


def _analysis_entry(job: Job, instance: str, analysis: AnalysisRecord) -> AuditEntry:
    model = f"{analysis.model_name} {analysis.model_version}, sha256 {analysis.model_sha256}"
    return AuditEntry(
        AuditKind.INSTANCE_ANALYSED,
        actor=job.worker or "",
        subject=instance,
        detail=f"{summary(analysis.findings) or 'no finding'}; model {model}",
    )
