"""Role: claims ANALYSE and REPORT jobs; several images and one report are in work at once."""

import datetime
import logging
import socket
import threading
from collections.abc import Callable

from cxr_model.engine.choice import gpu_present
from cxr_model.engine.processors import usable_cores, usable_memory
from cxr_model.errors import ModelOutputError
from cxr_model.predict.choices import Device
from daemon.analyse.analyse_job import ImageAnalyser
from daemon.analyse.kept_headers import KeptHeaders
from daemon.analyse.pipeline import Pipeline
from daemon.analyse.reader.decoder_pool import DecoderLimits
from daemon.analyse.shared_lock import SharedLock
from daemon.config.sections.roles import AnalystConfig
from daemon.config.settings import Config
from daemon.errors import ROOM_ERRORS, DecoderError, ModelFailedError
from daemon.report.report_job import StudyReporter
from daemon.worker.backoff import Backoff
from daemon.worker.bell import Bell, BellListener, BellName, Waiter
from daemon.worker.board import ModelInUse, board_folder, publish_model
from daemon.worker.lease import Heartbeat
from daemon.worker.logs.redaction import unexpected
from daemon.worker.loop import Crew, Loop, from_now, seconds_until
from daemon.worker.memory import return_freed_memory
from daemon.worker.role import RoleContext, RoleName
from daemon.worker.shares import share_of_threads, share_of_workers
from daemon.worker.waits.counts import WaitCounts
from dicom_io.report.attribute_tables import reduce_tables
from storage.errors import (
    IntegrityError,
    LeaseLostError,
    OutOfSpaceError,
    SpoolError,
    SpoolUnavailableError,
    StorageError,
    StoreUnavailableError,
)
from storage.files.places import open_spool
from storage.files.spool import Spool
from storage.records import Job, JobKind
from storage.store import Store

log = logging.getLogger("analyst")
POLL_SECONDS = 2.0
"""The time between two looks at the queue if no bell rings."""
FEW_WORKERS = 8
"""So many images are in work at once on a host of any memory, if it has the cores."""
WORKER_BYTES = 512 << 20
"""Memory for each further image in work: its reader, its film and its objects."""
STORE_ERROR_BACKOFF = Backoff(2.0, 2.0)
"""The wait after an error of the store: it is full or unavailable."""

_RETRYABLE_ERRORS = (
    DecoderError,
    OutOfSpaceError,
    SpoolUnavailableError,
    StoreUnavailableError,
)
"""Errors that do not count as an attempt: the image did not cause them."""

_FILE_ERRORS = (IntegrityError, SpoolError)
"""Errors of one file, which may come back: no image is given up for them."""


class Analyst:
    """Does one job for each thread that calls it. All state is in the store and the spool."""

    def __init__(
        self, config: Config, worker: str, spool: Spool, store: Store, pipeline: Pipeline
    ) -> None:
        self._config = config.analyst
        self._worker = worker
        self._store = store
        headers = KeptHeaders(spool)
        self._handlers: dict[JobKind, ImageAnalyser | StudyReporter] = {
            JobKind.ANALYSE: ImageAnalyser(config, spool, store, pipeline, headers),
            JobKind.REPORT: StudyReporter(config, spool, store, pipeline.algorithm, headers),
        }
        self._lease = datetime.timedelta(seconds=config.analyst.lease_seconds)
        self._heartbeat = Heartbeat(store, self._lease, log)
        self._in_work = SharedLock()
        shortest = config.analyst.retry_seconds
        self._backoff = Backoff(shortest, 60 * shortest)
        # A volume is mounted, or a file restored, within minutes rather than seconds.
        self._file_backoff = Backoff(6 * shortest, 60 * shortest)
        self._bells = {
            JobKind.ANALYSE: Bell.of(config, BellName.REPORT, store),
            JobKind.REPORT: Bell.of(config, BellName.COURIER, store),
        }
        """The bell to ring after a job of this kind."""

    def work_once(self) -> bool:
        """Do the next analysis and the next report that are due. Return False if none is due.

        They alternate, so that a long queue of images does not delay the reports.
        """
        worked = [self.work(kind) for kind in self._handlers]
        return any(worked)

    def work(self, kind: JobKind) -> bool:
        """Do the next job of this kind that is due. Return False if none is due.

        Raises ModelFailedError if the model gave an output that is not a result: the job is parked.
        """
        with self._in_work.shared():
            job = self._store.jobs.claim((kind,), self._worker, self._lease)
            if job is None:
                return False
            self._work_on(job)
        # Also after a failure: the image may have been given up, and its report is due then.
        self._bells[kind].ring()
        return True

    def _work_on(self, job: Job) -> None:
        try:
            with self._heartbeat.renewing(job):
                if job.attempts > 1:
                    self._do_alone(job)
                else:
                    self._do(job)
        except LeaseLostError:
            log.warning("job %d was taken over by another worker; its result is kept", job.id)
        except ModelOutputError as error:
            raise self._model_failed(job, error) from error
        except Exception as error:  # noqa: BLE001 - one image must not stop the role
            self._failed(job, error)

    def _do_alone(self, job: Job) -> None:
        """Do a job that did not succeed before while no other is in work.

        If it ends the process, as by its memory, that counts as an attempt of no other job.
        """
        with self._in_work.exclusive() as is_alone:
            if is_alone:
                self._do(job)
            else:
                self._store.jobs.postpone(job, job.not_before)

    def seconds_until_due(self, kind: JobKind) -> float:
        """Return the seconds until the next job of this kind is due, at most POLL_SECONDS."""
        return seconds_until(self._store, self._store.jobs.next_due((kind,)), POLL_SECONDS)

    def _do(self, job: Job) -> None:
        handler = self._handlers[job.kind]
        if job.attempts > self._config.max_attempts:
            # No attempt recorded a failure: the image kills the process that reads it.
            handler.give_up(job, "the analysis stopped without an answer at every attempt")
        else:
            handler.run(job)

    def _model_failed(self, job: Job, error: ModelOutputError) -> ModelFailedError:
        """Park the job: neither a finding nor a reason is recorded, and the film is kept."""
        log.error("job %d is parked: %s", job.id, error)
        try:
            self._store.jobs.fail(job, str(error), None, audited=str(error))
        except StorageError as storage_error:
            log.error("job %d waits until its lease expires: %s", job.id, storage_error)
        return ModelFailedError(
            f"no film is analysed: {error}; job {job.id} is parked. Run `cxrd check`, set "
            "model.bundle to a bundle that passes it, restart `cxrd serve`, then run "
            f"`cxrd jobs retry {job.id}`"
        )

    def _failed(self, job: Job, error: Exception) -> None:
        # The text of an unexpected error may quote the header: it is neither stored nor logged.
        expected = isinstance(error, ROOM_ERRORS)
        reason = str(error) if expected else f"unexpected {type(error).__name__}"
        text = reason if expected else unexpected(error)
        log.error("job %d failed (attempt %d): %s", job.id, job.attempts, text)
        try:
            if isinstance(error, _RETRYABLE_ERRORS):
                self._store.jobs.postpone(
                    job, from_now(self._store, self._backoff.seconds(1)), reason
                )
            elif isinstance(error, _FILE_ERRORS):
                self._file_failed(job, reason)
            elif getattr(error, "retryable", True) and job.attempts < self._config.max_attempts:
                retry_at = from_now(self._store, self._backoff.seconds(job.attempts))
                self._store.jobs.fail(job, reason, retry_at)
            else:
                self._handlers[job.kind].give_up(job, reason)
        except StorageError as storage_error:
            log.error("job %d waits until its lease expires: %s", job.id, storage_error)

    def _file_failed(self, job: Job, reason: str) -> None:
        """Retry within minutes, then park: a retry ends the job when its file is back."""
        if job.attempts < self._config.max_attempts:
            retry_at = from_now(self._store, self._file_backoff.seconds(job.attempts))
            self._store.jobs.fail(job, reason, retry_at)
        else:
            self._handlers[job.kind].park(job, reason)
            log.error("job %d is parked: %s", job.id, reason)


def workers_of(config: AnalystConfig, device: str = Device.AUTO) -> int:
    """Return the number of images in work at once, which is also the most that this host claims.

    One more than there are cores: while one image waits for the disk, the others compute. With a
    GPU twice as many as there are cores, as images wait for it, too.
    """
    if config.workers:
        return config.workers
    cores = usable_cores()
    wanted = 2 * cores if device != Device.CPU and gpu_present() else cores + 1
    return max(1, min(wanted, max(FEW_WORKERS, usable_memory() // WORKER_BYTES)))


def _working(
    analyst: Analyst, kind: JobKind, stop: threading.Event, waiter: Waiter
) -> Callable[[], None]:
    """Return the loop of a thread that does the jobs of one kind."""

    def step() -> float:
        if not analyst.work(kind):
            wait()
        return 0.0

    def wait() -> None:
        """Wait for the bell or until a job is due, without a claim at each look."""
        left = POLL_SECONDS
        while left >= POLL_SECONDS and not stop.is_set():
            left = analyst.seconds_until_due(kind)
            if waiter.wait(left):
                return

    loop = Loop("the analyst waits", log, stop, STORE_ERROR_BACKOFF, StorageError)
    return lambda: loop.run(step)


def run(context: RoleContext) -> None:
    """Work until told to stop."""
    return_freed_memory()
    config = context.config
    model = config.model.model_copy(update={"threads": share_of_threads(config)})
    pipeline = Pipeline.open(model, DecoderLimits.of(config.analyst))
    publish_model(config, _in_use(pipeline))
    pipeline.warm_up()
    spool = open_spool(config.spool_place)
    waits = WaitCounts(board_folder(config), RoleName.ANALYST)
    with (
        Store.open(
            config.resolved_database_url, migrate=False, max_wait=config.priority.max_wait
        ) as store,
        BellListener(Bell.of(config, BellName.ANALYST, store), context.stop) as images,
        BellListener(Bell.of(config, BellName.REPORT, store), context.stop) as reports,
        waits,
    ):
        spool.expect(store.binding.spool_id())
        store.jobs.watch_claims(waits.add)
        analyst = Analyst(config, context.worker, spool, store, pipeline)
        workers = workers_of(config.analyst, config.model.device)
        work = {
            f"image {number}": _working(analyst, JobKind.ANALYSE, context.stop, images.waiter())
            for number in range(1, share_of_workers(config.analyst, workers) + 1)
        }
        reporting = _working(analyst, JobKind.REPORT, context.stop, reports.waiter())

        def report() -> None:
            # Here, because the start of the role need not wait for it.
            reduce_tables()
            reporting()

        work["report"] = report
        context.ready()
        Crew(context.stop).run(work)


def _in_use(pipeline: Pipeline) -> ModelInUse:
    model = pipeline.algorithm
    return ModelInUse(
        host=socket.gethostname(),
        name=model.name,
        version=model.version,
        sha256=model.sha256,
        engine=pipeline.engine,
        difference=pipeline.reference_difference,
        loaded_at=datetime.datetime.now(datetime.UTC),
    )
