"""The roles of all hosts that work on this store, each with a row that its supervisor renews.

All times are those of the store's clock. The row of a role that was stopped is removed; that of a
killed or unreachable role is silent, and is forgotten after a day.
"""

import functools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Executable, case, delete, select

from storage.tables.database import Database, insert_of, parameter
from storage.tables.hosts import nodes

SILENT = timedelta(seconds=60)
"""Age at which a role counts as silent."""
FORGOTTEN = timedelta(days=1)
"""Age at which a silent role is no longer listed."""
_SERVER_SECONDS = 5.0
_FILE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class NodeRole:
    """A role of a host, as its supervisor describes it.

    `name` is the key: it stays the same over restarts. `schema` is the revision of the tables that
    the software knows. `config_digest` and `detail` are texts of the caller.
    """

    name: str
    host: str
    role: str
    version: str
    schema: str
    config_digest: str
    state: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SeenRole:
    """A role of a host, since when it is in its state, and how long ago it was seen."""

    node: NodeRole
    since: datetime
    seen_at: datetime
    age: timedelta

    @property
    def is_silent(self) -> bool:
        """True if the supervisor has not renewed the row for a while: killed, or cut off."""
        return self.age > SILENT


class Nodes:
    """The table of the roles of all hosts."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._now = clock

    @property
    def renew_seconds(self) -> float:
        """The time between two renewals. A file has one writer at a time: they are fewer."""
        is_file = self._database.engine.dialect.name == "sqlite"
        return _FILE_SECONDS if is_file else _SERVER_SECONDS

    def renew(self, roles: Sequence[NodeRole]) -> None:
        """Write the rows of the roles of a host, in one statement."""
        if not roles:
            return
        now = self._now()
        rows = [
            {
                "name": one.name,
                "host": one.host,
                "role": one.role,
                "version": one.version,
                "schema": one.schema,
                "config_digest": one.config_digest,
                "state": one.state,
                "detail": one.detail,
                "since": now,
                "seen_at": now,
            }
            for one in sorted(roles, key=lambda one: one.name)
        ]
        named = {f"{key}_{n}": value for n, row in enumerate(rows) for key, value in row.items()}
        with self._database.writing() as connection:
            connection.execute(_upsert(connection.dialect.name, len(rows)), named)

    def remove(self, names: Collection[str]) -> None:
        """Remove the rows of roles that were stopped."""
        with self._database.writing() as connection:
            connection.execute(delete(nodes).where(nodes.c.name.in_(names)))

    def forget(self) -> None:
        """Remove the rows that were not renewed for a day."""
        old = delete(nodes).where(nodes.c.seen_at < self._now() - FORGOTTEN)
        with self._database.writing() as connection:
            connection.execute(old)

    def list(self) -> tuple[SeenRole, ...]:
        """Return the roles in order of host and role, without forgotten ones."""
        with self._database.reading() as connection:
            rows = connection.execute(_LISTED).all()
            now = self._now()
        found = (
            SeenRole(
                NodeRole(
                    row.name,
                    row.host,
                    row.role,
                    row.version,
                    row.schema,
                    row.config_digest,
                    row.state,
                    row.detail,
                ),
                row.since,
                row.seen_at,
                max(now - row.seen_at, timedelta(0)),
            )
            for row in rows
        )
        return tuple(one for one in found if one.age <= FORGOTTEN)


_LISTED = select(nodes).order_by(nodes.c.host, nodes.c.role, nodes.c.name)


@functools.cache
def _upsert(dialect: str, number: int) -> Executable:
    """Return the statement that writes so many rows. The time of a state is kept with it."""
    rows = [
        {column.name: parameter(column, f"{column.name}_{n}") for column in nodes.columns}
        for n in range(number)
    ]
    statement = insert_of(dialect, nodes).values(rows)
    new = statement.excluded
    since = case((nodes.c.state == new.state, nodes.c.since), else_=new.seen_at)
    others = [column.name for column in nodes.columns if column.name not in ("name", "since")]
    return statement.on_conflict_do_update(
        index_elements=[nodes.c.name], set_={**{name: new[name] for name in others}, "since": since}
    )
