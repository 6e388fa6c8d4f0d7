"""Storage commitment in the listener: what peers ask of us, and what archives answer.

An inquiry is kept in the store before it is accepted. A peer that holds its association open is
answered on it; otherwise the courier calls the peer back, where it has an address.
"""

import datetime
import logging
import queue
import threading
import time
from dataclasses import dataclass

from daemon.commitment.answers import answer_to, peers_of, settle_answer, take_answer
from daemon.config.peers import PeerConfig
from daemon.config.settings import Config
from daemon.worker.redaction import redact, unexpected
from dicom_io.commitment.messages import CommitmentAnswer, CommitmentRequest, MessageStatus
from dicom_io.commitment.scp import AnswerChannel, CommitmentHandlers
from dicom_io.peer.peers import Caller
from storage.errors import LeaseLostError, StorageError
from storage.files.spool import Spool
from storage.records import InstanceName, Job, JobKind
from storage.store import Store

log = logging.getLogger("commitment")

GRACE_SECONDS = 1.0
"""A peer that has not released its association by then is taken to wait for the answer on it."""

LEASE_MARGIN_SECONDS = 60.0

_NO_WAY_BACK = "has no host and port in this configuration to be called back"


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An inquiry whose peer may still hold its association."""

    due: float
    job: Job
    peer: PeerConfig
    channel: AnswerChannel


class CommitmentDesk:
    """Takes in both messages and, in a thread of its own, answers inquiries that wait for it."""

    def __init__(self, config: Config, worker: str, spool: Spool, store: Store) -> None:
        self._config = config
        self._worker = worker
        self._spool = spool
        self._store = store
        self._seconds = config.courier.network_timeout_seconds
        self._lease = datetime.timedelta(seconds=self._seconds + LEASE_MARGIN_SECONDS)
        self._waiting: queue.Queue[_Waiting] = queue.Queue()

    @property
    def handlers(self) -> CommitmentHandlers:
        """What the node calls."""
        return CommitmentHandlers(on_request=self.take_inquiry, on_answer=self.take_answer)

    def take_answer(self, answer: CommitmentAnswer, caller: Caller) -> MessageStatus:
        """Record what an archive answers; the status to tell it."""
        names = {peer.name for peer in peers_of(self._config, caller) if peer.commitment}
        if not names:
            return MessageStatus.NOT_AUTHORISED
        return take_answer(answer, names, self._store, self._config)

    def take_inquiry(
        self, request: CommitmentRequest, caller: Caller, channel: AnswerChannel
    ) -> MessageStatus:
        """Keep what a peer asks for; the status to answer with."""
        senders = [peer for peer in peers_of(self._config, caller) if peer.sends]
        if not senders:
            return MessageStatus.NOT_AUTHORISED
        peer = next((one for one in senders if one.has_address), senders[0])
        asked = [
            InstanceName(one.sop_class_uid, one.sop_instance_uid) for one in request.references
        ]
        try:
            job = self._store.inquiries.record(
                peer.name, request.transaction_uid, asked, self._worker, self._lease
            )
        except StorageError as error:
            log.error("a request for commitment from %s is refused: %s", peer.name, error)
            return MessageStatus.RESOURCE_LIMITATION
        log.info("%s asks for commitment to %d instance(s)", peer.name, len(asked))
        self._waiting.put(_Waiting(time.monotonic() + GRACE_SECONDS, job, peer, channel))
        return MessageStatus.SUCCESS

    def run(self, stop: threading.Event) -> None:
        """Answer until told to stop."""
        while not stop.is_set():
            try:
                waiting = self._waiting.get(timeout=GRACE_SECONDS)
            except queue.Empty:
                self._while_idle()
                continue
            stop.wait(max(0.0, waiting.due - time.monotonic()))
            try:
                self._serve(waiting)
            except LeaseLostError:
                log.info("job %d is answered elsewhere", waiting.job.id)
            except StorageError as error:
                log.error("job %d waits: %s", waiting.job.id, error)
                self._put_off(waiting, str(error))
            except Exception as error:  # noqa: BLE001 - it must not end the answering
                log.error("job %d waits: %s", waiting.job.id, unexpected(error))

    def _put_off(self, waiting: _Waiting, reason: str) -> None:
        """Leave the answer to the courier or, where nobody can call the peer back, to a person."""
        job, peer = waiting.job, waiting.peer
        try:
            if peer.has_address:
                self._store.jobs.postpone(job, datetime.datetime.now(datetime.UTC), reason)
            else:
                self._park(job, f"{peer.name} {_NO_WAY_BACK}; its answer failed: {reason}")
        except StorageError as error:
            log.error("job %d could not be put back: %s", job.id, error)

    def _while_idle(self) -> None:
        try:
            self._park_what_nobody_can_answer()
        except StorageError as error:
            log.error("%s", error)
        except Exception as error:  # noqa: BLE001 - it must not end the answering
            log.error("answers wait: %s", unexpected(error))

    def _serve(self, waiting: _Waiting) -> None:
        """Answer on the peer's own association if it waits there, or leave it to the courier."""
        job, peer, channel = waiting.job, waiting.peer, waiting.channel
        status = None
        if channel.is_open and self._store.jobs.heartbeat(job, self._lease):
            reply = answer_to(job, self._lease, self._store, self._spool)
            status = channel.send(reply, self._seconds)
        if status is not None:
            settle_answer(job, status, peer.name, self._store)
        elif peer.has_address:
            self._store.jobs.postpone(job, datetime.datetime.now(datetime.UTC))
        else:
            self._park(job, _went_away(peer))

    def _park(self, job: Job, reason: str) -> None:
        self._store.jobs.fail(job, reason, None, audited=redact(reason))
        log.error("job %d is parked: %s", job.id, reason)

    def _park_what_nobody_can_answer(self) -> None:
        """Answers to peers without an address that a process before this one left behind."""
        for peer in self._config.senders:
            claim = (JobKind.ANSWER,), self._worker, self._lease, peer.name
            while not peer.has_address and (job := self._store.jobs.claim(*claim)) is not None:
                self._park(job, _went_away(peer))


def _went_away(peer: PeerConfig) -> str:
    return f"{peer.name} closed its association before the answer, and {_NO_WAY_BACK}"
