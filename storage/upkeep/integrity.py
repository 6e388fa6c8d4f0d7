"""Integrity checks of the store and the spool, before the daemon writes to them.

A damaged store, or a missing store with files in the spool, is not opened: a write could destroy
the rest of it. These checks only read.
"""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, inspect, select

from storage.errors import IntegrityError, SpoolUnavailableError, StorageError
from storage.files.spool import Spool, holds_received_files
from storage.tables.database import Database, open_database, parse_url
from storage.tables.schema import instances, objects

START_SECONDS = 10.0
"""Time limit for the check at the start. A large store is checked only in part."""
_STEPS_PER_TIME_CHECK = 10_000

PAGE_ROWS = 1000

_RESTORE_HINT = (
    "keep a copy of it, then restore a backup as docs/backup.md says; nothing was changed"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """A spooled file that is missing or altered; `owner` is `instance` or `object`."""

    owner: str
    number: int
    problem: str

    def __str__(self) -> str:
        if self.owner == "instance":
            return (
                f"instance {self.number}: its file {self.problem}: have it sent again, "
                "which puts the file back, or restore it from a backup"
            )
        return f"object {self.number}: its file {self.problem}: restore it from a backup"


def check_store(database_url: str, spool: Spool, seconds: float | None = START_SECONDS) -> bool:
    """Check the store; return True if the check finished within `seconds`.

    Without a time limit (None), the check includes the indexes. A PostgreSQL server checks itself.
    Raises IntegrityError if the store is damaged, or missing while the spool has received files.
    """
    in_time = True
    try:
        url = parse_url(database_url)
    except StorageError:
        return in_time  # `Store.open` raises the error of a bad URL
    if url.get_backend_name() == "sqlite" and url.database:
        path = Path(url.database)
        if path.is_dir():
            raise IntegrityError(
                f"the store {path} is a folder: move it away, then {_RESTORE_HINT}"
            )
        found = path.exists() and path.stat().st_size > 0
        if found:
            in_time = check_sqlite(
                path, seconds, pragma="quick_check" if seconds else "integrity_check"
            )
            # A daemon whose store was deleted makes a new file with a header and no tables.
            found = _sqlite_has_tables(path)
        store = f"the store {path} is {'empty' if path.exists() else 'missing'}"
    elif url.get_backend_name() == "postgresql":
        found = _has_tables(database_url)
        store = "the database has no tables"
    else:
        return in_time
    if not found and holds_received_files(spool):
        raise IntegrityError(
            f"{store}, but {spool.place} holds images that were received: set database_url (or"
            " data_dir) to the store of these, restore a backup as docs/backup.md says, or move"
            " them away to begin anew"
        )
    return in_time


def check_sqlite(path: Path, seconds: float | None, *, pragma: str = "quick_check") -> bool:
    """Check a SQLite file; return True if the check finished within `seconds` (None: no limit).

    Raises IntegrityError if the file is damaged.
    """
    deadline = time.monotonic() + seconds if seconds is not None else None
    try:
        with contextlib.closing(_connect_read_only(path)) as database:
            if deadline is not None:
                database.set_progress_handler(
                    lambda: time.monotonic() > deadline, _STEPS_PER_TIME_CHECK
                )
            (verdict,) = database.execute(f"PRAGMA {pragma}(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return False
        raise IntegrityError(
            f"the store {path} cannot be read ({error}): {_RESTORE_HINT}"
        ) from error
    except sqlite3.DatabaseError as error:
        raise IntegrityError(f"the store {path} is damaged ({error}): {_RESTORE_HINT}") from error
    if verdict != "ok":
        problem = " ".join(str(verdict).split())
        raise IntegrityError(f"the store {path} is damaged ({problem}): {_RESTORE_HINT}")
    return True


def _connect_read_only(path: Path) -> sqlite3.Connection:
    # Without a write-ahead log no process has the store open; `immutable` then creates no log.
    immutable = "" if path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro{immutable}", uri=True)


def _sqlite_has_tables(path: Path) -> bool:
    query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
    with contextlib.closing(_connect_read_only(path)) as database:
        return bool(database.execute(query, (instances.name,)).fetchone()[0])


def _has_tables(database_url: str) -> bool:
    with open_database(database_url) as database, database.reading() as connection:
        return inspect(connection).has_table(instances.name)


class Integrity:
    """Comparison of the rows with the files in the spool."""

    def __init__(self, database: Database, page_rows: int = PAGE_ROWS) -> None:
        self._database = database
        self._page_rows = page_rows

    def faults(
        self,
        spool: Spool,
        *,
        read: bool,
        progress: Callable[[int, int], object] = lambda _done, _total: None,
    ) -> Iterator[Fault]:
        """Yield a fault for each missing or altered file.

        With `read` files are compared by their digest, otherwise by their size. Rows are read in
        pages, so that a slow caller keeps no transaction open. `progress` gets the bytes that are
        done, and those of all files. Raises SpoolUnavailableError.
        """
        done, total = 0, self._bytes()
        for owner, table in (("instance", instances), ("object", objects)):
            last = 0
            while rows := self._page(table, last):
                for row in rows:
                    progress(done, total)
                    done += row.size
                    problem = _problem(spool, row, read=read)
                    if problem is not None and self._names_file(table, row):
                        yield Fault(owner, row.id, problem)
                last = rows[-1].id

    def _bytes(self) -> int:
        """Return the size of all files that rows name."""
        with self._database.reading() as connection:
            return sum(
                connection.scalar(
                    select(func.coalesce(func.sum(table.c.size), 0)).where(
                        table.c.purged_at.is_(None)
                    )
                )
                or 0
                for table in (instances, objects)
            )

    def _page(self, table: Any, after: int) -> list[Any]:
        query = (
            select(table.c.id, table.c.spool_path, table.c.size, table.c.sha256)
            .where(table.c.purged_at.is_(None), table.c.id > after)
            .order_by(table.c.id)
            .limit(self._page_rows)
        )
        with self._database.reading() as connection:
            return list(connection.execute(query))

    def _names_file(self, table: Any, row: Any) -> bool:
        """Return True if the row still names the file: a purge or a new file may change that."""
        query = select(table.c.id).where(
            table.c.id == row.id, table.c.purged_at.is_(None), table.c.sha256 == row.sha256
        )
        with self._database.reading() as connection:
            return connection.scalar(query) is not None


def _problem(spool: Spool, row: Any, *, read: bool) -> str | None:
    try:
        if read:
            spool.verify(row.spool_path, row.sha256)
            return None
        size = spool.size(row.spool_path)
    except SpoolUnavailableError:
        raise
    except IntegrityError:
        is_there = spool.exists(row.spool_path)
        return "has changed since it was written" if is_there else "is missing"
    except StorageError as error:
        return f"cannot be read ({error})"
    return None if size == row.size else f"has {size} bytes instead of {row.size}"
