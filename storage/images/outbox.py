"""The outbox by source and destination: deliveries that wait, and those that may not leave."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, select, update

from storage.audit.trail import append
from storage.queue.jobs import parked_entry
from storage.queue.transitions import UNCLAIMED
from storage.records import Job, JobKind, JobState
from storage.summaries.keep import summarise_jobs
from storage.tables.database import Database
from storage.tables.schema import deliveries, jobs, objects

PARKED_AT_ONCE = 500
"""Most jobs that one transaction parks, so that receptions wait for a short time."""


@dataclass(frozen=True, slots=True)
class Route:
    """The source of a result, and a destination for which it is queued."""

    source: str
    destination: str


class Outbox:
    """Deliveries by source and destination."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._now = clock

    def queued_routes(self) -> tuple[Route, ...]:
        """Return the routes with queued deliveries, in order of source and destination."""
        columns = objects.c.source, deliveries.c.destination
        query = _of_deliveries(select(*columns)).where(jobs.c.state == JobState.QUEUED)
        with self._database.reading() as connection:
            rows = connection.execute(query.distinct().order_by(*columns)).all()
        return tuple(Route(row.source, row.destination) for row in rows)

    def park(self, route: Route, reason: str) -> int:
        """Park the queued deliveries of a route; return their number.

        The reason goes to the audit trail, so it must not name a patient.
        """
        parked = 0
        while found := self._park_some(route, reason):
            parked += found
        return parked

    def _park_some(self, route: Route, reason: str) -> int:
        now = self._now()
        some = (
            _of_deliveries(select(jobs.c.id))
            .where(
                jobs.c.state == JobState.QUEUED,
                objects.c.source == route.source,
                deliveries.c.destination == route.destination,
            )
            .order_by(jobs.c.id)
            .limit(PARKED_AT_ONCE)
        )
        statement = (
            update(jobs)
            # A server may give the job to a worker between the two statements.
            .where(jobs.c.id.in_(some.scalar_subquery()), jobs.c.state == JobState.QUEUED)
            .values(state=JobState.PARKED, last_error=reason, updated_at=now, **UNCLAIMED)
            .returning(*jobs.c)
        )
        with self._database.writing() as connection:
            changed = [Job(**row) for row in connection.execute(statement).mappings()]
            summarise_jobs(connection, changed)
            for job in changed:
                append(connection, parked_entry(connection, job, reason), now)
        return len(changed)


def _of_deliveries(query: Select[*tuple[object, ...]]) -> Select[*tuple[object, ...]]:
    return (
        query.select_from(jobs)
        .join(deliveries, deliveries.c.job_id == jobs.c.id)
        .join(objects, objects.c.sop_instance_uid == deliveries.c.sop_instance_uid)
        .where(jobs.c.kind == JobKind.DELIVER)
    )
