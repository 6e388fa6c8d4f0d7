"""Deliveries to one destination."""

import datetime
import logging
from contextlib import ExitStack

from daemon.config.destinations import destination_of, picture_contexts, picture_syntax
from daemon.config.peers import PeerConfig
from daemon.deliver.routes import refusal
from daemon.worker.backoff import Backoff
from daemon.worker.loop import Loop
from daemon.worker.peer_queue import PeerQueue
from daemon.worker.role import RoleContext
from dicom_io.errors import AssociationError, DicomError
from dicom_io.objects.compression import picture_for_destination
from dicom_io.send.sender import Sender
from dicom_io.send.store_status import DUPLICATE, Disposition
from storage.errors import SpoolUnavailableError, StorageError
from storage.files.spool import Spool
from storage.records import Job, JobKind, PendingDelivery, Standing
from storage.store import Store

log = logging.getLogger("courier")
POLL_SECONDS = 0.25
_OVER = "the result does not count any more, and does not leave: discard the job"
_IN_DOUBT = "the study is in doubt, and its results do not leave: see `cxrd studies list`"


class DeliveryWorker:
    """Delivers the objects queued for one destination, in the order of the queue."""

    max_reads = 10
    """A delivery is parked after this many attempts to read its object."""

    max_unmatched = 10
    """A delivery is parked after this many attempts whose response answered another request."""

    lease_margin_seconds = 30.0
    """Added to the network timeouts, so that a slow delivery keeps its lease."""

    def __init__(self, context: RoleContext, peer: PeerConfig, spool: Spool, store: Store) -> None:
        config = context.config
        self._stop = context.stop
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
        """Deliver until no job is due or the destination fails. Return the seconds to wait."""
        with ExitStack() as stack:
            sender: Sender | None = None
            while not self._stop.is_set():
                job = self._queue.claim()
                if job is None:
                    break
                try:
                    if sender is None or not sender.is_open:
                        sender = stack.enter_context(
                            Sender(self._destination, also=self._picture_contexts)
                        )
                    self._deliver(job, sender)
                except AssociationError as error:
                    return self._association_failed(job, error)
                except SpoolUnavailableError as error:
                    # No object can be read: this was no attempt, and all deliveries wait.
                    wait = self._backoff.seconds(1)
                    self._queue.postpone(job, str(error), wait, logging.ERROR)
                    return wait
        return POLL_SECONDS

    def _deliver(self, job: Job, sender: Sender) -> None:
        delivery = self._store.results.delivery(job)
        if delivery.is_held:
            is_over = delivery.object.standing in (Standing.SUPERSEDED, Standing.REJECTED)
            self._queue.park(job, _OVER if is_over else _IN_DOUBT)
            return
        if delivery.object.purged_at is not None:
            day = delivery.object.purged_at.date()
            self._queue.park(
                job, f"the object was purged on {day} and cannot be sent: discard the job"
            )
            return
        refused = refusal(self._routing, delivery.object.source, self._name)
        if refused is not None:
            self._queue.park(job, refused)
            return
        try:
            data = self._spool.read(delivery.object.spool_path, delivery.object.sha256)
        except SpoolUnavailableError:
            raise
        except StorageError as error:
            self._read_failed(job, delivery, error)
            return
        on_progress = self._queue.lease(job).on_progress
        result = sender.send(self._converted(data, sender), on_progress)
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
                changed = " under another UID" if result.coerced_uid else ""
                log.info("%s: %s %d delivered%s", self._name, delivery.object.kind, job.id, changed)
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
        elif error.retryable and job.attempts < self.max_reads:
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
