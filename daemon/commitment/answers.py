"""Storage commitment: records the answers of archives, and makes the answers to peers.

The listener and the courier do both: an archive answers on an association of its own, which the
listener accepts, or on the courier's. A peer is answered on its association or called back.
"""

import datetime
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Self

from daemon.commitment.turns import Turns
from daemon.config.peers import PeerConfig
from daemon.config.sections.roles import CommitmentScope
from daemon.config.settings import Config
from daemon.worker.backoff import Backoff
from daemon.worker.bell import Bell, BellName
from daemon.worker.lease import Lease
from dicom_io.commitment.messages import (
    CommitmentAnswer,
    Failure,
    FailureReason,
    MessageStatus,
    Reference,
)
from dicom_io.objects.classes import REPORT_CLASSES
from dicom_io.peer.peers import Caller
from dicom_io.report.older_classes import fallback_uid
from storage.errors import (
    IntegrityError,
    SpoolError,
    SpoolUnavailableError,
    StorageError,
)
from storage.files.spool import Spool
from storage.records import InstanceName, Job, KeptFile
from storage.store import Store

log = logging.getLogger("commitment")

# Failures that another delivery may repair; all other failures need an operator (PS3.3 C.14.1.1).
RESEND_FOR = frozenset(
    {
        FailureReason.PROCESSING_FAILURE,
        FailureReason.NO_SUCH_INSTANCE,
        FailureReason.DUPLICATE_TRANSACTION,
        FailureReason.RESOURCE_LIMITATION,
    }
)


def peers_of(config: Config, caller: Caller) -> list[PeerConfig]:
    """Return the configured peers that match the caller."""
    return [peer for peer in config.callers if peer.as_caller.matches(caller)]


def kept_as(instance: InstanceName) -> Reference:
    """Return the reference to the instance as the destination has it.

    The destination may have coerced its UID; a report may have another SOP class there.
    """
    sop_class_uid, uid = instance.sop_class_uid, instance.sop_instance_uid
    if instance.coerced_uid:
        uid = instance.coerced_uid
    elif sop_class_uid in REPORT_CLASSES:
        uid = fallback_uid(uid, sop_class_uid)
    return Reference(sop_class_uid, uid)


def take_answer(
    answer: CommitmentAnswer, peers: Collection[str], store: Store, config: Config
) -> MessageStatus:
    """Record the answer of one of these peers. Return the status of the response."""
    backoff = Backoff(config.courier.retry_seconds, config.courier.retry_max_seconds)
    name = ", ".join(sorted(peers))
    committed = {reference.sop_instance_uid for reference in answer.committed}
    failed = {failure.reference.sop_instance_uid: failure.reason for failure in answer.failed}
    try:
        requested = store.commitments.requested(answer.transaction_uid)
        ours = {kept_as(item).sop_instance_uid: item.sop_instance_uid for item in requested}
        outcome = store.commitments.record_answer(
            peers,
            answer.transaction_uid,
            {ours[uid] for uid in committed & ours.keys()},
            {ours[uid]: failed[uid] for uid in failed.keys() & ours.keys()},
            resend_for=RESEND_FOR,
            max_resends=config.commitment.max_resends,
            resend_wait=lambda failures: datetime.timedelta(seconds=backoff.seconds(failures)),
        )
    except StorageError as error:
        log.error("an answer of %s is not recorded: %s", name, error)
        return MessageStatus.PROCESSING_FAILURE
    if outcome is None:
        log.warning("%s answered a request for commitment that was not sent to it", name)
        return MessageStatus.INVALID_ARGUMENT
    Bell.of(config, BellName.COURIER, store).ring()
    log.info(
        "%s commits to %d object(s); %d are sent again, %d are refused",
        name,
        outcome.committed,
        outcome.sent_again,
        outcome.refused,
    )
    return MessageStatus.SUCCESS


@dataclass(frozen=True, slots=True)
class Scope:
    """The instances that a peer may ask about, by source and by destination.

    It may ask about films of `sources` (None: of any) and objects that `destinations` received.
    """

    sources: frozenset[str] | None
    destinations: frozenset[str]

    @classmethod
    def of(cls, config: Config, peer: PeerConfig) -> Self:
        """Return the scope of a peer: by default what its source sent and what it was sent.

        Peers of one source with one AE title are one system, which may receive under another name.
        """
        if config.commitment.scope is CommitmentScope.ALL:
            return cls(None, frozenset(one.name for one in config.peers))
        same = (
            one.name
            for one in config.peers
            if one.ae_title == peer.ae_title and one.effective_source == peer.effective_source
        )
        return cls(frozenset({peer.effective_source}), frozenset(same))


class Answering:
    """Checks the files of requests, in batches that take turns between the peers."""

    batch_size = 200
    """Instances that one transaction looks up."""
    turn_seconds = 0.1
    """Time after which a turn ends with the file that is being read."""

    def __init__(self, config: Config, store: Store, spool: Spool) -> None:
        self._config = config
        self._store = store
        self._spool = spool
        self._turns = Turns()

    def answer_to(
        self, job: Job, peer: PeerConfig, lease: Lease, queued: Callable[[], int] = lambda: 0
    ) -> CommitmentAnswer:
        """Commit to the instances whose files are as they were received or sent.

        An instance outside the peer's scope is answered as one that does not exist. The lease is
        renewed in each turn: a study may take longer than one lease. `queued` counts the instances
        of the peer's further requests. Raises StorageError if the files cannot be read now,
        LeaseLostError if another worker has the job.
        """
        inquiry = self._store.inquiries.get(job)
        names = inquiry.instances
        if inquiry.reuses_uid:
            reasons: list[FailureReason | None] = [FailureReason.DUPLICATE_TRANSACTION] * len(names)
        else:
            reasons = []
            scope = Scope.of(self._config, peer)
            with self._turns.taken() as turn:
                while len(reasons) < len(names):
                    turn.wait(len(names) - len(reasons) + queued())
                    lease.renew()
                    reasons += self._checked(names[len(reasons) :][: self.batch_size], scope)
        committed, failed = [], []
        for name, reason in zip(names, reasons, strict=True):
            reference = Reference(name.sop_class_uid, name.sop_instance_uid)
            if reason is None:
                committed.append(reference)
            else:
                failed.append(Failure(reference, reason))
        return CommitmentAnswer(inquiry.transaction_uid, tuple(committed), tuple(failed))

    def _checked(self, batch: Sequence[InstanceName], scope: Scope) -> list[FailureReason | None]:
        """Return the failure reasons of the first instances, as many as fit into one turn."""
        until = time.monotonic() + self.turn_seconds
        held = self._store.inquiries.held(
            {name.sop_instance_uid for name in batch}, scope.sources, scope.destinations
        )
        reasons: list[FailureReason | None] = []
        for name in batch:
            kept = held.get(name.sop_instance_uid, ())
            reasons.append(_failure_reason(name, kept, self._spool))
            if time.monotonic() > until:
                break
        return reasons


def _failure_reason(
    instance: InstanceName, kept: Sequence[KeptFile], spool: Spool
) -> FailureReason | None:
    if not kept:
        return FailureReason.NO_SUCH_INSTANCE
    of_class = [copy for copy in kept if copy.sop_class_uid == instance.sop_class_uid]
    if not of_class:
        return FailureReason.CLASS_INSTANCE_CONFLICT
    for copy in of_class:
        try:
            spool.verify(copy.spool_path, copy.sha256)
        except SpoolUnavailableError:
            raise
        except (IntegrityError, SpoolError) as error:
            log.error("a received file cannot be committed to: %s", error)
            if isinstance(error, SpoolError) or spool.exists(copy.spool_path):
                return FailureReason.PROCESSING_FAILURE
            return FailureReason.NO_SUCH_INSTANCE
    return None


def settle_answer(job: Job, status: int, peer: str, store: Store) -> None:
    """Finish or park an ANSWER job after the peer responded with this status."""
    if status == MessageStatus.SUCCESS:
        store.inquiries.record_answered(job)
        log.info("%s has the answer to its request for commitment", peer)
        return
    reason = f"{peer} refused the answer to its request for commitment: status 0x{status:04X}"
    store.jobs.fail(job, reason, None, audited=reason)
    log.error("job %d is parked: %s", job.id, reason)
