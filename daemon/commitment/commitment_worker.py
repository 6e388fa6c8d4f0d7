"""Storage commitment in the courier: sends requests to an archive, and answers to a peer.

One thread per peer, beside the thread of the deliveries: an archive that is slow to commit, or a
modality that cannot be called back, delays no delivery and no other peer.
"""

import datetime
import logging
from collections import Counter
from collections.abc import Callable, Collection

from daemon.commitment.answers import Answering, kept_as, settle_answer, take_answer
from daemon.config.peers import PeerConfig
from daemon.worker.backoff import Backoff
from daemon.worker.loop import Loop, from_now
from daemon.worker.peer_queue import PeerQueue
from daemon.worker.role import RoleContext
from dicom_io.commitment.messages import (
    CommitmentAnswer,
    CommitmentRequest,
    FailureReason,
    MessageStatus,
    failure_text,
    new_transaction_uid,
)
from dicom_io.commitment.scu import CommitmentSession, send_answer
from dicom_io.errors import AssociationError
from dicom_io.send.association import Destination
from storage.errors import LeaseLostError, StorageError
from storage.files.spool import Spool
from storage.records import CommitmentOrder, CommitmentStep, Job, JobKind
from storage.store import Store

log = logging.getLogger("commitment")
POLL_SECONDS = 1.0
"""The time between two looks at the queue if no bell rings."""
LONGEST_WAIT = 8.0
"""The longest wait for an answer, as a multiple of the first wait."""

_RETRYABLE = frozenset({MessageStatus.PROCESSING_FAILURE, MessageStatus.RESOURCE_LIMITATION})

# The archive has the request already: its response was lost.
_ALREADY_REQUESTED = frozenset({FailureReason.DUPLICATE_TRANSACTION, 0x0210})


class CommitmentWorker:
    """Sends the requests to one peer and the answers to it, one after another."""

    lease_margin_seconds = 60.0
    """Added to the network timeouts."""

    def __init__(
        self,
        context: RoleContext,
        peer: PeerConfig,
        destination: Destination,
        spool: Spool,
        store: Store,
        answering: Answering | None = None,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """Workers that share `answering` take turns. `wait` waits for work, so many seconds."""
        self._stop = context.stop
        self._wait = wait or context.stop.wait
        self._config = config = context.config
        self._name = peer.name
        self._destination = destination
        self._peer = peer
        self._store = store
        self._answering = answering or Answering(config, store, spool)
        backoff = Backoff(config.courier.retry_seconds, config.courier.retry_max_seconds)
        self._loop = Loop(peer.name, log, context.stop, backoff)
        self._answer_backoff = Backoff(
            config.commitment.answer_seconds, LONGEST_WAIT * config.commitment.answer_seconds
        )
        lease = 4 * config.courier.network_timeout_seconds + self.lease_margin_seconds
        self._queue = PeerQueue(
            store,
            peer.name,
            (JobKind.COMMIT, JobKind.ANSWER),
            context.worker,
            datetime.timedelta(seconds=lease),
            log,
        )
        # False once the archive has answered on another association: then we do not wait on ours.
        self._answers_on_same_association = True

    def run(self) -> None:
        """Send requests and answers until told to stop."""
        self._loop.run(self._work_off_due, self._queue.last_retry)

    def _work_off_due(self) -> float:
        """Do the jobs that are due until one fails, else wait for work. Return the backoff."""
        while not self._stop.is_set():
            job = self._queue.claim()
            if job is None:
                break
            try:
                if job.kind is JobKind.COMMIT:
                    self._request(job)
                else:
                    self._answer(job)
                self._loop.succeeded()
            except LeaseLostError:
                log.warning("%s: job %d was taken over by another worker", self._name, job.id)
            except StorageError as error:
                wait = self._loop.next_wait()
                self._queue.postpone(job, str(error), wait, logging.ERROR)
                return wait
            except AssociationError as error:
                return self._association_failed(job, error)
        self._wait(self._queue.seconds_until_due(POLL_SECONDS))
        return 0.0

    def _request(self, job: Job) -> None:
        step = self._store.commitments.next_step(job, new_transaction_uid())
        if step.unanswered:
            self._answers_on_same_association = True
            if job.attempts >= self._config.commitment.max_requests:
                self._queue.park(
                    job, f"{self._name} answered none of {job.attempts} requests in time"
                )
                return
        if step.order is not None:
            self._send(job, step, step.order)
        elif step.answer_by is not None:
            self._store.jobs.postpone(job, step.answer_by)
        elif step.refused:
            reason = f"{self._name} does not commit to {_counts_by_reason(step.refused)}"
            self._store.commitments.give_up(job, reason)
            log.error("%s: job %d is parked: %s", self._name, job.id, reason)
        else:
            self._store.jobs.finish(job)

    def _send(self, job: Job, step: CommitmentStep, order: CommitmentOrder) -> None:
        request = CommitmentRequest(
            order.transaction_uid,
            tuple(kept_as(instance) for instance in order.instances),
        )
        with CommitmentSession(self._destination, self._take_answer) as session:
            status = session.send(request)
            if status is None:
                raise AssociationError(f"{self._name} gave no response", retryable=True)
            if status in _RETRYABLE:
                raise AssociationError(
                    f"{self._name} cannot take the request for commitment now: status "
                    f"0x{status:04X}",
                    retryable=True,
                )
            if status != MessageStatus.SUCCESS and status not in _ALREADY_REQUESTED:
                self._queue.park(
                    job, f"{self._name} refused the request for commitment: status 0x{status:04X}"
                )
                return
            self._record_sent(job, step, order)
            if self._answers_on_same_association:
                self._answers_on_same_association = session.wait(
                    order.transaction_uid, self._config.commitment.same_association_seconds
                )

    def _record_sent(self, job: Job, step: CommitmentStep, order: CommitmentOrder) -> None:
        seconds = self._answer_backoff.seconds(job.attempts + 1 if step.unanswered else 1)
        answer_by = from_now(self._store, seconds)
        self._store.commitments.record_sent(order.transaction_uid, answer_by)
        log.info("%s is asked to commit to %d object(s)", self._name, len(order.instances))
        if step.unanswered:
            reason = f"{self._name} did not answer in time; it was asked again"
            self._store.jobs.fail(job, reason, answer_by)
            log.warning("%s", reason)
        else:
            self._store.jobs.postpone(job, answer_by)

    def _take_answer(self, answer: CommitmentAnswer) -> MessageStatus:
        return take_answer(answer, {self._name}, self._store, self._config)

    def _answer(self, job: Job) -> None:
        answer = self._answering.answer_to(job, self._peer, self._queue.lease(job))
        status = send_answer(self._destination, answer)
        if status is None:
            raise AssociationError(f"{self._name} gave no response", retryable=True)
        if status in _RETRYABLE:
            raise AssociationError(
                f"{self._name} cannot take the answer now: status 0x{status:04X}", retryable=True
            )
        settle_answer(job, status, self._name, self._store)

    def _association_failed(self, job: Job, error: AssociationError) -> float:
        wait = self._loop.next_wait()
        if error.retryable:
            self._queue.postpone(job, str(error), wait)
        else:
            self._queue.park(job, str(error))
        return wait


def _counts_by_reason(reasons: Collection[int]) -> str:
    counts = Counter(failure_text(reason) for reason in reasons)
    return ", ".join(f"{count} object(s): {text}" for text, count in sorted(counts.items()))
