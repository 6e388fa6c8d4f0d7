"""The jobs queued for one peer."""

import datetime
import logging
from collections.abc import Collection, Iterable

from daemon.worker.lease import Lease
from daemon.worker.logs.redaction import redact
from daemon.worker.loop import from_now, seconds_until
from storage.errors import StorageError
from storage.records import Job, JobKind
from storage.store import Store


class PeerQueue:
    """Claims the jobs for one peer; queues a failed job again, or parks it."""

    def __init__(
        self,
        store: Store,
        peer: str,
        kinds: Collection[JobKind],
        worker: str,
        lease: datetime.timedelta,
        log: logging.Logger,
    ) -> None:
        self._store = store
        self._peer = peer
        self._kinds = kinds
        self._worker = worker
        self._lease = lease
        self._log = log

    def claim(self) -> Job | None:
        """Claim the job that has been due longest, if any."""
        return self._store.jobs.claim(self._kinds, self._worker, self._lease, self._peer)

    def claim_some(self, limit: int) -> dict[Job, Lease]:
        """Claim the jobs that have been due longest, so many at most, with their leases."""
        claimed = self._store.jobs.claim_some(
            self._kinds, self._worker, self._lease, limit, self._peer
        )
        return {job: self.lease(job) for job in claimed}

    def give_back(self, claimed: Iterable[Job]) -> None:
        """Queue jobs again that were claimed and not begun. An error is only logged."""
        for job in claimed:
            try:
                self._store.jobs.postpone(job, job.not_before)
            except StorageError as error:
                self._log.warning("job %d waits until its lease expires: %s", job.id, error)

    def seconds_until_due(self, longest: float) -> float:
        """Return the seconds until the next of these jobs is due, at most `longest`."""
        return seconds_until(
            self._store, self._store.jobs.next_due(self._kinds, self._peer), longest
        )

    def last_retry(self) -> datetime.datetime | None:
        """Return when an operator last queued one of these jobs again that is still due."""
        return self._store.jobs.last_retry(self._kinds, self._peer)

    def lease(self, job: Job) -> Lease:
        """Return the lease on a job just claimed."""
        return Lease(self._store, job, self._lease, self._log)

    def retry(self, job: Job, reason: str, seconds: float) -> None:
        """Queue the job again, due in `seconds`. The attempt counts. Raises LeaseLostError."""
        self._store.jobs.fail(job, reason, from_now(self._store, seconds))
        self._log_wait(logging.WARNING, reason, seconds)

    def postpone(self, job: Job, reason: str, seconds: float, level: int = logging.WARNING) -> None:
        """Queue the job again, due in `seconds`. No attempt counts. Raises LeaseLostError.

        `level` is that of the log line: ERROR for a fault of this node, not of the peer.
        """
        self._store.jobs.postpone(job, from_now(self._store, seconds), reason)
        self._log_wait(level, reason, seconds)

    def park(self, job: Job, reason: str) -> None:
        """Park the job until an operator retries or discards it. Raises LeaseLostError."""
        self._store.jobs.fail(job, reason, retry_at=None, audited=redact(reason))
        self._log.error(
            "%(peer)s: job %(job)d is parked: %(reason)s",
            {"peer": self._peer, "job": job.id, "reason": redact(reason)},
        )

    def _log_wait(self, level: int, reason: str, seconds: float) -> None:
        text = redact(reason)
        self._log.log(
            level,
            "%(peer)s: %(reason)s; the next try is in %(seconds).1f s",
            {"peer": self._peer, "reason": text, "seconds": seconds},
        )
