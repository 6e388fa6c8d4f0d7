"""Storage commitment in the courier: asks archives, and answers peers that asked us.

A thread per peer, beside the one that delivers: an archive that is slow to commit, or a modality
that cannot be called back, delays no delivery and no other peer.
"""

import datetime
import logging
import random
from collections import Counter
from collections.abc import Collection

from daemon.commitment.answers import answer_to, sent_as, settle_answer, take_answer
from daemon.config.peers import PeerConfig
from daemon.worker.loop import Backoff
from daemon.worker.redaction import redact, unexpected
from daemon.worker.role import RoleContext
from dicom_io.commitment.messages import (
    CommitmentAnswer,
    CommitmentRequest,
    FailureReason,
    MessageStatus,
    failure_text,
    new_transaction_uid,
)
from dicom_io.commitment.scu import CommitmentSession, report
from dicom_io.errors import AssociationError
from dicom_io.send.association import Destination
from storage.errors import LeaseLostError, StorageError
from storage.files.spool import Spool
from storage.records import CommitmentOrder, CommitmentStep, Job, JobKind
from storage.store import Store

log = logging.getLogger("commitment")

POLL_SECONDS = 0.25

LEASE_MARGIN_SECONDS = 60.0

LONGEST_WAIT = 8.0
"""An answer is waited for at most this many times longer than at first."""

_PASSING = frozenset({MessageStatus.PROCESSING_FAILURE, MessageStatus.RESOURCE_LIMITATION})

# The archive has the request already: its response to it was lost.
_KNOWN_THERE = frozenset({FailureReason.DUPLICATE_TRANSACTION, 0x0210})


class CommitmentLane:
    """Requests to one peer, and answers to it, one after another."""

    def __init__(
        self,
        context: RoleContext,
        peer: PeerConfig,
        destination: Destination,
        spool: Spool,
        store: Store,
        rng: random.Random,
    ) -> None:
        self._context = context
        self._config = config = context.config
        self._name = peer.name
        self._destination = destination
        self._spool = spool
        self._store = store
        self._rng = rng
        self._backoff = Backoff(config.courier.retry_seconds, config.courier.retry_max_seconds)
        self._patience = Backoff(
            config.commitment.answer_seconds, LONGEST_WAIT * config.commitment.answer_seconds
        )
        self._lease = datetime.timedelta(
            seconds=4 * config.courier.network_timeout_seconds + LEASE_MARGIN_SECONDS
        )
        self._failures = 0
        # An archive that once answered elsewhere is not waited for on our own association.
        self._answers_at_once = True

    def run(self) -> None:
        """Work until told to stop; a store that cannot be reached is tried again."""
        while not self._context.stop.is_set():
            try:
                wait = self._do_what_is_due()
            except StorageError as error:
                log.error("%s: %s", self._name, error)
                wait = self._next_wait()
            except Exception as error:  # noqa: BLE001 - it must not end the lane
                # Its job, if there is one, is tried again when its lease has run out.
                log.error("%s: %s", self._name, unexpected(error))
                wait = self._next_wait()
            self._context.stop.wait(wait)

    def _do_what_is_due(self) -> float:
        while not self._context.stop.is_set():
            job = self._store.jobs.claim(
                (JobKind.COMMIT, JobKind.ANSWER), self._context.worker, self._lease, self._name
            )
            if job is None:
                break
            try:
                if job.kind is JobKind.COMMIT:
                    self._ask(job)
                else:
                    self._answer(job)
                self._failures = 0
            except LeaseLostError:
                log.warning("%s: job %d was taken over by another worker", self._name, job.id)
            except StorageError as error:
                return self._put_off(job, str(error))
            except AssociationError as error:
                return self._failed(job, error)
        return POLL_SECONDS

    def _ask(self, job: Job) -> None:
        step = self._store.commitments.next_step(job, new_transaction_uid())
        if step.unanswered:
            self._answers_at_once = True
            if job.attempts >= self._config.commitment.max_requests:
                self._park(job, f"{self._name} answered none of {job.attempts} requests in time")
                return
        if step.order is not None:
            self._send(job, step, step.order)
        elif step.answer_by is not None:
            self._store.jobs.postpone(job, step.answer_by)
        elif step.refused:
            reason = f"{self._name} does not commit to {_in_words(step.refused)}"
            self._store.commitments.give_up(job, reason)
            log.error("%s: job %d is parked: %s", self._name, job.id, reason)
        else:
            self._store.jobs.finish(job)

    def _send(self, job: Job, step: CommitmentStep, order: CommitmentOrder) -> None:
        request = CommitmentRequest(
            order.transaction_uid,
            tuple(sent_as(one) for one in order.instances),
        )
        with CommitmentSession(self._destination, self._take_answer) as session:
            status = session.ask(request)
            if status is None:
                raise AssociationError(f"{self._name} gave no response", retryable=True)
            if status in _PASSING:
                raise AssociationError(
                    f"{self._name} cannot take the request for commitment now: status "
                    f"0x{status:04X}",
                    retryable=True,
                )
            if status != MessageStatus.SUCCESS and status not in _KNOWN_THERE:
                self._park(
                    job, f"{self._name} refused the request for commitment: status 0x{status:04X}"
                )
                return
            self._sent(job, step, order)
            if self._answers_at_once:
                self._answers_at_once = session.wait(
                    order.transaction_uid, self._config.commitment.same_association_seconds
                )

    def _sent(self, job: Job, step: CommitmentStep, order: CommitmentOrder) -> None:
        seconds = self._patience.seconds(job.attempts + 1 if step.unanswered else 1, self._rng)
        answer_by = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
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
        answer = answer_to(job, self._lease, self._store, self._spool)
        status = report(self._destination, answer)
        if status is None:
            raise AssociationError(f"{self._name} gave no response", retryable=True)
        if status in _PASSING:
            raise AssociationError(
                f"{self._name} cannot take the answer now: status 0x{status:04X}", retryable=True
            )
        settle_answer(job, status, self._name, self._store)

    def _park(self, job: Job, reason: str) -> None:
        self._store.jobs.fail(job, reason, None, audited=redact(reason))
        log.error("%s: job %d is parked: %s", self._name, job.id, redact(reason))

    def _failed(self, job: Job, error: AssociationError) -> float:
        if not error.retryable:
            self._park(job, str(error))
            return self._next_wait()
        return self._put_off(job, str(error))

    def _put_off(self, job: Job, reason: str) -> float:
        wait = self._next_wait()
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=wait)
        self._store.jobs.postpone(job, until, reason)
        log.warning("%s: %s; the next try is in %.1f s", self._name, redact(reason), wait)
        return wait

    def _next_wait(self) -> float:
        self._failures += 1
        return self._backoff.seconds(self._failures, self._rng)


def _in_words(reasons: Collection[int]) -> str:
    counts = Counter(failure_text(reason) for reason in reasons)
    return ", ".join(f"{count} object(s): {text}" for text, count in sorted(counts.items()))
