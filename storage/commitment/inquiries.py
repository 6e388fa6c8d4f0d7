"""Inquiries: storage commitment requests from peers (PS3.4 J.3).

An inquiry is in the store before it is accepted. Its ANSWER job is first held by the process that
received it, which may answer on the peer's association. If that process releases the job or dies,
the worker of the peer's lane answers.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, Connection, Row, Select, func, select, update
from sqlalchemy import insert as plain_insert

from storage.audit.records import AuditEntry, AuditKind, subject_of
from storage.audit.trail import append
from storage.errors import UnknownRecordError
from storage.queue.transitions import settle
from storage.records import Inquiry, InstanceName, Job, JobKind, JobState, KeptFile
from storage.tables.database import Database, insert
from storage.tables.schema import commitment_inquiries, deliveries, instances, jobs, objects


class Inquiries:
    """Peers' requests for commitment."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._now = clock

    def record(
        self,
        peer: str,
        transaction_uid: str,
        instances: Sequence[InstanceName],
        worker: str,
        lease: timedelta,
    ) -> Job:
        """Record a request before it is accepted; return its ANSWER job, held by `worker`.

        A repeated request is answered again. Another request under a transaction UID that the peer
        has used before is recorded with `reuses_uid`, and is answered with that failure reason.
        """
        now = self._now()
        # Sorted: a repeated request may name its instances in another order.
        pairs = sorted([item.sop_class_uid, item.sop_instance_uid] for item in instances)
        with self._database.writing() as connection:
            earlier = connection.execute(
                select(commitment_inquiries)
                .where(
                    commitment_inquiries.c.transaction_uid == transaction_uid,
                    commitment_inquiries.c.peer == peer,
                )
                .order_by(commitment_inquiries.c.id)
            ).all()
            number = next((row.id for row in earlier if row.instances == pairs), None)
            if number is None:
                number = connection.scalar(
                    plain_insert(commitment_inquiries)
                    .values(
                        peer=peer,
                        transaction_uid=transaction_uid,
                        instances=pairs,
                        reuses_uid=bool(earlier),
                        received_at=now,
                    )
                    .returning(commitment_inquiries.c.id)
                )
            row = _hold(connection, str(number), peer, worker, now, now + lease)
        return Job(**row._mapping)

    def get(self, job: Job) -> Inquiry:
        """Return the inquiry of an ANSWER job. Raises UnknownRecordError."""
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

    def held(
        self,
        sop_instance_uids: Collection[str],
        sources: Collection[str] | None,
        destinations: Collection[str],
    ) -> Mapping[str, tuple[KeptFile, ...]]:
        """Return the files of these instances by their UID, in one transaction.

        They are those received from these sources, or from any if `sources` is None, and those
        delivered to these destinations, also by the UID under which a destination keeps them.
        Purged files are left out.
        """
        with self._database.reading() as connection:
            found: dict[str, list[KeptFile]] = defaultdict(list)
            for query in (
                _received(sop_instance_uids, sources),
                _delivered(deliveries.c.sop_instance_uid, sop_instance_uids, destinations),
                _delivered(deliveries.c.coerced_uid, sop_instance_uids, destinations),
            ):
                for uid, *file in connection.execute(query):
                    found[uid].append(KeptFile(*file))
        return {uid: tuple(files) for uid, files in found.items()}

    def record_answered(self, job: Job) -> None:
        """Record that the peer has the answer. Raises LeaseLostError."""
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


def _received(uids: Collection[str], sources: Collection[str] | None) -> Select[Any]:
    query = (
        select(
            instances.c.sop_instance_uid,
            instances.c.sop_class_uid,
            instances.c.spool_path,
            instances.c.sha256,
        )
        .where(instances.c.sop_instance_uid.in_(uids), instances.c.purged_at.is_(None))
        .order_by(instances.c.id)
    )
    return query if sources is None else query.where(instances.c.source.in_(sources))


def _delivered(
    name: Column[Any], uids: Collection[str], destinations: Collection[str]
) -> Select[Any]:
    """Select objects that a destination was sent, by this name and by the class that was sent.

    A report that was sent as an older class has another UID there and is not found: its file is
    made when it is sent.
    """
    sent_class = func.coalesce(deliveries.c.sop_class_uid, objects.c.sop_class_uid)
    return (
        select(name, sent_class, objects.c.spool_path, objects.c.sha256)
        .join(objects, objects.c.sop_instance_uid == deliveries.c.sop_instance_uid)
        .where(
            name.in_(uids),
            deliveries.c.destination.in_(destinations),
            deliveries.c.delivered_at.is_not(None),
            objects.c.purged_at.is_(None),
        )
    )


def _hold(
    connection: Connection,
    subject: str,
    lane: str,
    worker: str,
    now: datetime,
    lease_until: datetime,
) -> Row[tuple[object, ...]]:
    """Claim the ANSWER job for a worker, adding it if needed. An earlier claim loses its lease."""
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
