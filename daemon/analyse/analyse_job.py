"""ANALYSE jobs: from one received instance to its result."""

import datetime
import logging

from daemon.analyse.kept_headers import KeptHeaders, present_patient
from daemon.analyse.object_files import written_objects
from daemon.analyse.pipeline import Analysis, Pipeline
from daemon.analyse.reader.film import Refusal
from daemon.config.products import forms_to_build, kinds_to_build
from daemon.config.settings import Config
from daemon.worker.logs.redaction import redact
from dicom_io.gate import rejection_note as gate
from dicom_io.gate.reasons import FAILURES, Reason
from dicom_io.gate.rules import DEFAULT_RULES, Rules
from storage.files.spool import Spool
from storage.records import (
    AnalysisRecord,
    FindingRecord,
    Instance,
    InstanceState,
    Job,
    ObjectRecord,
    Rejection,
)
from storage.store import Store

log = logging.getLogger("analyst")


class ImageAnalyser:
    """Runs ANALYSE jobs and records their results."""

    def __init__(
        self,
        config: Config,
        spool: Spool,
        store: Store,
        pipeline: Pipeline,
        headers: KeptHeaders,
    ) -> None:
        """`headers` receives the header of each film that was analysed."""
        self._headers = headers
        self._config = config
        self._kinds = kinds_to_build(config.receivers)
        self._quiet_time = datetime.timedelta(seconds=config.study.quiet_seconds)
        self._rules = {
            sender: Rules(**rules.model_dump()) for sender, rules in config.rules_by_sender.items()
        }
        self._spool = spool
        self._store = store
        self._pipeline = pipeline

    def run(self, job: Job) -> None:
        """Analyse the instance. Record its findings and objects, or the reason of a refusal.

        Raises StorageError, ModelError, DaemonError.
        """
        instance = self._store.results.instance(int(job.subject))
        if instance.purged_at is not None:
            # The earlier result stands: a missing file does not overwrite it.
            day = instance.purged_at.date()
            reason = f"instance {instance.id} was purged on {day}: send it again"
            self._store.jobs.fail(job, reason, None)
            log.error("job %d is parked: %s", job.id, reason)
            return
        mark = self._headers.mark(instance)
        data = self._spool.read(instance.spool_path, instance.sha256)
        analysed_at = self._analysis_time(instance)
        # A sender that was removed from the configuration has no rules of its own.
        rules = self._rules.get(instance.calling_ae_title, DEFAULT_RULES)
        forms = forms_to_build(self._config, instance.source)
        outcome = self._pipeline.analyse(
            data,
            instance.source,
            analysed_at.astimezone(),
            rules,
            self._kinds,
            forms,
            instance.sha256,
            present_patient(instance),
        )
        if isinstance(outcome, Refusal) and outcome.rejection is not None:
            self._reject(job, instance, outcome, outcome.rejection)
            return
        if isinstance(outcome, Refusal):
            self._refuse(job, instance, outcome)
            values = {"instance": instance.id, "reason": outcome.reason}
            log.info("instance %(instance)d is not analysed: %(reason)s", values)
            return
        self._headers.keep(instance, mark, data)
        with written_objects(self._spool, outcome.objects, instance) as records:
            analysis = self._record(outcome, analysed_at, records, instance.identity_key)
            self._store.results.record_analysis(job, instance.id, analysis, self._quiet_time)
        found = {"instance": instance.id, "findings": len(outcome.prediction.present)}
        log.info("instance %(instance)d is analysed: %(findings)d finding(s)", found)

    def give_up(self, job: Job, reason: str) -> None:
        """Record that the analysis failed at every attempt."""
        instance = self._store.results.instance(int(job.subject))
        self._refuse(job, instance, Refusal(Reason.ANALYSIS_FAILED, reason))
        log.error(
            "instance %(instance)d is given up after %(attempts)d attempt(s): %(reason)s",
            {"instance": instance.id, "attempts": job.attempts, "reason": reason},
        )

    def park(self, job: Job, reason: str) -> None:
        """Park the job: the image has no result yet, or its earlier result stands."""
        instance = self._store.results.instance(int(job.subject))
        if instance.state is InstanceState.ANALYSED:
            reason = f"{reason}; the earlier result stands"
        self._store.jobs.fail(job, reason, None, audited=redact(reason))

    def _reject(
        self, job: Job, note: Instance, outcome: Refusal, rejection: gate.Rejection
    ) -> None:
        marked = self._store.results.record_rejection(
            job,
            note.id,
            outcome.reason,
            outcome.detail,
            Rejection(rejection.code, rejection.sop_instance_uids),
            self._quiet_time,
        )
        log.info("instance %d rejects %s; %d of them here", note.id, outcome.detail, marked)

    def _refuse(self, job: Job, instance: Instance, refusal: Refusal) -> None:
        """Record the refusal. After a failure an earlier result stands, and the job is parked."""
        if refusal.reason in FAILURES and instance.state is InstanceState.ANALYSED:
            reason = f"{refusal.reason}: {refusal.detail}; the earlier result stands"
            self._store.jobs.fail(job, reason, None, audited=redact(reason))
        else:
            self._store.results.record_refusal(
                job,
                instance.id,
                refusal.reason,
                refusal.detail,
                refusal.notes,
                self._quiet_time,
            )

    def _analysis_time(self, instance: Instance) -> datetime.datetime:
        """Return now, or the earlier time if this model analysed the instance before.

        The same time makes the same objects.
        """
        if instance.analysed_at and instance.model_sha256 == self._pipeline.algorithm.sha256:
            return instance.analysed_at
        return self._store.now()

    def _record(
        self,
        outcome: Analysis,
        analysed_at: datetime.datetime,
        objects: list[ObjectRecord],
        made_for: str,
    ) -> AnalysisRecord:
        model = self._pipeline.algorithm
        return AnalysisRecord(
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
                    heat.encode() if (heat := outcome.heats.get(finding.label)) else None,
                )
                for finding in outcome.prediction.findings
            ],
            notes=outcome.notes,
            objects=objects,
            made_for=made_for,
        )
