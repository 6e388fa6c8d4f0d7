"""Role: claims work, runs the pipeline, records results and the outbox in one transaction each.

Two kinds of work: ANALYSE takes one received instance to its result, REPORT takes one quiet study
to its Structured Report and queues what is to be delivered.
"""

import datetime
import logging
import traceback
from collections.abc import Collection, Sequence

from daemon.analyse.decoder_pool import DecoderLimits
from daemon.analyse.gate_and_decode import Refusal
from daemon.analyse.pipeline import Analysis, Pipeline
from daemon.analyse.result_objects import BuiltObject
from daemon.config.destinations import kinds_for, kinds_to_build, of_kind
from daemon.config.settings import Config
from daemon.errors import ROOM_ERRORS, DecoderError
from daemon.report.study_report import (
    built_report,
    described,
    kept_and_analysed,
    read_images,
    report_content,
    report_uid_of,
)
from daemon.worker.lease import Lease
from daemon.worker.loop import Backoff, Loop
from daemon.worker.redaction import redact
from daemon.worker.role import RoleContext
from dicom_io.gate.header_check import DEFAULT_RULES, Rules
from dicom_io.gate.reasons import FAILURES, Reason
from storage.errors import (
    LeaseLostError,
    OutOfSpaceError,
    SpoolUnavailableError,
    StorageError,
    StoreUnavailableError,
)
from storage.files.spool import Spool, object_path
from storage.records import (
    AnalysisRecord,
    Delivery,
    FindingRecord,
    Instance,
    InstanceState,
    Job,
    JobKind,
    JobState,
    ObjectKind,
    ObjectRecord,
    StudyResults,
    StudyStatus,
)
from storage.store import Store

log = logging.getLogger("analyst")

POLL_SECONDS = 0.2

STORE_ERROR_BACKOFF = Backoff(2.0, 2.0)
"""The wait after an error of the store: it is full or unavailable."""

_NOT_THE_IMAGES_FAULT = (
    DecoderError,
    OutOfSpaceError,
    SpoolUnavailableError,
    StoreUnavailableError,
)

PENDING = datetime.timedelta(seconds=0.5)
"""How soon, at the earliest, a report is looked at again that waits for an image's analysis."""

_NOT_LOOKED_AT = "the analysis was discarded or is parked"

_NO_IMAGE = "none is kept here"


class Analyst:
    """Does one job at a time; everything it knows is in the store and the spool."""

    def __init__(
        self, config: Config, worker: str, spool: Spool, store: Store, pipeline: Pipeline
    ) -> None:
        self._config = config.analyst
        self._destinations = config.destinations
        self._kinds = kinds_to_build(config.destinations)
        self._rules = {peer.ae_title: Rules(**peer.rules.model_dump()) for peer in config.senders}
        self._worker = worker
        self._spool = spool
        self._store = store
        self._pipeline = pipeline
        self._lease = datetime.timedelta(seconds=config.analyst.lease_seconds)
        self._backoff = Backoff(config.analyst.retry_seconds, 60 * config.analyst.retry_seconds)

    def work_once(self) -> bool:
        """Do the next analysis and the next report that are due; False when there is neither.

        In turn, so that a long queue of images does not hold back the reports of those done.
        """
        worked = [self._work(kind) for kind in (JobKind.ANALYSE, JobKind.REPORT)]
        return any(worked)

    def _work(self, kind: JobKind) -> bool:
        job = self._store.jobs.claim((kind,), self._worker, self._lease)
        if job is None:
            return False
        try:
            with Lease(self._store, job, self._lease, log).renewed():
                self._do(job)
        except LeaseLostError:
            log.warning("job %d was taken over by another worker; its result is kept", job.id)
        except Exception as error:  # noqa: BLE001 - one bad image must not stop the role
            self._failed(job, error)
        return True

    def _do(self, job: Job) -> None:
        if job.attempts > self._config.max_attempts:
            # Every attempt ended without an answer: the image kills the process that reads it.
            self._give_up(job, "the analysis stopped without an answer at every attempt")
        elif job.kind is JobKind.ANALYSE:
            self._analyse(job)
        else:
            self._report(job)

    def _analyse(self, job: Job) -> None:
        instance = self._store.results.instance(int(job.subject))
        if instance.purged_at is not None:
            # Its result stands: nothing that was found is overwritten by a failure to find it.
            day = instance.purged_at.date()
            reason = f"instance {instance.id} was purged on {day}: send it again"
            self._store.jobs.fail(job, reason, None)
            log.error("job %d is parked: %s", job.id, reason)
            return
        data = self._read(instance.spool_path, instance.sha256)
        analysed_at = self._analysis_time(instance)
        # A peer taken out of the configuration since has no rules any more.
        rules = self._rules.get(instance.calling_ae_title, DEFAULT_RULES)
        outcome = self._pipeline.analyse(
            data, instance.revision, analysed_at.astimezone(), rules, self._kinds
        )
        if isinstance(outcome, Refusal):
            self._refuse(job, instance, outcome)
            log.info("instance %d is not analysed: %s", instance.id, outcome.reason)
            return
        with self._spool.recording(*(_path_of(built) for built in outcome.objects)):
            self._record(job, instance, outcome, analysed_at)
        found = len(outcome.prediction.present)
        log.info("instance %d is analysed: %d finding(s)", instance.id, found)

    def _refuse(self, job: Job, instance: Instance, refusal: Refusal) -> None:
        """No result; where one stands, nothing is overwritten by a failure to find it again."""
        if refusal.reason in FAILURES and instance.state is InstanceState.ANALYSED:
            reason = f"{refusal.reason}: {refusal.detail}; the earlier result stands"
            self._store.jobs.fail(job, reason, None, audited=redact(reason))
        else:
            self._store.results.record_refusal(
                job, instance.id, refusal.reason, refusal.detail, refusal.notes
            )

    def _record(
        self, job: Job, instance: Instance, outcome: Analysis, analysed_at: datetime.datetime
    ) -> None:
        objects = [self._keep(built, instance) for built in outcome.objects]
        model = self._pipeline.algorithm
        record = AnalysisRecord(
            analysed_at=analysed_at,
            model_name=model.name,
            model_version=model.version,
            model_sha256=model.sha256,
            findings=[
                FindingRecord(
                    finding.label,
                    finding.logit,
                    finding.probability,
                    finding.threshold,
                    finding.present,
                    region.points if (region := outcome.regions.get(finding.label)) else None,
                )
                for finding in outcome.prediction.findings
            ],
            notes=outcome.notes,
            objects=objects,
        )
        self._store.results.record_analysis(job, instance.id, record)

    def _analysis_time(self, instance: Instance) -> datetime.datetime:
        """Now; but an analysis repeated with the same model keeps its date, and so its objects."""
        if instance.analysed_at and instance.model_sha256 == self._pipeline.algorithm.sha256:
            return instance.analysed_at
        return _now()

    def _report(self, job: Job) -> None:
        study = self._store.results.study(job.subject)
        if study.pending:
            self._store.jobs.postpone(job, _now() + self._wait_for_images(study))
            return
        analysed = [item for item in study.instances if item.state is InstanceState.ANALYSED]
        outdated = self._outdated(study)
        if outdated:
            self._analyse_again(job, outdated)
        elif not analysed:
            reasons = sorted({item.reason or _NOT_LOOKED_AT for item in study.instances})
            detail = f"no image of the study could be analysed: {', '.join(reasons) or _NO_IMAGE}"
            self._finish_report(job, StudyStatus.NO_ELIGIBLE_IMAGE, detail)
        elif not described(study, self._pipeline.algorithm.sha256):
            detail = "the images analysed were purged, or not analysed with this model"
            self._finish_report(job, StudyStatus.UNCHANGED, detail)
        elif self._is_reported(study):
            self._finish_report(job, StudyStatus.UNCHANGED, "the images are already reported")
        else:
            self._report_what_can_be_read(job, study)

    def _report_what_can_be_read(self, job: Job, study: StudyResults) -> None:
        """A damaged file is for its own analysis to name, which comes again when the file does."""
        images = read_images(study, self._pipeline.algorithm.sha256, self._read)
        damaged = [item for item in study.instances if item.id in images.unreadable]
        untold = self._not_given_up(damaged)
        if untold:
            self._analyse_again(job, untold)
        elif not images.described:
            raise next(iter(images.unreadable.values()))
        elif self._is_reported(study, images.unreadable):
            self._finish_report(job, StudyStatus.UNCHANGED, "the images are already reported")
        else:
            content = report_content(study, images, self._pipeline.algorithm, self._read)
            built = built_report(content)
            reported = [item for item in study.instances if item.id in images.described]
            with self._spool.recording(_path_of(built)):
                report = self._keep(built, study.instances[0])
                deliveries = self._deliveries(report, reported)
                self._finish_report(job, StudyStatus.REPORTED, "", [report], deliveries)

    def _read(self, path: str, sha256: str) -> bytes:
        self._spool.verify(path, sha256)
        return self._spool.read(path)

    def _outdated(self, study: StudyResults) -> list[Instance]:
        """Images that only another model has analysed, unless this one was given up at them."""
        images = described(study, self._pipeline.algorithm.sha256)
        return self._not_given_up([item for item in kept_and_analysed(study) if item not in images])

    def _not_given_up(self, items: Sequence[Instance]) -> list[Instance]:
        """Those whose analysis is neither parked nor discarded."""
        given_up = self._store.jobs.subjects(
            JobKind.ANALYSE,
            [str(item.id) for item in items],
            (JobState.PARKED, JobState.DISCARDED),
        )
        return [item for item in items if str(item.id) not in given_up]

    def _is_reported(self, study: StudyResults, unreadable: Collection[int] = ()) -> bool:
        uid = report_uid_of(study, self._pipeline.algorithm.sha256, unreadable)
        return any(report.sop_instance_uid == uid for report in study.reports)

    def _finish_report(
        self,
        job: Job,
        status: StudyStatus,
        detail: str,
        objects: Sequence[ObjectRecord] = (),
        deliveries: Sequence[Delivery] = (),
    ) -> None:
        self._store.results.record_report(job, job.subject, status, detail, objects, deliveries)
        log.info("job %d: the study is %s; %d delivery(ies)", job.id, status, len(deliveries))

    def _analyse_again(self, job: Job, outdated: Sequence[Instance]) -> None:
        """Images of another model would be reported under a wrong name, damaged ones not at all."""
        # One that waits for its next try is not begun anew.
        under_way = self._store.jobs.subjects(
            JobKind.ANALYSE,
            [str(item.id) for item in outdated],
            (JobState.QUEUED, JobState.RUNNING),
        )
        for item in outdated:
            if str(item.id) not in under_way:
                self._store.jobs.enqueue(JobKind.ANALYSE, str(item.id))
        self._store.jobs.postpone(job, _now() + PENDING)
        log.info("job %d: %d image(s) are analysed again first", job.id, len(outdated))

    def _wait_for_images(self, study: StudyResults) -> datetime.timedelta:
        # Waits grow with the time already waited: a long queue is not spent on asking.
        received = max(item.received_at for item in study.instances)
        return max(PENDING, (_now() - received) / 4)

    def _deliveries(self, report: ObjectRecord, analysed: Sequence[Instance]) -> list[Delivery]:
        made = [[report], *(instance.objects for instance in analysed)]
        return [
            Delivery(record.sop_instance_uid, peer.name)
            for peer in self._destinations
            for kind in kinds_for(peer)
            for together in made
            for record in of_kind(kind, together)
            if record.purged_at is None
        ]

    def _keep(self, built: BuiltObject, source: Instance) -> ObjectRecord:
        stored = self._spool.write(_path_of(built), built.data)
        return ObjectRecord(
            sop_instance_uid=built.sop_instance_uid,
            sop_class_uid=built.sop_class_uid,
            kind=built.kind,
            study_instance_uid=source.study_instance_uid,
            instance_id=None if built.kind is ObjectKind.REPORT else source.id,
            label=built.label,
            spool_path=stored.path,
            size=stored.size,
            sha256=stored.sha256,
        )

    def _failed(self, job: Job, error: Exception) -> None:
        # The text of a foreign error may quote the image's header: of it, only the place is logged.
        ours = isinstance(error, ROOM_ERRORS)
        reason = str(error) if ours else f"unexpected {type(error).__name__}"
        place = "" if ours else "\n" + "".join(traceback.format_tb(error.__traceback__)).rstrip()
        log.error("job %d failed (attempt %d): %s%s", job.id, job.attempts, reason, place)
        try:
            worth_repeating = getattr(error, "retryable", True)
            if isinstance(error, _NOT_THE_IMAGES_FAULT):
                # So it was no attempt: the job waits for as long as that lasts.
                wait = datetime.timedelta(seconds=self._backoff.seconds(1))
                self._store.jobs.postpone(job, _now() + wait, reason)
            elif worth_repeating and job.attempts < self._config.max_attempts:
                wait = datetime.timedelta(seconds=self._backoff.seconds(job.attempts))
                self._store.jobs.fail(job, reason, _now() + wait)
            else:
                self._give_up(job, reason)
        except StorageError as storage_error:
            log.error("job %d could not be put back: %s", job.id, storage_error)

    def _give_up(self, job: Job, reason: str) -> None:
        if job.kind is JobKind.ANALYSE:
            instance = self._store.results.instance(int(job.subject))
            self._refuse(job, instance, Refusal(Reason.ANALYSIS_FAILED, reason))
        else:
            self._store.jobs.fail(job, reason, None, audited=redact(reason))
        what = f"instance {job.subject}" if job.kind is JobKind.ANALYSE else f"job {job.id}"
        log.error("%s is given up after %d attempt(s): %s", what, job.attempts, reason)


def _path_of(built: BuiltObject) -> str:
    return object_path(built.sop_instance_uid, built.data)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def run(context: RoleContext) -> None:
    """Work until told to stop."""
    config = context.config
    pipeline = Pipeline.open(config.model, DecoderLimits.of(config.analyst))
    pipeline.warm_up()
    spool = Spool(config.spool_dir, create=False)
    with Store.open(config.resolved_database_url, migrate=False) as store:
        analyst = Analyst(config, context.worker, spool, store, pipeline)
        context.ready()
        loop = Loop("the analyst waits", log, context.stop, STORE_ERROR_BACKOFF)
        loop.run(lambda: 0.0 if analyst.work_once() else POLL_SECONDS)
