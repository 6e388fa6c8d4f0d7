"""Workitems of one manager: looks for new ones, and performs those taken up.

One thread per manager in the courier: a manager that is down or slow delays no other, and no
delivery.
"""

import datetime
import logging
import time
from collections.abc import Callable

from daemon.config.partners.worklist import WorklistConfig
from daemon.worker.backoff import Backoff
from daemon.worker.loop import Loop
from daemon.worker.peer_queue import PeerQueue
from daemon.worker.role import RoleContext
from daemon.worklist.inputs import Inputs
from daemon.worklist.outputs import Keeper
from daemon.worklist.performer import Performer
from daemon.worklist.search import Search
from dicom_io.ups.errors import ManagerUnreachableError, WorklistError
from dicom_io.ups.manager import WorklistManager
from dicom_io.ups.workitems import Code
from storage.errors import LeaseLostError, StorageError
from storage.files.spool import Spool
from storage.records import Job, JobKind
from storage.store import Store

log = logging.getLogger("worklist")

POLL_SECONDS = 1.0
"""The time between two looks at the queue if no bell rings."""


class WorklistWorker:
    """Finds and performs the workitems of one manager, one after another."""

    lease_margin_seconds = 60.0
    """Added to the network timeouts of the messages for one workitem."""

    max_attempts = 10
    """A workitem is parked after this many runs that a malformed answer or a refusal ended."""

    def __init__(
        self,
        context: RoleContext,
        worklist: WorklistConfig,
        connect: Callable[[], WorklistManager],
        keepers: tuple[Keeper, ...],
        spool: Spool,
        store: Store,
        inputs: Inputs,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """`connect` opens the manager; `wait` waits for work, so many seconds."""
        config = context.config
        self._name = worklist.name
        self._search_seconds = worklist.poll_seconds
        self._connect = connect
        self._store = store
        self._stop = context.stop
        self._wait = wait or context.stop.wait
        self._backoff = Backoff(config.courier.retry_seconds, config.courier.retry_max_seconds)
        self._loop = Loop(worklist.name, log, context.stop, self._backoff)
        lease = 6 * config.courier.network_timeout_seconds + self.lease_margin_seconds
        self._queue = PeerQueue(
            store,
            worklist.name,
            (JobKind.PERFORM,),
            context.worker,
            datetime.timedelta(seconds=lease),
            log,
        )
        title = config.listener.ae_title
        station = Code(title, "99CXRD", title)
        self._search = Search(worklist, store)
        self._performer = Performer(worklist, keepers, station, spool, store, self._queue, inputs)

    def run(self) -> None:
        """Find and perform workitems until told to stop."""
        self._loop.run(self._work, self._queue.last_retry)

    def _work(self) -> float:
        """Look for workitems when it is time, and perform those that are due.

        Return the seconds to wait after a failure, else 0.
        """
        try:
            is_turn = self._search.take_turn()
            job = self._queue.claim()
            if is_turn or job is not None:
                wait = self._visit(job, is_turn=is_turn)
                if wait > 0:
                    return wait
        except WorklistError as error:
            # Raised by the search, or before the first workitem.
            self._store.workitems.note_answer(self._name, str(error))
            wait = self._loop.next_wait()
            log.warning("%s: %s; the next try is in %.1f s", self._name, error, wait)
            return wait
        self._wait(self._queue.seconds_until_due(POLL_SECONDS))
        return 0.0

    def _visit(self, job: Job | None, *, is_turn: bool) -> float:
        """Perform due jobs and search, on one connection. Return the backoff after a failure.

        Jobs that are due again and again do not keep the worker from the next search.
        """
        until = time.monotonic() + self._search_seconds
        try:
            with self._connect() as manager:
                while job is not None and not self._stop.is_set():
                    wait = self._perform(job, manager)
                    job = None
                    if wait > 0:
                        return wait
                    job = self._queue.claim() if time.monotonic() < until else None
                if is_turn:
                    self._search.run(manager)
                    self._loop.succeeded()
        except WorklistError as error:
            if job is None:
                raise
            return self._failed(job, error)
        finally:
            if job is not None and self._stop.is_set():
                self._queue.give_back([job])
        return 0.0

    def _perform(self, job: Job, manager: WorklistManager) -> float:
        try:
            self._performer.perform(job, manager)
            self._loop.succeeded()
        except LeaseLostError:
            log.warning("%s: job %d was taken over by another worker", self._name, job.id)
        except StorageError as error:
            wait = self._loop.next_wait()
            self._queue.postpone(job, str(error), wait, logging.ERROR)
            return wait
        except WorklistError as error:
            return self._failed(job, error)
        return 0.0

    def _failed(self, job: Job, error: WorklistError) -> float:
        """Retry or park the job. Return the seconds for which the manager is left alone.

        A manager that cannot be reached costs no attempt: it may be down for a night. After a bad
        answer about this workitem the next one is done.
        """
        self._store.workitems.note_answer(self._name, str(error))
        if isinstance(error, ManagerUnreachableError):
            wait = self._loop.next_wait()
            self._queue.postpone(job, str(error), wait)
            return wait
        if job.attempts < self.max_attempts:
            self._queue.retry(job, str(error), self._backoff.seconds(job.attempts))
        else:
            self._queue.park(job, str(error))
        return 0.0
