"""Are the store and the spool as they were left? Looked at before anything is written to them.

A store that is damaged, or gone while its files are there, is not opened: what a start would write
into it could be the last of it. Nothing here writes.
"""

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import inspect, select

from storage.errors import IntegrityError, SpoolUnavailableError, StorageError
from storage.files.durable import os_errors_named
from storage.files.spool import MARKER, Spool, is_marked
from storage.tables.database import Database, open_engine, parse_url
from storage.tables.schema import instances, objects

START_SECONDS = 10.0
"""How long the check at the start may take. A store too large for it is checked up to there."""

_STEPS_BETWEEN_LOOKS = 10_000

_PAGE_ROWS = 1000

_MEND = "keep a copy of it, then restore a backup as docs/operations.md says; nothing was changed"


@dataclass(frozen=True, slots=True)
class Fault:
    """A spooled file that is not as it was written; `what` is an instance or an object."""

    what: str
    number: int
    problem: str

    def __str__(self) -> str:
        if self.what == "instance":
            return (
                f"instance {self.number}: its file {self.problem}: have it sent again, "
                "which puts the file back, or restore it from a backup"
            )
        return f"object {self.number}: its file {self.problem}: restore it from a backup"


def require_sound(
    database_url: str, spool_root: Path, seconds: float | None = START_SECONDS
) -> bool:
    """Whether all of the store could be checked in `seconds`; with None, indexes are, too.

    A server's own checks are left to it. Raises IntegrityError where the store is damaged, or gone
    although it had files.
    """
    in_time = True
    try:
        url = parse_url(database_url)
    except StorageError:
        return in_time  # opening it says what is wrong
    if url.get_backend_name() == "sqlite" and url.database:
        path = Path(url.database)
        if path.is_dir():
            raise IntegrityError(f"the store {path} is a folder: move it away, then {_MEND}")
        found = path.exists() and path.stat().st_size > 0
        if found:
            in_time = check_sqlite(
                path, seconds, pragma="quick_check" if seconds else "integrity_check"
            )
            # A daemon whose store was deleted makes a new file, which has a header and no more.
            found = _sqlite_has_tables(path)
        store = f"the store {path} is {'empty' if path.exists() else 'missing'}"
    elif url.get_backend_name() == "postgresql":
        found = _has_tables(database_url)
        store = "the database has no tables"
    else:
        return in_time
    if not found and _has_files(spool_root):
        raise IntegrityError(
            f"{store}, but {spool_root} holds images that were received: restore a backup as "
            "docs/operations.md says, or move that folder away to begin anew"
        )
    return in_time


def check_sqlite(path: Path, seconds: float | None, *, pragma: str = "quick_check") -> bool:
    """Whether all of a SQLite file could be checked in time; None waits for as long as it takes.

    Raises IntegrityError where it is damaged.
    """
    deadline = time.monotonic() + seconds if seconds is not None else None
    try:
        with contextlib.closing(_connect_to_read(path)) as database:
            if deadline is not None:
                database.set_progress_handler(
                    lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS
                )
            (verdict,) = database.execute(f"PRAGMA {pragma}(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return False
        raise IntegrityError(f"the store {path} cannot be read ({error}): {_MEND}") from error
    except sqlite3.DatabaseError as error:
        raise IntegrityError(f"the store {path} is damaged ({error}): {_MEND}") from error
    if verdict != "ok":
        said = " ".join(str(verdict).split())
        raise IntegrityError(f"the store {path} is damaged ({said}): {_MEND}")
    return True


def _connect_to_read(path: Path) -> sqlite3.Connection:
    # Where there is no log, nobody has the store open, and then SQLite need not make a new one.
    alone = "" if path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro{alone}", uri=True)


def _sqlite_has_tables(path: Path) -> bool:
    query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
    with contextlib.closing(_connect_to_read(path)) as database:
        return bool(database.execute(query, (instances.name,)).fetchone()[0])


def _has_tables(database_url: str) -> bool:
    database = Database(open_engine(database_url, create=False))
    try:
        with database.reading() as connection:
            return inspect(connection).has_table(instances.name)
    finally:
        database.engine.dispose()


def _has_files(spool_root: Path) -> bool:
    return next(spool_root.glob("received/*/*"), None) is not None


class Integrity:
    """What the rows say against what is in the spool."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def require_spool(self, root: Path) -> None:
        """Raise IntegrityError where files are kept and `root` is not the spool that has them.

        The files themselves will do: an earlier version did not mark its spool.
        """
        if is_marked(root):
            return
        names_any = False
        for table in (instances, objects):
            last = 0
            while rows := self._page(table, last):
                names_any = True
                with os_errors_named(root):
                    if any((root / row.spool_path).exists() for row in rows):
                        return
                last = rows[-1].id
        if names_any:
            raise IntegrityError(
                f"the spool is not at {root}: none of the files that the store names is there. "
                "Mount its volume, or restore a backup as docs/operations.md says; to go on "
                f"without these files, make an empty file {MARKER} in that folder"
            )

    def faults(self, spool: Spool, *, read: bool) -> Iterator[Fault]:
        """Every file that is missing or altered; with `read` by its hash, otherwise by its size.

        Rows are read a page at a time, so that a slow reader holds nothing up. Raises
        SpoolUnavailableError where no file can be looked at.
        """
        for what, table in (("instance", instances), ("object", objects)):
            last = 0
            while rows := self._page(table, last):
                for row in rows:
                    problem = _problem(spool, row, read=read)
                    if problem is not None and self._is_kept(table, row):
                        yield Fault(what, row.id, problem)
                last = rows[-1].id

    def _page(self, table: Any, after: int) -> list[Any]:
        query = (
            select(table.c.id, table.c.spool_path, table.c.size, table.c.sha256)
            .where(table.c.purged_at.is_(None), table.c.id > after)
            .order_by(table.c.id)
            .limit(_PAGE_ROWS)
        )
        with self._database.reading() as connection:
            return list(connection.execute(query))

    def _is_kept(self, table: Any, row: Any) -> bool:
        """Whether the row still names that file: it may have been purged or made anew meanwhile."""
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
        is_there = spool.path(row.spool_path).exists()
        return "has changed since it was written" if is_there else "is missing"
    except StorageError as error:
        return f"cannot be read ({error})"
    return None if size == row.size else f"has {size} bytes instead of {row.size}"
