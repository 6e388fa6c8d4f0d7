"""Deliveries to one destination."""

import datetime
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack

from daemon.config.routing import Receiver
from daemon.deliver.channels.channel import Channel
from daemon.deliver.channels.opening import channel_to
from daemon.deliver.routes import refusal, why_object_stays
from daemon.errors import ChannelError
from daemon.worker.backoff import Backoff
from daemon.worker.bell import Bell, BellName
from daemon.worker.lease import Lease
from daemon.worker.loop import Loop
from daemon.worker.peer_queue import PeerQueue
from daemon.worker.role import RoleContext
from dicom_io.send.store_status import Disposition
from storage.errors import SpoolUnavailableError, StorageError
from storage.files.spool import Spool
from storage.records import Job, JobKind, PendingDelivery
from storage.store import Store

log = logging.getLogger("courier")
POLL_SECONDS = 1.0
"""The time between two looks at the queue if no bell rings."""
IDLE_SECONDS = 1.0
"""The time for which the channel stays open after a delivery."""


class DeliveryWorker:
    """Delivers the objects queued for one destination, in the order of the queue."""

    max_reads = 10
    """A delivery is parked after this many attempts to read its object."""

    max_looks = 6
    """A delivery is parked after this many looks for an object that is missing or altered."""

    max_unmatched = 10
    """A delivery is parked after this many attempts whose response answered another request."""

    lease_margin_seconds = 30.0
    """Added to the network timeouts, so that a slow delivery keeps its lease."""

    claimed_together = 8
    """The most deliveries that one transaction claims."""

    def __init__(
        self,
        context: RoleContext,
        receiver: Receiver,
        spool: Spool,
        store: Store,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """`wait` waits for work, so many seconds; by default only `stop` ends the wait early."""
        config = context.config
        self._stop = context.stop
        self._wait = wait or context.stop.wait
        self._bell = Bell.of(config, BellName.COURIER, store)
        self._channel = channel_to(config, receiver)
        self._opened = ExitStack()
        self._leases: dict[Job, Lease] = {}
        self._name = receiver.name
        self._routing = config.routing
        self._spool = spool
        self._store = store
        self._backoff = Backoff(config.courier.retry_seconds, config.courier.retry_max_seconds)
        self._longest_wait = config.courier.retry_max_seconds
        self._loop = Loop(receiver.name, log, context.stop, self._backoff)
        lease = 3 * config.courier.network_timeout_seconds + self.lease_margin_seconds
        self._queue = PeerQueue(
            store,
            receiver.name,
            (JobKind.DELIVER,),
            context.worker,
            datetime.timedelta(seconds=lease),
            log,
        )
        self._commit_after = (
            datetime.timedelta(seconds=config.commitment.delay_seconds)
            if receiver.commitment
            else None
        )

    def run(self) -> None:
        """Deliver until told to stop."""
        self._loop.run(self._deliver_due, self._queue.last_retry)

    def _deliver_due(self) -> float:
        """Deliver until no job is due for a while or the destination fails. Return the backoff.

        One channel is used for the deliveries of a burst, and ends some time after the last.
        """
        try:
            idle_at = time.monotonic() + IDLE_SECONDS
            while not self._stop.is_set():
                self._leases = self._queue.claim_some(self.claimed_together)
                if self._leases:
                    wait = self._deliver_claimed()
                    if wait > 0:
                        return wait
                    idle_at = time.monotonic() + IDLE_SECONDS
                    continue
                if not self._channel.is_open or time.monotonic() >= idle_at:
                    break
                self._wait(self._queue.seconds_until_due(POLL_SECONDS))
        finally:
            self._close()
        self._wait(self._queue.seconds_until_due(POLL_SECONDS))
        return 0.0

    def _deliver_claimed(self) -> float:
        """Deliver the claimed objects. Return the seconds to wait after a failure, else 0."""
        try:
            while self._leases and not self._stop.is_set():
                job = next(iter(self._leases))
                try:
                    self._deliver(job, self._open())
                except ChannelError as error:
                    return self._channel_failed(job, error)
                except SpoolUnavailableError as error:
                    # No object can be read: this was no attempt, and all deliveries wait.
                    wait = self._backoff.seconds(1)
                    self._queue.postpone(job, str(error), wait, logging.ERROR)
                    return wait
                finally:
                    del self._leases[job]
        finally:
            self._queue.give_back(self._leases)
        return 0.0

    def _open(self) -> Channel:
        """Return the open channel. Raises ChannelError."""
        if not self._channel.is_open:
            self._close()
            self._opened.enter_context(self._channel)
        return self._channel

    def _close(self) -> None:
        self._opened.close()

    def _renew_leases(self) -> None:
        """Renew the leases of the object that is sent and of the next, when it is time."""
        for lease in self._leases.values():
            lease.on_progress()

    def _deliver(self, job: Job, channel: Channel) -> None:
        delivery = self._store.results.delivery(job)
        reason = why_object_stays(delivery) or refusal(
            self._routing, delivery.object.source, self._name
        )
        if reason is not None:
            self._queue.park(job, reason)
            return
        try:
            data = self._spool.read(delivery.object.spool_path, delivery.object.sha256)
        except SpoolUnavailableError:
            raise
        except StorageError as error:
            self._read_failed(job, delivery, error)
            return
        sent = channel.send(data, self._renew_leases)
        match sent.disposition:
            case Disposition.DELIVERED:
                self._loop.succeeded()
                self._store.results.record_delivery(
                    job,
                    sent.status,
                    sent.sop_class_uid,
                    coerced_uid=sent.coerced_uid,
                    answer=sent.answer,
                    commit_after=self._commit_after,
                )
                if self._commit_after is not None:
                    self._bell.ring()
                changed = " under another UID" if sent.coerced_uid else ""
                log.info(
                    "%(destination)s: %(object)s %(job)d delivered%(under)s",
                    {
                        "destination": self._name,
                        "object": delivery.object.kind,
                        "job": job.id,
                        "under": changed,
                    },
                )
            case Disposition.RETRY if sent.is_unmatched and job.attempts >= self.max_unmatched:
                self._queue.park(job, sent.detail)
            case Disposition.RETRY if sent.is_unmatched:
                raise ChannelError(sent.detail, retryable=True)
            case Disposition.RETRY:
                # The destination answers: this object waits, the other deliveries go on.
                wait = self._waiting(self._backoff.seconds(job.attempts), sent.retry_after)
                self._queue.retry(job, sent.detail, wait)
            case Disposition.PARK:
                self._queue.park(job, sent.detail)

    def _read_failed(self, job: Job, delivery: PendingDelivery, error: StorageError) -> None:
        """Retry if another read of this one object may succeed; park the job otherwise."""
        if self._store.results.delivery(job).object.spool_path != delivery.object.spool_path:
            self._queue.retry(job, "the object is being made anew", POLL_SECONDS)
        elif job.attempts < (self.max_reads if error.retryable else self.max_looks):
            self._queue.retry(job, str(error), self._backoff.seconds(job.attempts))
        else:
            self._queue.park(job, str(error))

    def _channel_failed(self, job: Job, error: ChannelError) -> float:
        """Retry or park the job. Return the seconds that the other deliveries wait."""
        wait = self._waiting(self._loop.next_wait(), error.retry_after)
        if error.retryable:
            # Each success resets the wait of the loop. For an object that breaks every channel
            # only the attempts of its job keep growing, so the longer wait counts.
            self._queue.retry(job, str(error), max(wait, self._backoff.seconds(job.attempts)))
        else:
            # The destination would reject every delivery: park this job, delay the next.
            self._queue.park(job, str(error))
        return wait

    def _waiting(self, own: float, asked: float | None) -> float:
        """Return the longer of two waits: that of this node, and that which was asked for."""
        return max(own, min(asked or 0.0, self._longest_wait))
