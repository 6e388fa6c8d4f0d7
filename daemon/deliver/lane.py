"""Deliveries to one destination."""

import datetime
import logging
import random
import time
from collections.abc import Callable
from contextlib import ExitStack

from daemon.config.destinations import destination_of, picture_contexts, picture_syntax
from daemon.config.peers import PeerConfig
from daemon.worker.loop import Backoff
from daemon.worker.redaction import redact, unexpected
from daemon.worker.role import RoleContext
from dicom_io.errors import AssociationError, DicomError
from dicom_io.objects.compression import fitted
from dicom_io.send.sender import Disposition, Sender
from storage.errors import SpoolUnavailableError, StorageError
from storage.files.spool import Spool
from storage.records import Job, JobKind, PendingDelivery
from storage.store import Store

log = logging.getLogger("courier")

POLL_SECONDS = 0.25

MAX_READS = 10
"""After so many attempts at a delivery whose object cannot be read, it waits for a person."""

LEASE_MARGIN_SECONDS = 30.0
"""Added to the network time-outs, so that a slow delivery is not taken for a dead courier."""


class Lane:
    """Deliveries to one destination, in the order in which they were queued."""

    def __init__(
        self,
        context: RoleContext,
        peer: PeerConfig,
        spool: Spool,
        store: Store,
        rng: random.Random,
    ) -> None:
        courier = context.config.courier
        self._context = context
        self._name = peer.name
        self._spool = spool
        self._store = store
        self._rng = rng
        self._backoff = Backoff(courier.retry_seconds, courier.retry_max_seconds)
        self._lease = datetime.timedelta(
            seconds=3 * courier.network_timeout_seconds + LEASE_MARGIN_SECONDS
        )
        self._destination = destination_of(context.config, peer)
        self._picture_syntax = picture_syntax(peer)
        self._picture_contexts = picture_contexts(peer)
        self._commit_after = (
            datetime.timedelta(seconds=context.config.commitment.delay_seconds)
            if peer.commitment
            else None
        )
        self._failures = 0

    def run(self) -> None:
        """Deliver until told to stop; a store that cannot be reached is tried again."""
        while not self._context.stop.is_set():
            try:
                wait = self._deliver_what_is_due()
            except StorageError as error:
                log.error("%s: %s", self._name, error)
                wait = self._next_wait()
            except Exception as error:  # noqa: BLE001 - it must not end the lane
                # Its job, if there is one, is tried again when its lease has run out.
                log.error("%s: %s", self._name, unexpected(error))
                wait = self._next_wait()
            self._context.stop.wait(wait)

    def _deliver_what_is_due(self) -> float:
        """Deliver until nothing is due or the destination fails; the seconds to wait then."""
        with ExitStack() as stack:
            sender: Sender | None = None
            while not self._context.stop.is_set():
                job = self._claim()
                if job is None:
                    break
                try:
                    if sender is None or not sender.is_open:
                        sender = stack.enter_context(
                            Sender(self._destination, also=self._picture_contexts)
                        )
                    self._deliver(job, sender)
                except AssociationError as error:
                    return self._failed(job, error)
                except SpoolUnavailableError as error:
                    return self._await_spool(job, error)
        return POLL_SECONDS

    def _claim(self) -> Job | None:
        return self._store.jobs.claim(
            (JobKind.DELIVER,), self._context.worker, self._lease, lane=self._name
        )

    def _deliver(self, job: Job, sender: Sender) -> None:
        delivery = self._store.results.delivery(job)
        if delivery.object.purged_at is not None:
            day = delivery.object.purged_at.date()
            self._park(job, f"the object was purged on {day} and cannot be sent: discard the job")
            return
        try:
            self._spool.verify(delivery.object.spool_path, delivery.object.sha256)
            data = self._spool.read(delivery.object.spool_path)
        except SpoolUnavailableError:
            raise
        except StorageError as error:
            self._unread(job, delivery, error)
            return
        result = sender.send(self._fitted(data, sender), self._holder(job))
        match result.disposition:
            case Disposition.DELIVERED:
                self._failures = 0
                self._store.results.record_delivery(
                    job, result.status, result.sop_class_uid, commit_after=self._commit_after
                )
                log.info("%s: %s %d delivered", self._name, delivery.object.kind, job.id)
            case Disposition.RETRY if result.status is None:
                raise AssociationError(result.detail, retryable=True)
            case Disposition.RETRY:
                # The destination answers, so it is this object that waits, not the lane.
                self._retry(job, result.detail, self._backoff.seconds(job.attempts, self._rng))
            case Disposition.PARK:
                self._park(job, result.detail)

    def _holder(self, job: Job) -> Callable[[], None]:
        """What renews the job's lease from time to time while its object is on a slow way."""
        renewed = time.monotonic()

        def hold() -> None:
            nonlocal renewed
            if time.monotonic() - renewed < self._lease.total_seconds() / 3:
                return
            renewed = time.monotonic()
            try:
                self._store.jobs.heartbeat(job, self._lease)
            except StorageError as error:
                log.warning("%s: job %d: no heartbeat: %s", self._name, job.id, error)

        return hold

    def _unread(self, job: Job, delivery: PendingDelivery, error: StorageError) -> None:
        """Its file alone is damaged, missing or refused by the disk, which may pass."""
        if self._store.results.delivery(job).object.spool_path != delivery.object.spool_path:
            self._retry(job, "the object is being made anew", POLL_SECONDS)
        elif error.retryable and job.attempts < MAX_READS:
            self._retry(job, str(error), self._backoff.seconds(job.attempts, self._rng))
        else:
            self._park(job, str(error))

    def _await_spool(self, job: Job, error: SpoolUnavailableError) -> float:
        """No object can be read, so this was no attempt at one, and the lane waits."""
        wait = self._backoff.seconds(1, self._rng)
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=wait)
        self._store.jobs.postpone(job, until, str(error))
        log.error("%s: %s; the next try is in %.1f s", self._name, error, wait)
        return wait

    def _fitted(self, data: bytes, sender: Sender) -> bytes:
        """The object in the form the destination prefers, else as it is kept."""
        try:
            return fitted(data, self._picture_syntax, sender.accepted)
        except DicomError as error:
            log.warning("%s: an object is sent as it is: %s", self._name, error)
            return data

    def _retry(self, job: Job, reason: str, wait: float) -> None:
        retry_at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=wait)
        self._store.jobs.fail(job, reason, retry_at)
        log.warning("%s: %s; the next try is in %.1f s", self._name, redact(reason), wait)

    def _park(self, job: Job, reason: str) -> None:
        self._store.jobs.fail(job, reason, None, audited=redact(reason))
        log.error("%s: job %d is parked: %s", self._name, job.id, redact(reason))

    def _failed(self, job: Job, error: AssociationError) -> float:
        wait = self._next_wait()
        if error.retryable:
            # An object that breaks every association is tried ever less often, whatever the
            # others do meanwhile.
            own = self._backoff.seconds(job.attempts, self._rng)
            self._retry(job, str(error), max(wait, own))
        else:
            # The others would be refused alike, so one shows what is wrong and they wait.
            self._park(job, str(error))
        return wait

    def _next_wait(self) -> float:
        self._failures += 1
        return self._backoff.seconds(self._failures, self._rng)
