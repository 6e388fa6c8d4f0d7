"""Fetches studies from one archive, in the courier: the RETRIEVE jobs in the lane of the peer."""

import datetime
import logging
from collections.abc import Callable

from daemon.config.partners.query import QueryConfig, RetrieveService
from daemon.config.peers import PeerConfig
from daemon.receive.reception import Reception
from daemon.retrieve.archives import Archive, open_archive
from daemon.retrieve.pace import Pace
from daemon.retrieve.prior_search import order_priors
from daemon.worker.backoff import Backoff
from daemon.worker.bell import Bell, BellName
from daemon.worker.lease import Lease
from daemon.worker.loop import Loop
from daemon.worker.peer_queue import PeerQueue
from daemon.worker.role import RoleContext
from dicom_io.errors import AssociationError, QueryError
from dicom_io.query.retrieval import Retrieved
from dicom_io.query.statuses import Outcome
from dicom_io.receive.store_request import ReceivedInstance
from storage.errors import LeaseLostError, StorageError
from storage.files.spool import Spool
from storage.records import PRIORS_OF, Job, JobKind, Priority, Receipt, StudyKey
from storage.store import Store

log = logging.getLogger("retrieve")
POLL_SECONDS = 1.0
"""The time between two looks at the queue if no bell rings."""


class RetrieveWorker:
    """Fetches the studies queued for one archive, one after another.

    Each job compares the films that the archive has with those that are kept here, and fetches
    what is missing. A job that ends half way, whatever the cause, is done again in the same way.
    """

    lease_margin_seconds = 60.0
    """Added to the network timeouts."""

    def __init__(
        self,
        context: RoleContext,
        peer: PeerConfig,
        spool: Spool,
        store: Store,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """`wait` waits for work, so many seconds; by default only `stop` ends the wait early."""
        self._stop = context.stop
        self._wait = wait or context.stop.wait
        self._config = config = context.config
        self._peer = peer
        self._query = peer.query or QueryConfig()
        self._store = store
        self._backoff = Backoff(config.courier.retry_seconds, config.courier.retry_max_seconds)
        self._loop = Loop(peer.name, log, context.stop, self._backoff)
        self._pace = Pace(config.pull, store)
        lease = 3 * config.courier.network_timeout_seconds + self.lease_margin_seconds
        self._queue = PeerQueue(
            store,
            peer.name,
            (JobKind.RETRIEVE,),
            context.worker,
            datetime.timedelta(seconds=lease),
            log,
        )
        self._analyst = Bell.of(config, BellName.ANALYST, store)
        self._reception = Reception(
            spool,
            store,
            config.study.quiet_seconds,
            lambda _title, _host: peer.effective_source,
            self._ring,
            ordered=self._priority_of,
        )

    def run(self) -> None:
        """Fetch until told to stop."""
        self._loop.run(self._fetch_due, self._queue.last_retry)

    def _fetch_due(self) -> float:
        """Fetch the studies that are due and may be fetched. Return the backoff."""
        while not self._stop.is_set() and self._may_fetch():
            job = self._queue.claim()
            if job is None:
                break
            if job.priority == Priority.BACKFILL:
                self._pace.fetched()
            try:
                self._fetch(job, self._queue.lease(job))
                self._loop.succeeded()
            except LeaseLostError:
                log.warning("%s: job %d was taken over by another worker", self._peer.name, job.id)
            except StorageError as error:
                wait = self._loop.next_wait()
                self._queue.postpone(job, str(error), wait, logging.ERROR)
                return wait
            except (AssociationError, QueryError) as error:
                return self._archive_failed(job, error)
        self._wait(self._queue.seconds_until_due(POLL_SECONDS) or POLL_SECONDS)
        return 0.0

    def _may_fetch(self) -> bool:
        return self._store.retrievals.has_urgent(self._peer.name) or self._pace.may_fetch()

    def _fetch(self, job: Job, lease: Lease) -> None:
        def should_stop() -> bool:
            lease.on_progress()
            return self._stop.is_set()

        study = job.subject.partition("@")[0]
        if study.startswith(PRIORS_OF):
            uid = study.removeprefix(PRIORS_OF)
            ordered = order_priors(self._config, self._store, self._peer, uid, should_stop)
            self._store.jobs.finish(job)
            log.info("%s: job %d: %d earlier study(ies) ordered", self._peer.name, job.id, ordered)
            return
        archive = open_archive(self._config, self._peer, self._reception.receive, should_stop)
        with archive as opened:
            self._fetch_missing(job, study, opened)

    def _fetch_missing(self, job: Job, study: str, archive: Archive) -> None:
        key = StudyKey(self._peer.effective_source, study)
        films = archive.find_films(study)
        if not films:
            self._queue.park(job, f"{self._peer.name} has no film of this study")
            return
        kept = self._store.retrievals.kept(key)
        missing = [film for film in films if film.sop_instance_uid not in kept]
        if not missing:
            self._done(job, 0, len(films))
            return
        result = archive.retrieve(study, missing)
        kept = self._store.retrievals.kept(key)
        left = sum(film.sop_instance_uid not in kept for film in missing)
        if not left:
            self._done(job, len(missing), len(films))
        elif result.outcome is Outcome.CANCELLED:
            self._store.jobs.postpone(job, job.not_before)
        else:
            self._incomplete(job, result, left, len(missing))

    def _done(self, job: Job, fetched: int, films: int) -> None:
        self._store.jobs.finish(job)
        log.info("%s: job %d: %d of %d film(s) fetched", self._peer.name, job.id, fetched, films)

    def _incomplete(self, job: Job, result: Retrieved, left: int, missing: int) -> None:
        """Retry or park a study of which films are missing after its retrieval."""
        if result.outcome is Outcome.REFUSED:
            self._queue.park(job, result.detail)
            return
        reason = result.detail or self._not_arrived(left, missing)
        is_last = job.attempts >= self._config.pull.max_attempts
        if is_last and result.outcome is not Outcome.RETRY:
            self._queue.park(job, reason)
        else:
            self._queue.retry(job, reason, self._backoff.seconds(job.attempts))

    def _not_arrived(self, left: int, missing: int) -> str:
        title = self._config.listener.ae_title
        is_move = self._query.retrieve is RetrieveService.MOVE
        remedy = f": check the address and port of {title} there" if is_move else ""
        return (
            f"{self._peer.name} said that it sent all, and {left} of {missing} film(s) are not here"
            f"{remedy}"
        )

    def _archive_failed(self, job: Job, error: AssociationError | QueryError) -> float:
        wait = self._loop.next_wait()
        if self._stop.is_set():
            self._store.jobs.postpone(job, job.not_before)
        elif error.retryable:
            self._queue.postpone(job, str(error), wait)
        else:
            self._queue.park(job, str(error))
        return wait

    def _priority_of(self, received: ReceivedInstance) -> Priority | None:
        study = received.header.study_instance_uid
        return self._store.retrievals.film_priority(self._peer.name, study)

    def _ring(self, _: Receipt) -> None:
        self._analyst.ring()
