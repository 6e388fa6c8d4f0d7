"""A copy of the store and of every file it names, made while the daemon runs.

The store is copied as it was at one moment, and the files that its rows name at that moment after
it: files are written before their rows, so all are there. Whoever removes spooled files for good
waits meanwhile. A backup is made under a temporary name and renamed when all of it is on disk.

    cxrd-20260301T120000Z/
        backup.json      what this is, and what could not be copied
        SHA256SUMS       of every file below, for `sha256sum --check`, too
        store.sqlite     or store.pgdump
        spool/           as in data_dir; a hard link to what the backup before holds intact
"""

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select, text

from storage.errors import IntegrityError, StorageError
from storage.files.durable import make_folder, os_errors_named, sync_folder
from storage.files.lock import turn_within
from storage.files.spool import MARK, MARKER, Spool
from storage.tables.database import Database, open_engine
from storage.tables.schema import instances, objects
from storage.tables.upgrade import require_current

FORMAT = 1

FACTS, SUMS, SPOOL = "backup.json", "SHA256SUMS", "spool"

SQLITE_COPY, POSTGRESQL_COPY = "store.sqlite", "store.pgdump"

WAIT_SECONDS = 60.0

_PART, _LOCK = ".part", ".lock"

_NAMED_BY_TIME = f"cxrd-{'[0-9]' * 8}T{'[0-9]' * 6}Z"

_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A spooled file that a row names; `owner` says whose it is without naming a patient."""

    owner: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class BackupSummary:
    """What a backup holds. `linked` files were not copied: the backup before holds them.

    `damaged` names whose files could not be copied as they should be; they are left out.
    """

    format: int
    made_at: str
    store: str
    files: int
    linked: int
    size: int
    damaged: tuple[str, ...]


def back_up(
    database_url: str, spool: Spool, into: Path, lock: Path, now: datetime
) -> tuple[Path, BackupSummary]:
    """Make a backup in a new folder below `into`; the folder, and what it holds.

    A damaged, unreadable or missing file does not keep the rest from being copied. Raises
    SchemaError, StoreUnavailableError where another backup or a purge is under way,
    OutOfSpaceError or another StorageError, and then leaves nothing behind.
    """
    target = into / f"cxrd-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    database = Database(open_engine(database_url, create=False))
    try:
        require_current(database)
        make_folder(into)
        with (
            turn_within(lock, WAIT_SECONDS),
            turn_within(into / _LOCK, WAIT_SECONDS),
            _made_whole(target) as folder,
        ):
            summary = _fill(folder, database, spool, _latest(into), now)
    finally:
        database.engine.dispose()
    return target, summary


def named_files(connection: Connection) -> list[NamedFile]:
    """Every file that is kept, by the rows."""
    return [
        NamedFile(f"{what} {row.id}", row.spool_path, row.sha256)
        for what, table in (("instance", instances), ("object", objects))
        for row in connection.execute(
            select(table.c.id, table.c.spool_path, table.c.sha256)
            .where(table.c.purged_at.is_(None))
            .order_by(table.c.id)
        )
    ]


@contextlib.contextmanager
def _made_whole(target: Path) -> Iterator[Path]:
    """A folder to fill that gets its name when the block ends well, or is removed."""
    if target.exists():
        raise StorageError(f"{target} is there already: try again in a second")
    folder = target.with_name(target.name + _PART)
    with os_errors_named(target):
        for left in target.parent.glob(f"{_NAMED_BY_TIME}{_PART}"):
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left)
        try:
            folder.mkdir(mode=0o700)
            yield folder
            for name, _, _ in os.walk(folder):
                sync_folder(Path(name))
            folder.rename(target)
            sync_folder(target.parent)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _fill(
    folder: Path, database: Database, spool: Spool, previous: Path | None, now: datetime
) -> BackupSummary:
    with database.reading() as connection:
        named = named_files(connection)
        store = _copy_store(connection, folder)
    sums = {store: _sha256(folder / store)}
    size = (folder / store).stat().st_size
    had = _held_by(previous)
    # There even where nothing was received yet, so that one way to restore fits all.
    (folder / SPOOL).mkdir(mode=0o700)
    _write(folder / SPOOL / MARKER, MARK.decode())
    damaged, linked = [], 0
    for file in named:
        name = f"{SPOOL}/{file.path}"
        target = folder / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        earlier = had.get(name)
        if earlier is not None and _link(earlier, target, file.sha256):
            linked += 1
        elif not _copy(spool.path(file.path), target, file.sha256):
            damaged.append(file.owner)
            continue
        sums[name] = file.sha256
        size += target.stat().st_size
    summary = BackupSummary(
        FORMAT, now.isoformat(), store, len(sums) - 1, linked, size, tuple(damaged)
    )
    _write(folder / SUMS, "".join(f"{sha256}  {name}\n" for name, sha256 in sums.items()))
    _write(folder / FACTS, json.dumps(asdict(summary), indent=1) + "\n")
    return summary


def _copy_store(connection: Connection, folder: Path) -> str:
    """Copy the store as this transaction sees it."""
    if connection.dialect.name == "postgresql":
        return _dump_postgresql(connection, folder)
    target = folder / SQLITE_COPY
    target.touch(mode=0o600)
    source: Any = connection.connection.driver_connection
    with contextlib.closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
        # One file, complete without the two that accompany a store in use.
        copy.execute("PRAGMA journal_mode = DELETE")
    _sync(target)
    return SQLITE_COPY


def _dump_postgresql(connection: Connection, folder: Path) -> str:
    program = shutil.which("pg_dump")
    if program is None:
        raise StorageError(
            "pg_dump is not installed, and the store is on PostgreSQL: install the server's client"
            " programs (Debian: postgresql-client), or back up that database and data_dir yourself"
        )
    url = connection.engine.url
    snapshot = connection.scalar(text("SELECT pg_export_snapshot()"))
    address = url.set(drivername="postgresql", password=None).render_as_string()
    target = folder / POSTGRESQL_COPY
    target.touch(mode=0o600)
    done = subprocess.run(  # noqa: S603 - the program found above, and our own arguments
        [
            program,
            "--format=custom",
            "--no-password",
            f"--snapshot={snapshot}",
            f"--file={target}",
            f"--dbname={address}",
        ],
        env={**os.environ, **({"PGPASSWORD": str(url.password)} if url.password else {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise StorageError(f"pg_dump failed ({said}): no backup was made")
    _sync(target)
    return POSTGRESQL_COPY


def _held_by(previous: Path | None) -> dict[str, Path]:
    """The files of the backup before, which may be damaged itself, by their names in it."""
    if previous is None:
        return {}
    try:
        return {name: previous / name for name in read_sums(previous)}
    except (IntegrityError, OSError):
        return {}


def _link(source: Path, target: Path, sha256: str) -> bool:
    """Share a file of the backup before that has this hash still; False where that cannot be."""
    try:
        if _sha256(source) != sha256:
            return False
        os.link(source, target)
    except OSError:
        return False
    return True


def _copy(source: Path, target: Path, sha256: str) -> bool:
    """Copy a file that must have this hash; False, and no copy, where it cannot be read so."""
    digest = hashlib.sha256()
    descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as copy:
        for chunk in _readable(source):
            digest.update(chunk)
            copy.write(chunk)
        copy.flush()
        os.fsync(descriptor)
    if digest.hexdigest() == sha256:
        return True
    target.unlink()
    return False


def _readable(source: Path) -> Iterator[bytes]:
    """A file up to where it cannot be read any further."""
    with contextlib.suppress(OSError), source.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _latest(into: Path) -> Path | None:
    """The newest whole backup in this folder."""
    found = sorted(path.parent for path in into.glob(f"cxrd-*/{FACTS}"))
    whole = [path for path in found if path.suffix != _PART]
    return whole[-1] if whole else None


def read_sums(folder: Path) -> dict[str, str]:
    """The hash of every file of a backup. Raises IntegrityError where it is none."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
        return {name: sha256 for sha256, name in (line.split("  ", 1) for line in lines)}
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise IntegrityError(f"{folder} is not a whole backup: use another one") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, content: str) -> None:
    path.touch(mode=0o600)
    path.write_text(content, encoding="utf-8")
    _sync(path)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
