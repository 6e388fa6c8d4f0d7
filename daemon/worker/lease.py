"""The leases on claimed jobs, renewed while the workers of this process work on them."""

import datetime
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from daemon.worker.logs.redaction import error_text
from storage.errors import LeaseLostError
from storage.records import Job
from storage.store import Store

_LOST = "job %d: lease not renewed: it was given to another worker"


class Lease:
    """The lease of one worker on one job."""

    def __init__(
        self,
        store: Store,
        job: Job,
        duration: datetime.timedelta,
        log: logging.Logger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._job = job
        self._duration = duration
        self._log = log
        self._clock = clock
        self._interval = duration.total_seconds() / 3
        self._renewed = clock()

    def renew(self) -> None:
        """Renew the lease. Raises LeaseLostError if another worker has the job, StorageError."""
        if not self._store.jobs.heartbeat(self._job, self._duration):
            raise LeaseLostError(f"job {self._job.id} was given to another worker")

    def on_progress(self) -> None:
        """Renew the lease if a third of it has passed. An error is only logged."""
        if self._clock() - self._renewed < self._interval:
            return
        self._renewed = self._clock()
        if not _renew(self._store, self._job, self._duration, self._log):
            self._log.warning(_LOST, self._job.id)


class Heartbeat:
    """One thread that renews the leases of all jobs that the threads of this process work on.

    It runs while there are such jobs, and ends some time after the last.
    """

    def __init__(self, store: Store, duration: datetime.timedelta, log: logging.Logger) -> None:
        self._store = store
        self._duration = duration
        self._log = log
        self._lock = threading.Lock()
        self._jobs: set[Job] = set()
        self._is_beating = False

    @contextmanager
    def renewing(self, job: Job) -> Iterator[None]:
        """Renew the lease of a job just claimed during the block. An error is only logged."""
        with self._lock:
            self._jobs.add(job)
            if not self._is_beating:
                self._is_beating = True
                threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                self._jobs.discard(job)

    def _beat(self) -> None:
        lost: set[Job] = set()
        while True:
            time.sleep(self._duration.total_seconds() / 3)
            with self._lock:
                jobs = tuple(self._jobs)
                if not jobs:
                    self._is_beating = False
                    return
            for job in jobs:
                # A job that has just ended holds no lease, and is soon no longer among the jobs.
                if job in lost and job in self._jobs:
                    self._log.warning(_LOST, job.id)
                elif job in self._jobs and not _renew(self._store, job, self._duration, self._log):
                    lost.add(job)
            with self._lock:
                lost &= self._jobs


def _renew(store: Store, job: Job, duration: datetime.timedelta, log: logging.Logger) -> bool:
    """Renew a lease; return False if the job holds none. An error is only logged."""
    try:
        return store.jobs.heartbeat(job, duration)
    except Exception as error:  # noqa: BLE001 - the thread of the heartbeat renews all leases
        log.warning("job %d: lease not renewed: %s", job.id, error_text(error))
        return True
