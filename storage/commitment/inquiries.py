"""What peers ask this store to commit to: storage commitment as the one who keeps.

An inquiry is in the store before it is accepted. Its ANSWER job begins in the hands of the
process that took it in, which may still answer on the peer's own association; when that process
is done with it or dies, whoever serves the peer's lane answers.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, Row, select, update
from sqlalchemy import insert as plain_insert

from storage.audit.records import AuditEntry, AuditKind, subject_of
from storage.audit.trail import append
from storage.errors import UnknownRecordError
from storage.queue.transitions import settle
from storage.records import Inquiry, InstanceName, Job, JobKind, JobState, KeptFile
from storage.tables.database import Database, insert
from storage.tables.schema import commitment_inquiries, instances, jobs


class Inquiries:
    """Peers' requests for commitment."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._now = clock

    def record(
        self,
        peer: str,
        transaction_uid: str,
        asked: Sequence[InstanceName],
        worker: str,
        lease: timedelta,
    ) -> Job:
        """Keep a request; once this returns, it may be accepted. The result is held by `worker`.

        The same request once more is answered once more. Another one under a transaction UID that
        the peer has used is kept as what it is, to be answered with the reason.
        """
        now = self._now()
        # In one order: the same question may come with its items in another.
        instance_pairs = sorted([one.sop_class_uid, one.sop_instance_uid] for one in asked)
        with self._database.writing() as connection:
            earlier = connection.execute(
                select(commitment_inquiries)
                .where(
                    commitment_inquiries.c.transaction_uid == transaction_uid,
                    commitment_inquiries.c.peer == peer,
                )
                .order_by(commitment_inquiries.c.id)
            ).all()
            number = next((row.id for row in earlier if row.instances == instance_pairs), None)
            if number is None:
                number = connection.scalar(
                    plain_insert(commitment_inquiries)
                    .values(
                        peer=peer,
                        transaction_uid=transaction_uid,
                        instances=instance_pairs,
                        reuses_uid=bool(earlier),
                        received_at=now,
                    )
                    .returning(commitment_inquiries.c.id)
                )
            row = _hold(connection, str(number), peer, worker, now, now + lease)
        return Job(**row._mapping)

    def get(self, job: Job) -> Inquiry:
        """What an ANSWER job has to answer; raises UnknownRecordError."""
        query = select(commitment_inquiries).where(commitment_inquiries.c.id == int(job.subject))
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise UnknownRecordError(f"job {job.id} has nothing to answer")
        return Inquiry(
            peer=row.peer,
            transaction_uid=row.transaction_uid,
            instances=tuple(InstanceName(*pair) for pair in row.instances),
            reuses_uid=row.reuses_uid,
        )

    def kept(self, sop_instance_uid: str) -> tuple[KeptFile, ...]:
        """Every revision of this instance that is kept; none where it never came or was purged."""
        query = (
            select(instances.c.sop_class_uid, instances.c.spool_path, instances.c.sha256)
            .where(
                instances.c.sop_instance_uid == sop_instance_uid, instances.c.purged_at.is_(None)
            )
            .order_by(instances.c.revision)
        )
        with self._database.reading() as connection:
            return tuple(KeptFile(*row) for row in connection.execute(query))

    def record_answered(self, job: Job) -> None:
        """The peer has the answer. Raises LeaseLostError."""
        now = self._now()
        with self._database.writing() as connection:
            settle(connection, job, JobState.DONE, now=now)
            answered = connection.execute(
                update(commitment_inquiries)
                .where(commitment_inquiries.c.id == int(job.subject))
                .values(reported_at=now)
                .returning(commitment_inquiries.c.peer, commitment_inquiries.c.transaction_uid)
            ).one()
            entry = AuditEntry(
                AuditKind.COMMITMENT_GIVEN,
                actor=answered.peer,
                subject=subject_of(transaction=answered.transaction_uid),
            )
            append(connection, entry, now)


def _hold(
    connection: Connection,
    subject: str,
    lane: str,
    worker: str,
    now: datetime,
    lease_until: datetime,
) -> Row[tuple[object, ...]]:
    """The job, new or not, in the hands of this worker: one that had it records nothing more."""
    claimed = {
        "state": JobState.RUNNING,
        "attempts": 1,
        "not_before": now,
        "worker": worker,
        "lease_until": lease_until,
        "updated_at": now,
    }
    new = {"kind": JobKind.ANSWER, "subject": subject, "lane": lane, "created_at": now}
    return connection.execute(
        insert(connection, jobs)
        .values(**new, **claimed, generation=1, claims=1)
        .on_conflict_do_update(
            index_elements=["kind", "subject"],
            set_={**claimed, "generation": jobs.c.generation + 1, "claims": jobs.c.claims + 1},
        )
        .returning(*jobs.c)
    ).one()
