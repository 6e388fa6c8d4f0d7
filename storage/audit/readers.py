"""The position of each consumer of the audit trail, such as a syslog server."""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update

from storage.tables.database import Database, insert
from storage.tables.schema import audit_readers


class AuditReaders:
    """Readers by name. One process at a time reads for a reader, under a lease."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._now = clock

    def hold(self, name: str, holder: str, lease: timedelta) -> int | None:
        """Take or renew the lease of a reader; return the number of the last row it read, or 0.

        Returns None while another process holds the lease.
        """
        now = self._now()
        new = {"name": name, "number": 0, "holder": holder, "held_until": now}
        take_lease = (
            update(audit_readers)
            .where(
                audit_readers.c.name == name,
                or_(audit_readers.c.holder == holder, audit_readers.c.held_until <= now),
            )
            .values(holder=holder, held_until=now + lease)
            .returning(audit_readers.c.number)
        )
        with self._database.writing() as connection:
            connection.execute(
                insert(connection, audit_readers).values(new).on_conflict_do_nothing()
            )
            number: int | None = connection.scalar(take_lease)
        return number

    def place(self, name: str) -> int:
        """Return the number of the last row that a reader has read, or 0."""
        query = select(audit_readers.c.number).where(audit_readers.c.name == name)
        with self._database.reading() as connection:
            return connection.scalar(query) or 0

    def advance(self, name: str, holder: str, number: int) -> bool:
        """Record that the rows up to `number` were read; return False without the lease."""
        statement = (
            update(audit_readers)
            .where(audit_readers.c.name == name, audit_readers.c.holder == holder)
            .values(number=number)
        )
        with self._database.writing() as connection:
            return connection.execute(statement).rowcount == 1

    def release(self, holder: str) -> None:
        """End the leases of a process that has exited, so that another process can read at once."""
        statement = (
            update(audit_readers)
            .where(audit_readers.c.holder == holder, audit_readers.c.held_until > self._now())
            .values(held_until=self._now())
        )
        with self._database.writing() as connection:
            connection.execute(statement)
