"""The lease on a claimed job, renewed while a worker works on the job."""

import datetime
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from storage.errors import LeaseLostError, StorageError
from storage.records import Job
from storage.store import Store


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
        if self._clock() - self._renewed >= self._interval:
            self._renewed = self._clock()
            self._renew_or_log()

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Renew the lease from a thread in the background. An error is only logged."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(self._interval):
                self._renew_or_log()

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _renew_or_log(self) -> None:
        try:
            self.renew()
        except StorageError as error:
            self._log.warning("job %d: lease not renewed: %s", self._job.id, error)
