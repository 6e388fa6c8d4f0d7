"""Storage commitment: what an archive's answer does to the store, and what the store answers.

Both directions may run in either process: answers come to the listener on an association that the
archive opened, or to the courier on its own; peers are answered by either, too.
"""

import datetime
import logging
import random
from collections.abc import Collection

from daemon.config.peers import PeerConfig
from daemon.config.settings import Config
from daemon.worker.loop import Backoff
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
    LeaseLostError,
    SpoolError,
    SpoolUnavailableError,
    StorageError,
)
from storage.files.spool import Spool
from storage.records import InstanceName, Job
from storage.store import Store

log = logging.getLogger("commitment")

# What another delivery may mend; the rest needs a person (PS3.3 C.14.1.1).
RESEND_FOR = frozenset(
    {
        FailureReason.PROCESSING_FAILURE,
        FailureReason.NO_SUCH_INSTANCE,
        FailureReason.DUPLICATE_TRANSACTION,
        FailureReason.RESOURCE_LIMITATION,
    }
)


def peers_of(config: Config, caller: Caller) -> list[PeerConfig]:
    """The configured peers that a caller may be."""
    return [peer for peer in config.callers if peer.as_caller.admits(caller)]


def sent_as(instance: InstanceName) -> Reference:
    """The instance as the archive knows it: a report may have gone as another SOP class."""
    sop_class_uid, uid = instance.sop_class_uid, instance.sop_instance_uid
    if sop_class_uid in REPORT_CLASSES:
        uid = fallback_uid(uid, sop_class_uid)
    return Reference(sop_class_uid, uid)


def take_answer(
    answer: CommitmentAnswer, peers: Collection[str], store: Store, config: Config
) -> MessageStatus:
    """Record what one of these peers answers; the status to tell it."""
    backoff = Backoff(config.courier.retry_seconds, config.courier.retry_max_seconds)
    rng = random.Random()  # noqa: S311 - jitter, not a secret
    name = ", ".join(sorted(peers))
    committed = {one.sop_instance_uid for one in answer.committed}
    failed = {one.reference.sop_instance_uid: one.reason for one in answer.failed}
    try:
        asked = store.commitments.asked(answer.transaction_uid)
        ours = {sent_as(one).sop_instance_uid: one.sop_instance_uid for one in asked}
        outcome = store.commitments.record_answer(
            peers,
            answer.transaction_uid,
            {ours[uid] for uid in committed & ours.keys()},
            {ours[uid]: failed[uid] for uid in failed.keys() & ours.keys()},
            resend_for=RESEND_FOR,
            max_resends=config.commitment.max_resends,
            resend_wait=lambda failures: datetime.timedelta(seconds=backoff.seconds(failures, rng)),
        )
    except StorageError as error:
        log.error("an answer of %s is not recorded: %s", name, error)
        return MessageStatus.PROCESSING_FAILURE
    if outcome is None:
        log.warning("%s answered a request for commitment that was not made of it", name)
        return MessageStatus.INVALID_ARGUMENT
    log.info(
        "%s commits to %d object(s); %d are sent again, %d are refused",
        name,
        outcome.committed,
        outcome.sent_again,
        outcome.refused,
    )
    return MessageStatus.SUCCESS


def answer_to(job: Job, lease: datetime.timedelta, store: Store, spool: Spool) -> CommitmentAnswer:
    """What this store commits to: the instances whose files are as they were received.

    The lease is renewed before each file is read, for a study may take longer than that. Raises
    StorageError where it cannot be found out now, LeaseLostError where another worker has the job.
    """
    inquiry = store.inquiries.get(job)
    committed, failed = [], []
    for instance in inquiry.instances:
        if not store.jobs.heartbeat(job, lease):
            raise LeaseLostError(f"job {job.id} was given to another worker")
        reference = Reference(instance.sop_class_uid, instance.sop_instance_uid)
        reason = (
            FailureReason.DUPLICATE_TRANSACTION
            if inquiry.reuses_uid
            else _why_not(instance, store, spool)
        )
        if reason is None:
            committed.append(reference)
        else:
            failed.append(Failure(reference, reason))
    return CommitmentAnswer(inquiry.transaction_uid, tuple(committed), tuple(failed))


def _why_not(instance: InstanceName, store: Store, spool: Spool) -> FailureReason | None:
    kept = store.inquiries.kept(instance.sop_instance_uid)
    if not kept:
        return FailureReason.NO_SUCH_INSTANCE
    of_class = [one for one in kept if one.sop_class_uid == instance.sop_class_uid]
    if not of_class:
        return FailureReason.CLASS_INSTANCE_CONFLICT
    for one in of_class:
        try:
            spool.verify(one.spool_path, one.sha256)
        except SpoolUnavailableError:
            raise
        except (IntegrityError, SpoolError) as error:
            log.error("a received file cannot be committed to: %s", error)
            if isinstance(error, SpoolError) or spool.path(one.spool_path).exists():
                return FailureReason.PROCESSING_FAILURE
            return FailureReason.NO_SUCH_INSTANCE
    return None


def settle_answer(job: Job, status: int, peer: str, store: Store) -> None:
    """End an ANSWER job for which the peer responded with this status."""
    if status == MessageStatus.SUCCESS:
        store.inquiries.record_answered(job)
        log.info("%s has the answer to its request for commitment", peer)
        return
    reason = f"{peer} refused the answer to its request for commitment: status 0x{status:04X}"
    store.jobs.fail(job, reason, None, audited=reason)
    log.error("job %d is parked: %s", job.id, reason)
