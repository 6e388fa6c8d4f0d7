"""REPORT jobs: from one quiet study to its Structured Report and the deliveries of its objects."""

import datetime
import logging
from collections.abc import Collection, Sequence

from daemon.analyse.kept_headers import KeptHeaders
from daemon.analyse.object_files import written_objects
from daemon.analyse.result_objects import BuiltObject
from daemon.config.picture_form import PictureForm
from daemon.config.products import MOST_PRIORS, destinations_of, objects_for, report_forms
from daemon.config.settings import Config
from daemon.report.earlier_reports import read_priors
from daemon.report.study_report import (
    ReadImages,
    analysed_images,
    built_report,
    described,
    kept_and_analysed,
    read_images,
    report_content,
    report_uid_of,
    without_past_objects,
)
from daemon.worker.bell import Bell, BellName
from daemon.worker.logs.redaction import redact
from dicom_io.gate.reasons import Reason
from dicom_io.objects.algorithm import Algorithm
from dicom_io.report.content import PriorReport
from storage.errors import StudyChangedError
from storage.files.spool import Spool
from storage.records import (
    Delivery,
    Instance,
    Job,
    JobKind,
    JobState,
    ObjectRecord,
    Priority,
    StudyKey,
    StudyResults,
    StudyStatus,
)
from storage.store import Store

log = logging.getLogger("analyst")
PENDING = datetime.timedelta(seconds=2)
"""The shortest wait of a report for the analysis of an image.

The last analysis of a study ends the wait; this is for an analysis that was parked or discarded.
"""
_PARKED_OR_DISCARDED = "the analysis was discarded or is parked"
_NO_IMAGE = "none is kept here"


class StudyReporter:
    """Runs REPORT jobs and records the reports."""

    def __init__(
        self,
        config: Config,
        spool: Spool,
        store: Store,
        algorithm: Algorithm,
        headers: KeptHeaders,
    ) -> None:
        """`headers` gives the headers of the films, the last of which need not be read again."""
        self._headers = headers
        self._config = config
        self._spool = spool
        self._store = store
        self._algorithm = algorithm
        self._model = algorithm.sha256
        self._bell = Bell.of(config, BellName.ANALYST, store)

    def run(self, job: Job) -> None:
        """Report the study, or record why there is no new report. Raises StorageError."""
        key = StudyKey.of_subject(job.subject)
        study = self._store.results.study(key.study_instance_uid, key.source)
        if study.hold is not None:
            self._finish(job, StudyStatus.UNCHANGED, "the study is in doubt")
            return
        if study.pending:
            self._store.jobs.postpone(job, self._store.now() + self._wait_for_images(study))
            return
        outdated = self._outdated(study)
        if outdated:
            self._analyse_again(job, outdated)
            return
        study = without_past_objects(study)
        if not analysed_images(study):
            self._finish(job, StudyStatus.NO_ELIGIBLE_IMAGE, _nothing_to_report(study))
        elif self._is_reported(study):
            self._keep_report(job, study)
        elif not described(study, self._model):
            detail = "the images analysed were purged, or not analysed with this model"
            self._finish(job, StudyStatus.UNCHANGED, detail)
        else:
            self._report_readable_images(job, study)

    def give_up(self, job: Job, reason: str) -> None:
        """Park the job after it failed at every attempt."""
        self.park(job, reason)
        log.error(
            "job %(job)d is given up after %(attempts)d attempt(s): %(reason)s",
            {"job": job.id, "attempts": job.attempts, "reason": reason},
        )

    def park(self, job: Job, reason: str) -> None:
        """Park the job: the study has no new report yet."""
        self._store.jobs.fail(job, reason, None, audited=redact(reason))

    def _report_readable_images(self, job: Job, study: StudyResults) -> None:
        """Report the images whose files can be read.

        An image with a damaged file is analysed again first: its own analysis records the damage.
        """
        images = read_images(study, self._model, self._headers.header)
        damaged = [item for item in study.instances if item.id in images.unreadable]
        unrecorded = self._not_given_up(damaged)
        if unrecorded:
            self._analyse_again(job, unrecorded)
        elif not images.described:
            raise next(iter(images.unreadable.values()))
        elif self._is_reported(study, images.unreadable):
            self._keep_report(job, study)
        else:
            forms = report_forms(self._config, study.source)
            if any(form.has_priors for form in forms) and self._waits_for_priors(study):
                self._store.jobs.postpone(job, self._store.now() + self._wait_for_images(study))
                return
            reports = [self._built(study, images, form) for form in forms]
            reported = [item for item in study.instances if item.id in images.described]
            with written_objects(self._spool, reports, study.instances[0]) as records:
                deliveries = self._deliveries(study.source, records, reported)
                self._finish(job, StudyStatus.REPORTED, "", records, deliveries)

    def _built(self, study: StudyResults, images: ReadImages, form: PictureForm) -> BuiltObject:
        priors: list[PriorReport] = []
        if form.has_priors:
            found = self._store.results.priors(study, MOST_PRIORS)
            priors = read_priors(found, form, self._spool.read)
        read = self._spool.read
        content = report_content(study, images, self._algorithm, read, form, priors)
        return built_report(content, form)

    def _waits_for_priors(self, study: StudyResults) -> bool:
        """Return True while an archive is searched for earlier studies, or these are reported.

        A report waits no longer than configured. That on a STAT film or a backfill does not wait.
        """
        newest = max(item.received_at for item in study.instances)
        longest = datetime.timedelta(seconds=self._config.pull.priors_seconds)
        if self._store.now() - newest >= longest or any(
            item.priority != Priority.ROUTINE for item in study.instances
        ):
            return False
        key = StudyKey(study.source, study.study_instance_uid)
        return any(
            self._store.prior_searches.goes_on(key, peer.name)
            for peer in self._config.retrieved
            if peer.effective_source == study.source
        )

    def _outdated(self, study: StudyResults) -> list[Instance]:
        """Return the images that can still be analysed and need it.

        This model has not analysed them, or their objects name an earlier identity of the patient.
        """
        images = described(study, self._model)
        kept = kept_and_analysed(study)
        return self._not_given_up(
            [item for item in kept if item not in images or item.has_past_objects]
        )

    def _not_given_up(self, items: Sequence[Instance]) -> list[Instance]:
        """Return the images whose analysis is neither parked nor discarded."""
        given_up = self._analyses(items, JobState.PARKED, JobState.DISCARDED)
        return [item for item in items if str(item.id) not in given_up]

    def _analyse_again(self, job: Job, items: Sequence[Instance]) -> None:
        """Queue the analysis of these images. The report waits for it."""
        # An analysis that waits for its next attempt keeps its wait.
        pending = self._analyses(items, JobState.QUEUED, JobState.RUNNING)
        for item in items:
            if str(item.id) not in pending:
                self._store.jobs.enqueue(JobKind.ANALYSE, str(item.id))
        self._bell.ring()
        self._store.jobs.postpone(job, self._store.now() + PENDING)
        log.info("job %d: %d image(s) are analysed again first", job.id, len(items))

    def _analyses(self, items: Sequence[Instance], *states: JobState) -> frozenset[str]:
        """Return the subjects of the images' ANALYSE jobs in one of these states."""
        return self._store.jobs.subjects(JobKind.ANALYSE, [str(item.id) for item in items], states)

    def _is_reported(self, study: StudyResults, unreadable: Collection[int] = ()) -> bool:
        """Return True if the last report says what the study holds now."""
        if not study.reports:
            return False
        *earlier, last = study.reports
        return last.sop_instance_uid == report_uid_of(study, earlier, self._model, unreadable)

    def _keep_report(self, job: Job, study: StudyResults) -> None:
        detail = "the images are already reported"
        last = tuple(report.sop_instance_uid for report in study.last_reports)
        self._finish(job, StudyStatus.UNCHANGED, detail, current=last)

    def _finish(
        self,
        job: Job,
        status: StudyStatus,
        detail: str,
        objects: Sequence[ObjectRecord] = (),
        deliveries: Sequence[Delivery] = (),
        current: tuple[str, ...] = (),
    ) -> None:
        try:
            hold = self._store.results.record_report(
                job, status, detail, objects, deliveries, current=current
            )
        except StudyChangedError:
            log.info("job %d: the study changed meanwhile, and is reported again", job.id)
            return
        if hold is not None:
            log.error("job %d is parked, and nothing of its study leaves: %s", job.id, hold.reason)
            return
        log.info(
            "job %(job)d: the study is %(status)s; %(deliveries)d delivery(ies)",
            {"job": job.id, "status": status, "deliveries": len(deliveries)},
        )

    def _wait_for_images(self, study: StudyResults) -> datetime.timedelta:
        # The wait grows with the time waited, so that a long queue is not delayed by such checks.
        received = max(item.received_at for item in study.instances)
        return max(PENDING, (self._store.now() - received) / 4)

    def _deliveries(
        self, source: str, reports: Sequence[ObjectRecord], analysed: Sequence[Instance]
    ) -> list[Delivery]:
        """Return the deliveries of a source's results to its destinations.

        A destination gets the report that names the pictures of the form that it gets.
        """
        return [
            Delivery(record.sop_instance_uid, peer.name)
            for peer in destinations_of(self._config, source)
            for record in objects_for(peer, reports, analysed)
            if record.purged_at is None
        ]


def _nothing_to_report(study: StudyResults) -> str:
    """Return why no image of the study can be reported."""
    rejected = sorted({item.rejected_by or "" for item in study.instances if item.is_rejected})
    films = [item for item in study.instances if item.reason != Reason.REJECTION_NOTE]
    if rejected and all(item.is_rejected for item in films):
        return f"every image of the study was rejected in the archive: {', '.join(rejected)}"
    reasons = {
        f"rejected ({item.rejected_by})" if item.is_rejected else item.reason for item in films
    }
    named = sorted(reason or _PARKED_OR_DISCARDED for reason in reasons)
    return f"no image of the study could be analysed: {', '.join(named) or _NO_IMAGE}"
