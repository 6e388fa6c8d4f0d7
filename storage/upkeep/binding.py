"""The binding of a store to its spool: each of the two names the other.

The store knows the id of its spool, and the marker file of the spool has that id and the id of the
store. The first start of the daemon writes them. Later every start compares them: a host with
another spool or another database would acknowledge images that the other hosts cannot read.

The marker file is written before the store's transaction is committed. After a crash between the
two it names this store, so the next start goes on.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from storage.audit.records import AuditEntry, AuditKind
from storage.audit.trail import append
from storage.errors import IntegrityError
from storage.files.marker import MARKER_NAME, Marker
from storage.files.spool import Spool, holds_received_files
from storage.tables.database import Database, lock_until_end
from storage.tables.facts import FIRST_SCHEMA, add_fact, facts, set_fact
from storage.tables.schema import instances, objects

NEWEST_ROWS = 1000
"""One of the newest rows of a table must name a file of a spool without an id."""

_SPOOL, _STORE, _GIVEN_UP = "spool_id", "store_id", "rows_without_files"
_OWN_SCHEMA = "0008"
"""The first schema with ids: a store that was created with it never had a spool without one."""

# An arbitrary number, the same for every process that binds a spool.
_BINDING_LOCK = 0x63787273


@dataclass(frozen=True, slots=True)
class _Facts:
    """The ids in the store, empty if it has none, and the revision that created the tables."""

    spool_id: str
    store_id: str
    first_schema: str
    given_up: str

    @property
    def last_given_up(self) -> tuple[int, int]:
        """The last instance and object whose files an operator gave up."""
        instance, _, built = self.given_up.partition(",")
        return int(instance or 0), int(built or 0)


class Binding:
    """The binding of one store to its spool."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._now = clock

    def spool_id(self) -> str:
        """Return the id of this store's spool; an empty text before the daemon's first start."""
        with self._database.reading() as connection:
            return _facts(connection).spool_id

    def require(self, spool: Spool) -> None:
        """Raise IntegrityError unless this is the spool of the store, or the next start binds it.

        Nothing is written. From now on the spool is unavailable while it has another id.
        """
        with self._database.reading() as connection:
            facts = _facts(connection)
            self._require(connection, facts, spool, spool.marker())
        spool.expect(facts.spool_id)

    def bind(self, spool: Spool) -> None:
        """Bind the spool to the store if neither has another; create a spool that is missing.

        Hosts that start at the same time bind one spool; each other host is refused. Raises
        IntegrityError: the spool is not that of this store, or is empty while the store names
        files.
        """
        self._give_store_id()
        with self._database.reading() as connection:
            facts, marker = _facts(connection), spool.marker()
            self._require(connection, facts, spool, marker)
        if not facts.spool_id or marker != Marker(facts.spool_id, facts.store_id):
            with self._database.writing() as connection:
                self._bind(connection, spool)
        spool.expect(self.spool_id())

    def adopt(self, spool: Spool, actor: str, *, without_files: bool) -> int:
        """Bind the store and a spool anew, for an operator; return how many newest files it lacks.

        Both get a new id, so that every other copy of the two is refused. `without_files` accepts a
        spool that holds none of the files that the store names. The audit trail gets a row. Raises
        IntegrityError.
        """
        self._give_store_id()
        with self._database.writing() as connection:
            lock_until_end(connection, _BINDING_LOCK)
            facts = _facts(connection)
            named = _newest_paths(connection, facts)
            missing = [path for path in named if not spool.exists(path)]
            if named and len(missing) == len(named):
                if not without_files:
                    raise _without_files(spool)
                _require_no_received(spool)
            elif not named:
                _require_no_received(spool)
            marker = Marker(uuid.uuid4().hex, facts.store_id)
            spool.put_marker(marker, replace=True)
            set_fact(connection, _SPOOL, marker.spool_id)
            if without_files:
                set_fact(connection, _GIVEN_UP, _last_rows(connection))
            append(
                connection,
                AuditEntry(
                    AuditKind.SPOOL_ADOPTED,
                    actor=actor,
                    detail=f"{spool.place}, now with the id {marker.spool_id}; without"
                    f" {len(missing)} of the {len(named)} newest files",
                ),
                self._now(),
            )
        return len(missing)

    def _give_store_id(self) -> None:
        """Give the store an id before a marker file names it."""
        with self._database.reading() as connection:
            if _facts(connection).store_id:
                return
        with self._database.writing() as connection:
            add_fact(connection, _STORE, uuid.uuid4().hex)

    def _bind(self, connection: Connection, spool: Spool) -> None:
        lock_until_end(connection, _BINDING_LOCK)
        facts, marker = _facts(connection), spool.marker()
        self._require(connection, facts, spool, marker)
        # The id of a marker file that names this store is that of a start that was killed.
        found = marker.spool_id if marker is not None else ""
        bound = Marker(facts.spool_id or found or uuid.uuid4().hex, facts.store_id)
        spool.put_marker(bound, replace=marker is not None)
        written = spool.marker()
        if written != bound:
            raise self._another(facts, spool, written or Marker())
        if not facts.spool_id:
            set_fact(connection, _SPOOL, bound.spool_id)

    def _require(
        self, connection: Connection, facts: _Facts, spool: Spool, marker: Marker | None
    ) -> None:
        """Raise IntegrityError unless the spool is, or may become, that of the store."""
        spool_id = marker.spool_id if marker is not None else ""
        store_id = marker.store_id if marker is not None else ""
        if spool_id and facts.spool_id and spool_id != facts.spool_id:
            raise self._another(facts, spool, Marker(spool_id, store_id))
        if store_id and store_id != facts.store_id:
            raise self._of_another_store(facts, spool, store_id)
        if spool_id:
            if spool.is_empty() and _newest_paths(connection, facts, limit=1):
                raise _without_files(spool)
            return
        named = _newest_paths(connection, facts)
        if any(spool.exists(path) for path in named):
            return  # the spool of an earlier version, or one whose marker file was lost
        if named:
            raise _without_files(spool)
        if facts.spool_id:
            raise self._another(facts, spool, Marker())
        if facts.first_schema >= _OWN_SCHEMA and not _has_received_rows(connection):
            _require_no_received(spool)

    def _another(self, facts: _Facts, spool: Spool, marker: Marker) -> IntegrityError:
        return IntegrityError(
            f"{spool.place} is not the spool of {self._database.name}: its marker file"
            f" {MARKER_NAME} has the id {marker.spool_id or 'of none'}, and the store names"
            f" {facts.spool_id}: set data_dir (or spool.url) and database_url as on the other"
            " hosts, see docs/operations.md"
        )

    def _of_another_store(self, facts: _Facts, spool: Spool, store_id: str) -> IntegrityError:
        return IntegrityError(
            f"{spool.place} is the spool of another store: its marker file {MARKER_NAME} names the"
            f" store {store_id}, and {self._database.name} is {facts.store_id}: set data_dir (or"
            " spool.url) and database_url as on the other hosts, see docs/operations.md"
        )


def _without_files(spool: Spool) -> IntegrityError:
    return IntegrityError(
        f"the spool is not at {spool.place}: none of the files that the store names is there."
        " Mount its volume, set spool.url (or data_dir) to where they are, or restore a backup as"
        " docs/backup.md says; to go on without these files: cxrd store adopt-spool --without-files"
    )


def _require_no_received(spool: Spool) -> None:
    """Raise IntegrityError if the spool holds images that the store cannot know."""
    if holds_received_files(spool):
        raise IntegrityError(
            f"{spool.place} holds received images, and the store names none of them: name the"
            " database of this spool (database_url), or move the spool away to begin anew"
        )


def _facts(connection: Connection) -> _Facts:
    names = (_SPOOL, _STORE, FIRST_SCHEMA, _GIVEN_UP)
    found = facts(connection, names)
    return _Facts(*(found.get(name, "") for name in names))


def _newest_paths(connection: Connection, facts: _Facts, limit: int = NEWEST_ROWS) -> list[str]:
    """Return the files that the newest rows name, without purged ones and those given up."""
    return [
        path
        for table, last in zip((instances, objects), facts.last_given_up, strict=True)
        for path in connection.scalars(
            select(table.c.spool_path)
            .where(table.c.purged_at.is_(None), table.c.id > last)
            .order_by(table.c.id.desc())
            .limit(limit)
        )
    ]


def _last_rows(connection: Connection) -> str:
    """Return the last instance and object, as `_Facts.given_up` says them."""
    last = (connection.scalar(select(func.max(table.c.id))) for table in (instances, objects))
    return ",".join(str(number or 0) for number in last)


def _has_received_rows(connection: Connection) -> bool:
    return connection.scalar(select(instances.c.id).limit(1)) is not None
