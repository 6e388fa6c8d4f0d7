"""The connection to SQLite or PostgreSQL, and transactions on it."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from storage.errors import OutOfSpaceError, SchemaError, StorageError, StoreUnavailableError
from storage.files.durable import make_folder, os_errors_named, sync_folder

BUSY_TIMEOUT_SECONDS = 30.0

_PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON")

# Parameters name patients, and an error's text is logged.
_ENGINE_OPTIONS: dict[str, Any] = {"hide_parameters": True, "max_overflow": 20}

_POSTGRESQL_DISK_FULL = "53100"

_UNCLEAR = (
    "database_url cannot be told apart: in a user name, password or option, @ is written %40,"
    " : is %3A and / is %2F"
)


class DamagedText(str):
    """A cell whose bytes are no UTF-8, with U+FFFD for what cannot be read; no row is kept so."""


def parse_url(url: str) -> URL:
    """The parts of a store's URL. Raises StorageError, which quotes nothing of it."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StorageError("database_url is not a URL: write sqlite:///PATH") from None
    except ValueError:
        raise StorageError(_UNCLEAR) from None
    is_file = parsed.get_backend_name() == "sqlite"
    if not is_file and (url.count("@") > 1 or "@" in (parsed.database or "")):
        raise StorageError(_UNCLEAR)
    return parsed


def open_engine(url: str, *, create: bool = True) -> Engine:
    """An engine for `sqlite:///PATH` or `postgresql://…`; each process opens its own.

    SQLite runs in WAL mode with synchronous=FULL, so that a commit is on disk when it returns.
    With `create` a missing SQLite file is made (0600, in a folder of 0700: it names patients).

    Raises StorageError for a URL that cannot be used and SchemaError for a missing file.
    """
    parsed = parse_url(url)
    try:
        if parsed.get_backend_name() == "sqlite":
            return _open_sqlite(parsed, create=create)
        if parsed.get_backend_name() == "postgresql":
            return create_engine(
                parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True, **_ENGINE_OPTIONS
            )
    except NoSuchModuleError as error:
        raise StorageError("database_url is not a URL: write sqlite:///PATH") from error
    except ModuleNotFoundError as error:
        raise StorageError("no PostgreSQL driver: pip install 'cxrd[postgresql]'") from error
    raise StorageError(
        f"database_url: {parsed.drivername} is not supported, use sqlite or postgresql"
    )


def _open_sqlite(url: URL, *, create: bool) -> Engine:
    if not url.database or url.database == ":memory:":
        raise StorageError("database_url names no file: write sqlite:///PATH")
    path = Path(url.database)
    if create:
        make_folder(path.parent)
        with os_errors_named(path):
            if not path.exists():
                path.touch(mode=0o600)
            sync_folder(path.parent)
    elif not path.exists():
        raise SchemaError(f"no store at {path}: start `cxrd serve` once to create it")
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_SECONDS}, **_ENGINE_OPTIONS)
    event.listen(engine, "connect", _prepare_sqlite_connection)
    event.listen(engine, "begin", _begin_sqlite_transaction)
    return engine


def _prepare_sqlite_connection(connection: Any, _record: object) -> None:
    """Set the connection up, and stop sqlite3 from beginning transactions of its own accord."""
    connection.isolation_level = None
    connection.text_factory = _text
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _text(cell: bytes) -> str:
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return DamagedText(cell.decode(errors="replace"))


def _begin_sqlite_transaction(connection: Connection) -> None:
    """A writer takes the write lock at once: one that reads first cannot wait for it later."""
    reads = connection.get_execution_options().get("reads_only", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def insert(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that can say what to do on a conflict, in the connection's dialect."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


class Database:
    """Short transactions on one engine, for any number of threads.

    Whatever fails inside leaves nothing behind; what the database reports becomes a StorageError
    that names the store and what to do.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._snapshots = engine.execution_options(
            **(
                {"reads_only": True}
                if self._is_sqlite
                else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            )
        )
        self._write_turn = threading.Lock()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction whose queries all see the same moment."""
        with self._errors_named(), self._snapshots.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is durable when the block has ended well."""
        with self._turn(), self._errors_named(), self.engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """SQLite has one writer at a time: this process's threads queue here, not by polling."""
        if not self._is_sqlite:
            yield
            return
        if not self._write_turn.acquire(timeout=BUSY_TIMEOUT_SECONDS):
            raise StoreUnavailableError("the store is busy: its disk may be too slow")
        try:
            yield
        finally:
            self._write_turn.release()

    @contextlib.contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise self._named(error) from error

    def _named(self, error: SQLAlchemyError) -> StorageError:
        cause = error.orig if isinstance(error, StatementError) else error
        url = self.engine.url
        text, store = _words(cause, url), f"the store {_name(url)}"
        if _says_disk_full(cause):
            return OutOfSpaceError(f"no space left for {store}: free some and try again")
        if isinstance(error, PoolTimeoutError) or _says_locked(cause):
            return StoreUnavailableError(f"{store} is busy ({text}): try again")
        if not isinstance(error, (OperationalError, InterfaceError)) and not _says_corrupt(cause):
            # Only the kind of error: the text may quote the row, and that names a patient.
            kind = type(cause).__name__
            return StorageError(f"{store} refused what it was asked ({kind}): please report this")
        if self._is_sqlite:
            return StorageError(
                f"{store} cannot be used ({text}): check the disk and the file's permissions,"
                " or restore it from a backup"
            )
        return StoreUnavailableError(f"{store} does not answer ({text}): is the server running?")


def _name(url: URL) -> str:
    """Which store it is, and nothing that may be secret."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    hosts = url.host or ",".join(url.normalized_query.get("host", ()))
    return f"{url.get_backend_name()}://{hosts}/{url.database or ''}"


def _words(cause: BaseException | None, url: URL) -> str:
    """What the driver says on one line, less passwords; nothing where it quotes a cell."""
    text = " ".join(str(cause).split())
    if "with text" in text:
        return type(cause).__name__
    options = url.normalized_query.items()
    hidden = [value for name, values in options if "password" in name for value in values]
    for secret in (url.password, *hidden):
        if secret:
            text = text.replace(str(secret), "…")
    return text


def _says_disk_full(cause: BaseException | None) -> bool:
    return _code(cause) in ("SQLITE_FULL", _POSTGRESQL_DISK_FULL)


def _says_locked(cause: BaseException | None) -> bool:
    return _code(cause).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _says_corrupt(cause: BaseException | None) -> bool:
    return _code(cause).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def _code(cause: BaseException | None) -> str:
    """SQLite's or PostgreSQL's name of what went wrong."""
    return getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or ""
