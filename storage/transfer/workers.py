"""Processes that work on a store now, as its tables show them."""

from datetime import datetime

from sqlalchemy import func, select

from storage.hosts.nodes import Nodes, SeenRole
from storage.records import JobState
from storage.tables import upgrade
from storage.tables.database import open_database
from storage.tables.schema import jobs


def roles_at_work(database_url: str) -> tuple[SeenRole, ...]:
    """Return the roles of all hosts that were seen in the last minute. Raises SchemaError."""
    with open_database(database_url) as database:
        upgrade.require_tables(database)
        return tuple(role for role in Nodes(database, database.now).list() if not role.is_silent)


def held_until(database_url: str) -> dict[str, datetime]:
    """Return the end of the last lease on a job of each worker that holds one."""
    with open_database(database_url) as database, database.reading() as connection:
        query = (
            select(jobs.c.worker, func.max(jobs.c.lease_until).label("until"))
            .where(jobs.c.state == JobState.RUNNING, jobs.c.lease_until > database.now())
            .group_by(jobs.c.worker)
        )
        return {row.worker: row.until for row in connection.execute(query)}
