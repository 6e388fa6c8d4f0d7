"""Deliveries to one destination."""

import datetime
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack

from daemon.config.destinations import destination_of, picture_contexts, picture_syntax
from daemon.config.peers import PeerConfig
from daemon.deliver.routes import refusal, why_object_stays
from daemon.worker.backoff import Backoff
from daemon.worker.bell import Bell, BellName
from daemon.worker.lease import Lease
from daemon.worker.loop import Loop
from daemon.worker.peer_queue import PeerQueue
from daemon.worker.role import RoleContext
from dicom_io.errors import AssociationError, DicomError
from dicom_io.objects.compression import picture_for_destination
from dicom_io.send.sender import Sender
from dicom_io.send.store_status import DUPLICATE, Disposition
from storage.errors import SpoolUnavailableError, StorageError
from storage.files.spool import Spool
from storage.records import Job, JobKind, PendingDelivery
from storage.store import Store

log = logging.getLogger("courier")
POLL_SECONDS = 1.0
"""The time between two looks at the queue if no bell rings."""
IDLE_SECONDS = 1.0
"""The time for which the association stays open after a delivery."""


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
        peer: PeerConfig,
        spool: Spool,
        store: Store,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """`wait` waits for work, so many seconds; by default only `stop` ends the wait early."""
        config = context.config
        self._stop = context.stop
        self._wait = wait or context.stop.wait
        self._bell = Bell.of(config, BellName.COURIER, store)
        self._sender: Sender | None = None
        self._association = ExitStack()
        self._leases: dict[Job, Lease] = {}
        self._name = peer.name
        self._routing = config.routing
        self._spool = spool
        self._store = store
        self._backoff = Backoff(config.courier.retry_seconds, config.courier.retry_max_seconds)
        self._loop = Loop(peer.name, log, context.stop, self._backoff)
        lease = 3 * config.courier.network_timeout_seconds + self.lease_margin_seconds
        self._queue = PeerQueue(
            store,
            peer.name,
            (JobKind.DELIVER,),
            context.worker,
            datetime.timedelta(seconds=lease),
            log,
        )
        self._destination = destination_of(config, peer)
        self._picture_syntax = picture_syntax(peer)
        self._picture_contexts = picture_contexts(peer)
        self._commit_after = (
            datetime.timedelta(seconds=config.commitment.delay_seconds) if peer.commitment else None
        )

    def run(self) -> None:
        """Deliver until told to stop."""
        self._loop.run(self._deliver_due, self._queue.last_retry)

    def _deliver_due(self) -> float:
        """Deliver until no job is due for a while or the destination fails. Return the backoff.

        One association is used for the deliveries of a burst, and ends some time after the last.
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
                if self._sender is None or time.monotonic() >= idle_at:
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
                except AssociationError as error:
                    return self._association_failed(job, error)
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

    def _open(self) -> Sender:
        """Return the open association, a new one if there is none. Raises AssociationError."""
        if self._sender is None or not self._sender.is_open:
            self._close()
            sender = Sender(self._destination, also=self._picture_contexts)
            self._sender = self._association.enter_context(sender)
        return self._sender

    def _close(self) -> None:
        self._sender = None
        self._association.close()

    def _renew_leases(self) -> None:
        """Renew the leases of the object that is sent and of the next, when it is time."""
        for lease in self._leases.values():
            lease.on_progress()

    def _deliver(self, job: Job, sender: Sender) -> None:
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
        result = sender.send(self._converted(data, sender), self._renew_leases)
        match result.disposition:
            case Disposition.DELIVERED:
                self._loop.succeeded()
                self._store.results.record_delivery(
                    job,
                    result.status,
                    result.sop_class_uid,
                    # A duplicate is kept under the UID of the delivery before.
                    coerced_uid=None if result.status == DUPLICATE else result.coerced_uid,
                    commit_after=self._commit_after,
                )
                if self._commit_after is not None:
                    self._bell.ring()
                changed = " under another UID" if result.coerced_uid else ""
                log.info(
                    "%(destination)s: %(object)s %(job)d delivered%(under)s",
                    {
                        "destination": self._name,
                        "object": delivery.object.kind,
                        "job": job.id,
                        "under": changed,
                    },
                )
            case Disposition.RETRY if result.is_unmatched and job.attempts >= self.max_unmatched:
                self._queue.park(job, result.detail)
            case Disposition.RETRY if result.status is None:
                raise AssociationError(result.detail, retryable=True)
            case Disposition.RETRY:
                # The destination answers: this object waits, the other deliveries go on.
                self._queue.retry(job, result.detail, self._backoff.seconds(job.attempts))
            case Disposition.PARK:
                self._queue.park(job, result.detail)

    def _read_failed(self, job: Job, delivery: PendingDelivery, error: StorageError) -> None:
        """Retry if another read of this one object may succeed; park the job otherwise."""
        if self._store.results.delivery(job).object.spool_path != delivery.object.spool_path:
            self._queue.retry(job, "the object is being made anew", POLL_SECONDS)
        elif job.attempts < (self.max_reads if error.retryable else self.max_looks):
            self._queue.retry(job, str(error), self._backoff.seconds(job.attempts))
        else:
            self._queue.park(job, str(error))

    def _converted(self, data: bytes, sender: Sender) -> bytes:
        """Return the object in the form that the destination prefers, else as it is stored."""
        try:
            return picture_for_destination(data, self._picture_syntax, sender.accepted)
        except DicomError as error:
            log.warning("%s: an object is sent as it is stored: %s", self._name, error)
            return data

    def _association_failed(self, job: Job, error: AssociationError) -> float:
        """Retry or park the job. Return the seconds that the other deliveries wait."""
        wait = self._loop.next_wait()
        if error.retryable:
            # Each success resets the wait of the loop. For an object that breaks every association
            # only the attempts of its job keep growing, so the longer wait counts.
            self._queue.retry(job, str(error), max(wait, self._backoff.seconds(job.attempts)))
        else:
            # The destination would reject every delivery: park this job, delay the next.
            self._queue.park(job, str(error))
        return wait
