"""Orders to fetch studies from archives, and the facts that decide what is fetched when.

A study has one RETRIEVE job for each peer, which serves all orders that name it. The job compares
what the archive has with what is kept here, so doing it again fetches what is missing, and no more.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    exists,
    func,
    insert,
    literal,
    select,
    update,
)

from storage.audit.records import AuditEntry, AuditKind, subject_of
from storage.audit.trail import append
from storage.errors import UnknownRecordError
from storage.queue.transitions import enqueue
from storage.records import Job, JobKind, JobState, Priority, RetrievalPurpose, StudyKey
from storage.retrievals.records import ParkedStudy, RetrievalOrder
from storage.tables.database import Database
from storage.tables.exchange.retrievals import retrieval_orders, retrieval_studies
from storage.tables.schema import QUEUED_JOBS, instances, jobs

_OPEN = (JobState.QUEUED, JobState.RUNNING)


class Retrievals:
    """The orders, for the command, for workers and for other parts that need a study."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._now = clock

    def order(
        self,
        peer: str,
        studies: Sequence[str],
        purpose: RetrievalPurpose,
        ordered_by: str,
        *,
        host: str = "",
        at_once: bool = False,
    ) -> int:
        """Order studies, by Study Instance UID, from a peer; return the number of the order.

        Their jobs are queued in the same transaction, those that have ended again. Films of a
        backfill have that priority, all others are ordinary; `at_once` fetches a backfill outside
        the hours of `pull`, too. Raises ValueError without a study.
        """
        uids = tuple(dict.fromkeys(studies))
        if not uids:
            raise ValueError("an order names at least one study")
        is_backfill = purpose is RetrievalPurpose.BACKFILL
        priority = Priority.BACKFILL if is_backfill and not at_once else Priority.ROUTINE
        now = self._now()
        with self._database.writing() as connection:
            number: int = connection.execute(
                insert(retrieval_orders)
                .values(peer=peer, purpose=purpose, ordered_by=ordered_by, ordered_at=now)
                .returning(retrieval_orders.c.id)
            ).scalar_one()
            connection.execute(
                insert(retrieval_studies),
                [{"order_id": number, "study_instance_uid": uid} for uid in uids],
            )
            for uid in uids:
                enqueue(
                    connection,
                    JobKind.RETRIEVE,
                    subject_at(uid, peer),
                    now=now,
                    not_before=now,
                    lane=peer,
                    priority=priority,
                )
            append(
                connection,
                AuditEntry(
                    AuditKind.RETRIEVAL_ORDERED,
                    actor=ordered_by,
                    host=host,
                    subject=subject_of(study=uids[0] if len(uids) == 1 else None, destination=peer),
                    detail=f"order {number}: {len(uids)} study(ies), {purpose}",
                ),
                now,
            )
        return number

    def get(self, number: int) -> RetrievalOrder:
        """Return an order. Raises UnknownRecordError."""
        found = self._orders(retrieval_orders.c.id == number, 1)
        if not found:
            raise UnknownRecordError(f"there is no order {number}: `cxrd pull --list` shows them")
        return found[0]

    def list(self, limit: int = 50) -> tuple[RetrievalOrder, ...]:
        """Return the newest orders of backfills."""
        return self._orders(retrieval_orders.c.purpose == RetrievalPurpose.BACKFILL, limit)

    def parked(self, number: int, limit: int = 20) -> tuple[ParkedStudy, ...]:
        """Return the studies of an order whose jobs are parked, with the reasons."""
        query = (
            _jobs_of(retrieval_orders.c.id == number)
            .with_only_columns(jobs.c.id, retrieval_studies.c.study_instance_uid, jobs.c.last_error)
            .where(jobs.c.state == JobState.PARKED)
            .order_by(jobs.c.id)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return tuple(
                ParkedStudy(number, uid, reason or "")
                for number, uid, reason in connection.execute(query)
            )

    def stop(self, number: int, stopped_by: str, *, host: str = "") -> int:
        """Fetch nothing more for an order; return the number of jobs that were discarded.

        A study that another open order names is still fetched, and one that is being fetched now
        is completed. Raises UnknownRecordError.
        """
        order = self.get(number)
        now = self._now()
        others = retrieval_studies.alias("others")
        other_orders = retrieval_orders.alias("other_orders")
        is_wanted = exists().where(
            others.c.study_instance_uid == retrieval_studies.c.study_instance_uid,
            others.c.order_id != number,
            other_orders.c.id == others.c.order_id,
            other_orders.c.peer == order.peer,
            other_orders.c.stopped_at.is_(None),
        )
        unwanted = (
            _jobs_of(retrieval_orders.c.id == number).with_only_columns(jobs.c.id).where(~is_wanted)
        )
        with self._database.writing() as connection:
            connection.execute(
                update(retrieval_orders)
                .where(retrieval_orders.c.id == number, retrieval_orders.c.stopped_at.is_(None))
                .values(stopped_at=now)
            )
            discarded = connection.execute(
                update(jobs)
                .where(
                    jobs.c.id.in_(unwanted), jobs.c.state.in_((JobState.QUEUED, JobState.PARKED))
                )
                .values(state=JobState.DISCARDED, updated_at=now)
            ).rowcount
            append(
                connection,
                AuditEntry(
                    AuditKind.RETRIEVAL_STOPPED,
                    actor=stopped_by,
                    host=host,
                    subject=subject_of(destination=order.peer),
                    detail=f"order {number}: {discarded} study(ies) are not fetched",
                ),
                now,
            )
        return discarded

    def job_of(self, peer: str, study_instance_uid: str) -> Job | None:
        """Return the job of a study at a peer; None if no order named it."""
        query = select(jobs).where(
            jobs.c.kind == JobKind.RETRIEVE,
            jobs.c.subject == subject_at(study_instance_uid, peer),
        )
        with self._database.reading() as connection:
            row = connection.execute(query).mappings().first()
        return Job(**row) if row else None

    def film_priority(self, peer: str, study_instance_uid: str) -> Priority | None:
        """Return the priority of films of a study that come from a peer because of an order.

        None if no job fetches the study now or soon: then the films were not ordered. Those that
        still come for a stopped order keep its priority.
        """
        query = (
            _jobs_of(
                and_(
                    retrieval_orders.c.peer == peer,
                    retrieval_studies.c.study_instance_uid == study_instance_uid,
                )
            )
            .with_only_columns(retrieval_orders.c.purpose)
            .where(jobs.c.state.in_(_OPEN))
        )
        with self._database.reading() as connection:
            purposes = set(connection.scalars(query))
        if not purposes:
            return None
        only_backfill = purposes == {RetrievalPurpose.BACKFILL}
        return Priority.BACKFILL if only_backfill else Priority.ROUTINE

    def kept(self, key: StudyKey) -> frozenset[str]:
        """Return the SOP Instance UIDs of a study whose files are kept here."""
        query = select(instances.c.sop_instance_uid).where(
            instances.c.source == key.source,
            instances.c.study_instance_uid == key.study_instance_uid,
            instances.c.purged_at.is_(None),
        )
        with self._database.reading() as connection:
            return frozenset(connection.scalars(query))

    def has_room(self, most: int) -> bool:
        """Return True if no other film waits, and fewer than `most` films of backfills do.

        A film waits until its analysis has ended.
        """
        analyses = jobs.c.kind == JobKind.ANALYSE
        is_backfill = jobs.c.priority == int(Priority.BACKFILL)
        queued = and_(QUEUED_JOBS, jobs.c.lane.is_(None), analyses, is_backfill)
        running = and_(jobs.c.state == JobState.RUNNING, analyses, is_backfill)
        queued_films, running_films = (
            select(func.count()).select_from(jobs).where(condition).scalar_subquery()
            for condition in (queued, running)
        )
        others = exists().where(
            QUEUED_JOBS,
            jobs.c.lane.is_(None),
            analyses,
            jobs.c.priority.in_((int(Priority.ROUTINE), int(Priority.STAT))),
            jobs.c.not_before <= self._now(),
        )
        with self._database.reading() as connection:
            waiting, in_work, is_busy = connection.execute(
                select(queued_films, running_films, others)
            ).one()
        return not is_busy and waiting + in_work < most

    def has_urgent(self, peer: str) -> bool:
        """Return True if a study is due at a peer whose fetching waits for no hours and no room."""
        query = select(
            exists().where(
                QUEUED_JOBS,
                jobs.c.lane == peer,
                jobs.c.kind == JobKind.RETRIEVE,
                jobs.c.priority >= int(Priority.ROUTINE),
                jobs.c.not_before <= self._now(),
            )
        )
        with self._database.reading() as connection:
            return bool(connection.scalar(query))

    def _orders(self, condition: ColumnElement[bool], limit: int) -> tuple[RetrievalOrder, ...]:
        query = (
            select(retrieval_orders)
            .where(condition)
            .order_by(retrieval_orders.c.id.desc())
            .limit(limit)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).mappings().all()
            return tuple(
                RetrievalOrder(**row, studies=_counts(connection, int(row["id"]))) for row in rows
            )


def subject_at(study_instance_uid: str, peer: str) -> str:
    """Return the subject of a RETRIEVE job."""
    return f"{study_instance_uid}@{peer}"


def _counts(connection: Connection, number: int) -> dict[JobState, int]:
    query = (
        _jobs_of(retrieval_orders.c.id == number)
        .with_only_columns(jobs.c.state, func.count())
        .group_by(jobs.c.state)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def _jobs_of(condition: ColumnElement[bool]) -> Select[tuple[int]]:
    """Return the query of the jobs of orders; the caller names its columns."""
    subject = retrieval_studies.c.study_instance_uid + literal("@") + retrieval_orders.c.peer
    return (
        select(jobs.c.id)
        .select_from(retrieval_orders)
        .join(retrieval_studies, retrieval_studies.c.order_id == retrieval_orders.c.id)
        .join(jobs, and_(jobs.c.kind == JobKind.RETRIEVE, jobs.c.subject == subject))
        .where(condition)
    )
