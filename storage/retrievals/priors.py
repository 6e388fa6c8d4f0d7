"""Searches for earlier studies of a patient, before the report of a study that is to name them.

A search is a RETRIEVE job of its own, once for each study and archive. What it finds is ordered for
the purpose PRIOR, and comes in as any film does.
"""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection, exists, select

from storage.queue.transitions import enqueue_once
from storage.records import PRIORS_OF, JobKind, JobState, Priority, RetrievalPurpose, StudyKey
from storage.retrievals.retrievals import subject_at
from storage.tables.database import Database
from storage.tables.exchange.retrievals import retrieval_orders, retrieval_studies
from storage.tables.schema import jobs

_OPEN = (JobState.QUEUED, JobState.RUNNING)


class PriorSearches:
    """The searches, for the report that waits for them and the worker that does them."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._now = clock

    def goes_on(self, key: StudyKey, peer: str) -> bool:
        """Begin the search for a study at a peer, once; return True while its work goes on.

        Its work is the search, the fetching of what it found, and the reports on that. A study
        that was itself fetched from the peer has no search: its patient's studies would otherwise
        all be fetched, one for the other.
        """
        uid = key.study_instance_uid
        with self._database.writing() as connection:
            if _was_fetched(connection, uid, peer):
                return False
            begun = enqueue_once(
                connection,
                JobKind.RETRIEVE,
                subject_at(f"{PRIORS_OF}{uid}", peer),
                now=self._now(),
                lane=peer,
                priority=Priority.ROUTINE,
            )
            if begun is not None:
                return True
            found = connection.scalars(
                select(retrieval_studies.c.study_instance_uid)
                .join(retrieval_orders, retrieval_orders.c.id == retrieval_studies.c.order_id)
                .where(
                    retrieval_orders.c.peer == peer,
                    retrieval_orders.c.ordered_by == f"{PRIORS_OF}{uid}",
                )
            ).all()
            subjects = [subject_at(f"{PRIORS_OF}{uid}", peer)]
            subjects += [subject_at(one, peer) for one in found]
            reports = [StudyKey(key.source, one).subject for one in found]
            return _is_open(connection, JobKind.RETRIEVE, subjects) or _is_open(
                connection, JobKind.REPORT, reports
            )


def _was_fetched(connection: Connection, uid: str, peer: str) -> bool:
    query = (
        select(retrieval_studies.c.order_id)
        .join(retrieval_orders, retrieval_orders.c.id == retrieval_studies.c.order_id)
        .where(
            retrieval_studies.c.study_instance_uid == uid,
            retrieval_orders.c.peer == peer,
            retrieval_orders.c.purpose != RetrievalPurpose.INPUT,
        )
        .limit(1)
    )
    return connection.scalar(query) is not None


def _is_open(connection: Connection, kind: JobKind, subjects: list[str]) -> bool:
    query = select(
        exists().where(jobs.c.kind == kind, jobs.c.subject.in_(subjects), jobs.c.state.in_(_OPEN))
    )
    return bool(connection.scalar(query))
