"""Backups: a copy of the store and of every file it names, made while the daemon runs.

The store is copied in one transaction, then the files that its rows name. Files are written before
their rows, so every file is there. A purge waits for the backup. A backup is made under a temporary
name and renamed when all of it is on disk.

    cxrd-20260301T120000Z/
        backup.json      summary, with the files that could not be copied
        SHA256SUMS       digest of every file below, also for `sha256sum --check`
        store.sqlite     or store.pgdump
        spool/           as in data_dir; files of the previous backup are hard links
"""

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, NullPool, create_engine, select, text
from sqlalchemy.exc import DatabaseError

from storage.errors import (
    IntegrityError,
    OutOfSpaceError,
    SpoolError,
    SpoolUnavailableError,
    StorageError,
)
from storage.files.durable import file_sha256, make_folder, storage_errors, sync_folder
from storage.files.lock import hold_lock
from storage.files.marker import MARKER_NAME, Marker
from storage.files.spool import Spool
from storage.hosts.leases import CONFIRM_SECONDS, LeaseName, Leases
from storage.tables.database import Database, open_database
from storage.tables.schema import instances, objects
from storage.tables.upgrade import require_current

WAIT_SECONDS = 60.0
"""Time limit for the wait for another backup or a purge."""
_FORMAT = 1

Progress = Callable[[int, int], object]
"""It gets the bytes that are done, and those of all files."""

_SUMMARY, _SUMS, _SPOOL = "backup.json", "SHA256SUMS", "spool"

_SQLITE_COPY, _POSTGRESQL_COPY = "store.sqlite", "store.pgdump"
_PART, _LOCK = ".part", ".lock"
_NAMED_BY_TIME = f"cxrd-{'[0-9]' * 8}T{'[0-9]' * 6}Z"


@dataclass(frozen=True, slots=True)
class _NamedFile:
    """A spooled file that a row names. `owner` is `instance NUMBER` or `object NUMBER`."""

    owner: str
    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class BackupSummary:
    """Contents of a backup: file counts and their size in bytes.

    `linked` files are hard links to the previous backup. `damaged` names the owners of files that
    are damaged or missing in the spool and left out of the backup.
    """

    format: int
    made_at: str
    store: str
    files: int
    linked: int
    size: int
    damaged: tuple[str, ...]


def back_up(
    database_url: str,
    spool: Spool,
    into: Path,
    leases: Leases,
    now: datetime,
    *,
    wait_seconds: float = WAIT_SECONDS,
    progress: Progress = lambda _done, _total: None,
) -> tuple[Path, BackupSummary]:
    """Make a backup in a new folder below `into`; return the folder and a summary.

    A damaged, unreadable or missing file is left out; the rest is copied. Raises SchemaError,
    StoreUnavailableError if another backup or a purge still runs after `wait_seconds`,
    OutOfSpaceError or another StorageError. After an error no folder is left.
    """
    target = into / f"cxrd-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    with open_database(database_url) as database:
        require_current(database)
        make_folder(into)
        with (
            leases.hold(LeaseName.FILES, wait_seconds, renewed=True) as lease,
            hold_lock(into / _LOCK, wait_seconds),
            _complete_folder(target) as folder,
        ):
            summary = _fill(folder, database, spool, _latest(into), now, progress)
            # Else files may have been removed since the rows were read: this is no whole backup.
            lease.confirm(seconds=CONFIRM_SECONDS)
    return target, summary


def _named_files(connection: Connection) -> list[_NamedFile]:
    """Return every file that a row names, without purged files."""
    return [
        _NamedFile(f"{name} {row.id}", row.spool_path, row.sha256, row.size)
        for name, table in (("instance", instances), ("object", objects))
        for row in connection.execute(
            select(table.c.id, table.c.spool_path, table.c.sha256, table.c.size)
            .where(table.c.purged_at.is_(None))
            .order_by(table.c.id)
        )
    ]


@contextlib.contextmanager
def _complete_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder; rename it to `target` after the block, or remove it on an error."""
    if target.exists():
        raise StorageError(f"{target} is there already: try again in a second")
    folder = target.with_name(target.name + _PART)
    with storage_errors(target):
        for abandoned in target.parent.glob(f"{_NAMED_BY_TIME}{_PART}"):
            if abandoned.is_dir() and not abandoned.is_symlink():
                shutil.rmtree(abandoned)
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
    folder: Path,
    database: Database,
    spool: Spool,
    previous: Path | None,
    now: datetime,
    progress: Progress,
) -> BackupSummary:
    with database.reading() as connection:
        named = _named_files(connection)
        store = _copy_store(connection, folder)
    sums = {store: file_sha256(folder / store)}
    size = (folder / store).stat().st_size
    linkable = _files_of(previous)
    # An empty store has a spool folder, too: every backup is restored the same way.
    (folder / _SPOOL).mkdir(mode=0o700)
    # The copy has the ids of the spool: the store that is restored with it knows them.
    marker = spool.marker() or Marker()
    _write(folder / _SPOOL / MARKER_NAME, marker.text().decode())
    damaged, linked = [], 0
    done, total = 0, sum(file.size for file in named)
    for file in named:
        progress(done, total)
        done += file.size
        name = f"{_SPOOL}/{file.path}"
        target = folder / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        earlier = linkable.get(name)
        if earlier is not None and _link(earlier, target, file.sha256):
            linked += 1
        elif not _copy(spool, file, target):
            damaged.append(file.owner)
            continue
        sums[name] = file.sha256
        size += target.stat().st_size
    summary = BackupSummary(
        _FORMAT, now.isoformat(), store, len(sums) - 1, linked, size, tuple(damaged)
    )
    _write(folder / _SUMS, "".join(f"{sha256}  {name}\n" for name, sha256 in sums.items()))
    _write(folder / _SUMMARY, json.dumps(asdict(summary), indent=1) + "\n")
    return summary


def _copy_store(connection: Connection, folder: Path) -> str:
    """Copy the store as this transaction sees it; return the name of the copy."""
    if connection.dialect.name == "postgresql":
        return _dump_postgresql(connection, folder)
    target = folder / _SQLITE_COPY
    target.touch(mode=0o600)
    source: Any = connection.connection.driver_connection
    try:
        with contextlib.closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
            # Makes the copy one complete file, without a -wal and a -shm file beside it.
            copy.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise OutOfSpaceError(f"no space left for {target}: free some and try again") from error
        raise StorageError(f"{target}: {error}: check the disk of the backups") from error
    _sync(target)
    return _SQLITE_COPY


def _dump_postgresql(connection: Connection, folder: Path) -> str:
    program = shutil.which("pg_dump")
    if program is None:
        raise StorageError(
            "pg_dump is not installed, and the store is on PostgreSQL: install the server's client"
            " programs (Debian: postgresql-client), or back up that database and data_dir yourself"
        )
    url = connection.engine.url
    # The transaction waits for the program, for as long as a large store takes.
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    snapshot = connection.scalar(text("SELECT pg_export_snapshot()"))
    address = _program_address(url)
    target = folder / _POSTGRESQL_COPY
    target.touch(mode=0o600)
    done = subprocess.run(  # noqa: S603 - the program found above, with our own arguments
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
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise StorageError(f"pg_dump failed ({reason}): no backup was made")
    _sync(target)
    return _POSTGRESQL_COPY


def _program_address(url: URL) -> str:
    """Return the URL for a program of the server, without the password.

    The programs take a plus for itself, where SQLAlchemy writes it for a blank.
    """
    shown = url.set(drivername="postgresql", password=None).render_as_string()
    place, mark, options = shown.partition("?")
    return f"{place}{mark}{options.replace('+', '%20')}"


def _files_of(previous: Path | None) -> dict[str, Path]:
    """Return the files of the previous backup by name; none if its list cannot be read."""
    if previous is None:
        return {}
    try:
        return {name: previous / name for name in _read_sums(previous)}
    except (IntegrityError, OSError):
        return {}


def _link(source: Path, target: Path, sha256: str) -> bool:
    """Link to a file of the previous backup; return False if it is damaged or cannot be linked."""
    try:
        if file_sha256(source) != sha256:
            return False
        os.link(source, target)
    except OSError:
        return False
    return True


def _copy(spool: Spool, file: _NamedFile, target: Path) -> bool:
    """Copy a file; return False if it is damaged or unreadable.

    Raises SpoolUnavailableError: a backup without files because the spool is away would be no
    backup.
    """
    digest = hashlib.sha256()
    descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as copy:
        for chunk in _readable_chunks(spool, file.path):
            digest.update(chunk)
            copy.write(chunk)
        copy.flush()
        os.fsync(descriptor)
    if digest.hexdigest() == file.sha256:
        return True
    target.unlink()
    return False


def _readable_chunks(spool: Spool, path: str) -> Iterator[bytes]:
    """Yield a file in parts, up to its end or a fault of this file."""
    try:
        yield from spool.chunks(path)
    except SpoolUnavailableError:
        raise
    except (IntegrityError, SpoolError):
        return


def _latest(into: Path) -> Path | None:
    """Return the newest complete backup in a folder."""
    found = sorted(path.parent for path in into.glob(f"cxrd-*/{_SUMMARY}"))
    complete = [path for path in found if path.suffix != _PART]
    return complete[-1] if complete else None


def _write(path: Path, content: str) -> None:
    path.touch(mode=0o600)
    path.write_text(content, encoding="utf-8")
    _sync(path)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def check_backup(
    folder: Path, progress: Progress = lambda _done, _total: None
) -> tuple[int, tuple[str, ...]]:
    """Check every file of a backup by its digest, and the rows of a SQLite store in it.

    Returns the number of intact files, and a line for each fault. Raises IntegrityError if the
    folder is not a complete backup, SpoolError if it cannot be read.
    """
    with storage_errors(folder):
        sums = _read_sums(folder)
        try:
            summary = json.loads((folder / _SUMMARY).read_text(encoding="utf-8"))
            store, files = str(summary["store"]), int(summary["files"])
            damaged = list(summary["damaged"])
        except (FileNotFoundError, ValueError, LookupError, TypeError) as error:
            raise _incomplete(folder) from error
        wrong = [f"left out when it was made: {owner}" for owner in damaged]
        listed = len(sums.keys() - {store})
        if listed != files or store not in sums:
            wrong.append(
                f"{_SUMS} lists {listed} file(s), of {files} and the store: it was altered"
            )
        good = 0
        sizes = {name: _size(folder / name) for name in sums}
        done, total = 0, sum(sizes.values())
        for name, sha256 in sums.items():
            progress(done, total)
            done += sizes[name]
            fault = _fault(folder / name, sha256)
            good += fault is None
            wrong += [f"{fault}: {name}"] if fault else []
        if store == _SQLITE_COPY:
            wrong += _faults_of_store(folder / _SQLITE_COPY, sums, len(damaged))
    return good, tuple(wrong)


def _read_sums(folder: Path) -> dict[str, str]:
    """Return the digest of every file of a backup. Raises IntegrityError for another folder."""
    try:
        lines = (folder / _SUMS).read_text(encoding="utf-8").splitlines()
        return {name: sha256 for sha256, name in (line.split("  ", 1) for line in lines)}
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise _incomplete(folder) from error


def _incomplete(folder: Path) -> IntegrityError:
    return IntegrityError(f"{folder} is not a whole backup: use another one")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _fault(path: Path, sha256: str) -> str | None:
    try:
        found = file_sha256(path)
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"unreadable ({error.strerror})"
    return None if found == sha256 else "altered"


def _faults_of_store(path: Path, sums: dict[str, str], left_out: int) -> Iterator[str]:
    """Yield the faults inside the copy of a SQLite store, opened read-only."""
    address = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    engine = create_engine(
        "sqlite://", creator=lambda: sqlite3.connect(address, uri=True), poolclass=NullPool
    )
    try:
        with engine.connect() as connection:
            verdict = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
            if verdict != "ok":
                yield f"the store in it is damaged: {verdict}"
            missing = sum(
                sums.get(f"{_SPOOL}/{file.path}") != file.sha256
                for file in _named_files(connection)
            )
            if missing != left_out:
                yield f"{missing} row(s) of the store in it name a file that is not in it"
    except DatabaseError as error:
        yield f"the store in it is damaged: {error.orig}"
