"""Storage commitment in the listener: the requests of peers and the answers of archives.

A request is stored before it is accepted. A peer that keeps its association open is answered on
that association, by a thread of its own: a peer that takes no answer delays no other. Otherwise
the courier calls the peer back, if its address is configured.
"""

import datetime
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from daemon.commitment.answers import Answering, peers_of, settle_answer, take_answer
from daemon.config.peers import PeerConfig
from daemon.config.settings import Config
from daemon.worker.backoff import Backoff
from daemon.worker.bell import Bell, BellName
from daemon.worker.loop import Loop, from_now
from daemon.worker.peer_queue import PeerQueue
from dicom_io.commitment.answer_channel import AnswerChannel
from dicom_io.commitment.messages import CommitmentAnswer, CommitmentRequest, MessageStatus
from dicom_io.commitment.scp import CommitmentHandlers
from dicom_io.peer.peers import Caller
from storage.errors import LeaseLostError, StorageError
from storage.files.spool import Spool
from storage.records import InstanceName, Job, JobKind
from storage.store import Store

log = logging.getLogger("commitment")

GRACE_SECONDS = 1.0
"""A peer that keeps its association open this long waits for the answer on it."""
_NO_ADDRESS = "has no host and port in this configuration to be called back"


@dataclass(frozen=True, slots=True)
class _Request:
    """A request whose peer may still keep its association open."""

    due: float
    job: Job
    peer: PeerConfig
    size: int
    channel: AnswerChannel


class CommitmentResponder:
    """Accepts both messages, and answers requests in one thread for each peer."""

    lease_margin_seconds = 60.0
    """Added to the network timeout."""

    def __init__(
        self,
        config: Config,
        worker: str,
        spool: Spool,
        store: Store,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._config = config
        self._worker = worker
        self._store = store
        self._grace_seconds = grace_seconds
        self._courier = Bell.of(config, BellName.COURIER, store)
        self._timeout = config.courier.network_timeout_seconds
        self._lease = datetime.timedelta(seconds=self._timeout + self.lease_margin_seconds)
        self._answering = Answering(config, store, spool)
        self._requests: queue.Queue[_Request] = queue.Queue()
        self._by_peer: dict[str, queue.Queue[_Request]] = {}

    @property
    def handlers(self) -> CommitmentHandlers:
        """The handlers of the two messages, for the node."""
        return CommitmentHandlers(on_request=self.take_request, on_answer=self.take_answer)

    def take_answer(self, answer: CommitmentAnswer, caller: Caller) -> MessageStatus:
        """Record the answer of an archive. Return the status of the response."""
        names = {peer.name for peer in peers_of(self._config, caller) if peer.commitment}
        if not names:
            return MessageStatus.NOT_AUTHORISED
        return take_answer(answer, names, self._store, self._config)

    def take_request(
        self, request: CommitmentRequest, caller: Caller, channel: AnswerChannel
    ) -> MessageStatus:
        """Store the request of a peer. Return the status of the response."""
        senders = [peer for peer in peers_of(self._config, caller) if peer.sends]
        if not senders:
            return MessageStatus.NOT_AUTHORISED
        peer = next((sender for sender in senders if sender.has_address), senders[0])
        instances = [
            InstanceName(reference.sop_class_uid, reference.sop_instance_uid)
            for reference in request.references
        ]
        try:
            job = self._store.inquiries.record(
                peer.name, request.transaction_uid, instances, self._worker, self._lease
            )
        except StorageError as error:
            log.error("a request for commitment from %s is refused: %s", peer.name, error)
            return MessageStatus.RESOURCE_LIMITATION
        log.info("%s asks for commitment to %d instance(s)", peer.name, len(instances))
        due = time.monotonic() + self._grace_seconds
        self._requests.put(_Request(due, job, peer, len(instances), channel))
        return MessageStatus.SUCCESS

    def run(self, stop: threading.Event) -> None:
        """Answer requests until told to stop."""
        backoff = Backoff(self._grace_seconds, self._grace_seconds)
        Loop("answers to requests for commitment", log, stop, backoff).run(
            lambda: self._pass_on_next(stop)
        )

    def _pass_on_next(self, stop: threading.Event) -> float:
        """Give the next request to the thread of its peer."""
        try:
            request = self._requests.get(timeout=self._grace_seconds)
        except queue.Empty:
            self._park_unanswerable()
            return 0.0
        name = request.peer.name
        if name not in self._by_peer:
            requests = self._by_peer[name] = queue.Queue()
            backoff = Backoff(self._grace_seconds, self._grace_seconds)
            loop = Loop(f"answers to {name}", log, stop, backoff)
            threading.Thread(
                target=loop.run,
                args=(lambda: self._answer_next(requests, stop),),
                name=f"answers to {name}",
                daemon=True,
            ).start()
        self._by_peer[name].put(request)
        return 0.0

    def _answer_next(self, requests: "queue.Queue[_Request]", stop: threading.Event) -> float:
        try:
            request = requests.get(timeout=self._grace_seconds)
        except queue.Empty:
            return 0.0
        stop.wait(max(0.0, request.due - time.monotonic()))
        try:
            self._answer(request, lambda: _queued(requests))
        except LeaseLostError:
            log.info("job %d is answered by another worker", request.job.id)
        except StorageError as error:
            log.error("job %d waits: %s", request.job.id, error)
            self._leave(request, str(error))
        return 0.0

    def _answer(self, request: _Request, queued: Callable[[], int]) -> None:
        """Answer on the association of the peer if it is open, else leave the answer."""
        job, peer, channel = request.job, request.peer, request.channel
        if channel.is_open:
            lease = self._queue(peer).lease(job)
            lease.renew()
            reply = self._answering.answer_to(job, peer, lease, queued)
            status = channel.send(reply, self._timeout)
            if status is not None:
                settle_answer(job, status, peer.name, self._store)
                return
        if peer.has_address:
            self._store.jobs.postpone(job, from_now(self._store, 0))
            self._courier.ring()
        else:
            self._queue(peer).park(job, _association_closed(peer))

    def _leave(self, request: _Request, reason: str) -> None:
        """Leave the answer to the courier. Park it if the peer has no address."""
        job, peer = request.job, request.peer
        try:
            if peer.has_address:
                self._store.jobs.postpone(job, from_now(self._store, 0), reason)
                self._courier.ring()
            else:
                self._queue(peer).park(
                    job, f"{peer.name} {_NO_ADDRESS}; its answer failed: {reason}"
                )
        except StorageError as error:
            log.error("job %d waits until its lease expires: %s", job.id, error)

    def _park_unanswerable(self) -> None:
        """Park the answers to peers without an address that an earlier process left."""
        for peer in self._config.senders:
            if not peer.has_address:
                jobs = self._queue(peer)
                while (job := jobs.claim()) is not None:
                    jobs.park(job, _association_closed(peer))

    def _queue(self, peer: PeerConfig) -> PeerQueue:
        return PeerQueue(self._store, peer.name, (JobKind.ANSWER,), self._worker, self._lease, log)


def _queued(requests: "queue.Queue[_Request]") -> int:
    """Return the number of instances in the requests of a queue."""
    with requests.mutex:
        return sum(request.size for request in requests.queue)


def _association_closed(peer: PeerConfig) -> str:
    return f"{peer.name} closed its association before the answer, and {_NO_ADDRESS}"
