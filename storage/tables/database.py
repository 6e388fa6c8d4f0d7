"""Connections to SQLite or PostgreSQL, and transactions."""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BindParameter,
    Column,
    Connection,
    Engine,
    Select,
    Table,
    bindparam,
    create_engine,
    event,
    text,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from storage.errors import (
    OutOfSpaceError,
    SchemaError,
    StorageError,
    StoreConflictError,
    StoreUnavailableError,
)
from storage.files.durable import make_folder, storage_errors, sync_folder
from storage.tables.clock import ServerClock, utc_now
from storage.tables.postgresql import (
    is_unavailable,
    is_undone,
    open_postgresql,
    watch_connections,
)

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

BUSY_TIMEOUT_SECONDS = 30.0

_PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON")

# Error texts are logged, and parameters may name patients.
_ENGINE_OPTIONS: dict[str, Any] = {"hide_parameters": True}
_SQLITE_OVERFLOW = 20
_POSTGRESQL_DISK_FULL = "53100"
_UNCLEAR = (
    "database_url cannot be told apart: in a user name, password or option, @ is written %40,"
    " : is %3A and / is %2F"
)


class DamagedText(str):
    """A damaged cell: bytes that are not UTF-8 are U+FFFD. The store writes no such cell."""


def parse_url(url: str) -> URL:
    """Parse a store's URL. Raises StorageError without the URL, which may hold a password."""
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
    """Return an engine for `sqlite:///PATH` or `postgresql://…`; each process opens its own.

    SQLite runs in WAL mode with synchronous=FULL, so that a commit is on disk when it returns.
    `create` makes a missing SQLite file (0600, in a folder of 0700: it names patients).

    Raises StorageError for an unusable URL and SchemaError for a missing file.
    """
    parsed = parse_url(url)
    try:
        if parsed.get_backend_name() == "sqlite":
            return _open_sqlite(parsed, create=create)
        if parsed.get_backend_name() == "postgresql":
            return open_postgresql(parsed, **_ENGINE_OPTIONS)
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
        with storage_errors(path):
            if not path.exists():
                path.touch(mode=0o600)
            sync_folder(path.parent)
    else:
        with storage_errors(path):
            is_there = path.exists()
        if not is_there:
            raise SchemaError(
                f"no store at {path}: name the configuration with --config, or start `cxrd serve`"
                " once to create it"
            )
    engine = create_engine(
        url,
        max_overflow=_SQLITE_OVERFLOW,
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS},
        **_ENGINE_OPTIONS,
    )
    event.listen(engine, "connect", _prepare_sqlite_connection)
    event.listen(engine, "begin", _begin_sqlite_transaction)
    return engine


def _prepare_sqlite_connection(connection: Any, _record: object) -> None:
    """Set up a connection, without the implicit transactions of sqlite3."""
    connection.isolation_level = None
    connection.text_factory = text_of_cell
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def text_of_cell(cell: bytes) -> str:
    """Return the text of a cell of SQLite; a DamagedText if it is not UTF-8."""
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return DamagedText(cell.decode(errors="replace"))


def _begin_sqlite_transaction(connection: Connection) -> None:
    """Begin a transaction; a writer locks at once, because SQLite cannot wait after a read."""
    reads = connection.get_execution_options().get("reads_only", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def insert(connection: Connection, table: Table) -> "postgresql.Insert | sqlite.Insert":
    """Return an INSERT of the connection's dialect, which supports ON CONFLICT."""
    return insert_of(connection.dialect.name, table)


def insert_of(dialect: str, table: Table) -> "postgresql.Insert | sqlite.Insert":
    """Return an INSERT of a dialect, which supports ON CONFLICT."""
    # Imported here: the dialect of the other database is not loaded.
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)


def parameter(column: Column[Any], name: str) -> BindParameter[Any]:
    """Return a parameter of the type of a column, for a statement that is made once.

    SQLAlchemy takes many times longer to make a statement than to run it.
    """
    return bindparam(name, type_=column.type)


def raw_rows(
    connection: Connection, query: Select[Any], parameters: Mapping[str, Any]
) -> Sequence[tuple[Any, ...]]:
    """Return the rows as the driver gives them, without conversion: much faster for many rows.

    SQLite gives times as text, and JSON as text.
    """
    driver: Any = connection.connection.dbapi_connection
    if connection.dialect.name == "sqlite":
        # Decoded by the driver itself, unless a cell is damaged.
        driver.text_factory = str
        try:
            return _fetch(connection, query, parameters)
        except (sqlite3.OperationalError, OperationalError) as error:
            if "decode" not in str(error):
                raise
        finally:
            driver.text_factory = text_of_cell
    return _fetch(connection, query, parameters)


def _fetch(
    connection: Connection, query: Select[Any], parameters: Mapping[str, Any]
) -> Sequence[tuple[Any, ...]]:
    with connection.execute(query, parameters) as result:
        return [] if result.cursor is None else result.cursor.fetchall()


def raw_time(value: Any) -> datetime:
    """Return a time that `raw_rows` gave, aware and in UTC."""
    if isinstance(value, str):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    found: datetime = value.astimezone(UTC)
    return found


_LOCK = text("SELECT pg_advisory_xact_lock(:key)")


def lock_until_end(connection: Connection, key: int) -> None:
    """Let one transaction with this lock run at a time. SQLite has one writer at a time anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK, {"key": key})


class Database:
    """Short transactions on one engine, for any number of threads.

    An error rolls the transaction back. A database error is raised as a StorageError that names the
    store and a remedy.
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
        self._write_lock = threading.Lock()
        self._server_clock = None if self._is_sqlite else ServerClock()
        if self._server_clock is not None:
            watch_connections(engine, self._server_clock)

    def now(self) -> datetime:
        """Return the time by which all hosts of this store go: that of the database server.

        For a file it is the time of this host. Raises StoreUnavailableError if the server was never
        reached; later its time is known without it.
        """
        clock = self._server_clock
        if clock is None:
            return utc_now()
        while (known := clock.now()) is None:
            with self._storage_errors(), self.engine.connect():
                pass
        return known

    @property
    def name(self) -> str:
        """The file or server and database of the store, without user and password."""
        return _store_name(self.engine.url)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection in a transaction whose queries all see the same snapshot."""
        with self._storage_errors(), self._snapshots.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a connection in a transaction that is committed durably after the block."""
        with self._exclusive(), self._storage_errors(), self.engine.begin() as connection:
            yield connection

    def own_connection(self) -> Connection:
        """Return a connection beside the others, each statement its own transaction.

        The caller closes it.
        """
        with self._storage_errors():
            connection = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()
            return connection

    @contextlib.contextmanager
    def savepoint(self, connection: Connection) -> Iterator[None]:
        """Undo the block, and nothing before it, if it fails; the transaction can go on."""
        with self._storage_errors(), connection.begin_nested():
            yield

    def is_in_transaction(self, connection: Connection) -> bool:
        """Return False if SQLite has rolled the whole transaction back, as after an I/O error.

        A commit would then succeed and record nothing.
        """
        driver: Any = connection.connection.dbapi_connection
        return not self._is_sqlite or bool(driver.in_transaction)

    @contextlib.contextmanager
    def driver_errors(self) -> Iterator[None]:
        """Raise errors of the driver, used without SQLAlchemy, as a StorageError."""
        driver: Any = self.engine.dialect.dbapi
        with self._storage_errors():
            try:
                yield
            except driver.Error as error:
                is_outage = isinstance(error, driver.OperationalError)
                kind = OperationalError if is_outage else DBAPIError
                raise kind("", {}, error) from error

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Let one thread of this process write at a time. SQLite itself would wait by polling."""
        if not self._is_sqlite:
            yield
            return
        if not self._write_lock.acquire(timeout=BUSY_TIMEOUT_SECONDS):
            raise StoreUnavailableError("the store is busy: its disk may be too slow")
        try:
            yield
        finally:
            self._write_lock.release()

    @contextlib.contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise self._storage_error(error) from error

    def _storage_error(self, error: SQLAlchemyError) -> StorageError:
        cause = error.orig if isinstance(error, StatementError) else error
        url = self.engine.url
        text, store = _driver_text(cause, url), f"the store {_store_name(url)}"
        if _is_disk_full(cause):
            return OutOfSpaceError(f"no space left for {store}: free some and try again")
        if is_undone(_code(cause)):
            return StoreConflictError(f"{store} is busy ({text}): try again")
        if isinstance(error, PoolTimeoutError) or _is_locked(cause):
            return StoreUnavailableError(f"{store} is busy ({text}): try again")
        is_down = isinstance(error, (OperationalError, InterfaceError))
        if not is_down and not _is_corrupt(cause) and not is_unavailable(_code(cause)):
            # Names only the kind of error: its text may quote a row with a patient's name.
            kind = type(cause).__name__
            return StorageError(f"{store} refused what it was asked ({kind}): please report this")
        if self._is_sqlite:
            return StorageError(
                f"{store} cannot be used ({text}): check the disk and the file's permissions,"
                " or restore it from a backup"
            )
        return StoreUnavailableError(
            f"{store} does not answer ({text}): is the server running, and database_url right?"
        )


@contextlib.contextmanager
def open_database(url: str, *, create: bool = False) -> Iterator[Database]:
    """Open the database at a store's URL for the block; see `open_engine`."""
    database = Database(open_engine(url, create=create))
    try:
        yield database
    finally:
        database.engine.dispose()


def _store_name(url: URL) -> str:
    """Return the file or server and database of a store, without user and password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    hosts = url.host or ",".join(url.normalized_query.get("host", ()))
    return f"{url.get_backend_name()}://{hosts}/{url.database or ''}"


def _driver_text(cause: BaseException | None, url: URL) -> str:
    """Return the driver's message without passwords, or its type if it quotes a cell."""
    text = " ".join(str(cause).split())
    if "with text" in text:
        return type(cause).__name__
    options = url.normalized_query.items()
    hidden = [value for name, values in options if "password" in name for value in values]
    for secret in (url.password, *hidden):
        if secret:
            text = text.replace(str(secret), "…")
    return text


def _is_disk_full(cause: BaseException | None) -> bool:
    return _code(cause) in ("SQLITE_FULL", _POSTGRESQL_DISK_FULL)


def _is_locked(cause: BaseException | None) -> bool:
    return _code(cause).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _is_corrupt(cause: BaseException | None) -> bool:
    return _code(cause).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def _code(cause: BaseException | None) -> str:
    """Return SQLite's name or PostgreSQL's SQLSTATE of an error."""
    return getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or ""
