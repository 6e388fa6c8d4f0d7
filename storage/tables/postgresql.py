"""Connections to a PostgreSQL server: their settings, and their checks."""

import contextlib
import select
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.exc import DisconnectionError

from storage.tables.clock import ServerClock

POOL_SIZE = 32
"""Connections that a process keeps; they are opened when so many threads use the store at once."""
POOL_OVERFLOW = 8
READ_CLOCK_SECONDS = 5.0
"""Age of a reading of the clock after which a connection is tested when it is taken."""

# A cut cable is noticed after about ten seconds, here and by the server.
_CONNECT: dict[str, str] = {
    "connect_timeout": "5",
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "application_name": "cxrd",
}
_SESSION: dict[str, str] = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
    # Also while a statement waits for a lock.
    "client_connection_check_interval": "5000",
    # A process that is stopped in a transaction must not keep its locks.
    "idle_in_transaction_session_timeout": "60000",
    "lock_timeout": "30000",
}
# Settings of the user, from the URL or of the role or the database, stay as they are.
_SET = """
SELECT set_config(name, wanted, false) FROM pg_settings
JOIN unnest(%s::text[], %s::text[]) AS ours (setting_name, wanted) ON setting_name = name
WHERE source IN ('default', 'configuration file', 'environment variable', 'command line')
"""
_READ_CLOCK = "SELECT clock_timestamp()"

_READ_ONLY = "25006"
# Serialisation failure and deadlock; integrity of the connection, resources, operator.
_UNDONE = "40"
_UNAVAILABLE = ("08", "53", "57", _READ_ONLY, "25P03", "55P03", "58")


def open_postgresql(url: URL, **options: Any) -> Engine:
    """Return an engine for a server; what the URL sets stays as it is."""
    return create_engine(
        url.set(drivername="postgresql+psycopg", query={**_CONNECT, **url.query}),
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        # Those that were used last are taken first.
        pool_use_lifo=True,
        **options,
    )


def watch_connections(engine: Engine, clock: ServerClock) -> None:
    """Read the clock with each new connection, and with those that are taken after seconds.

    A connection that the server has closed is replaced when it is taken. So are all of them after
    an error that says that this server is not, or no longer, the one to write to.
    """

    def prepare(connection: Any, _record: object) -> None:
        with _in_no_transaction(connection):
            connection.execute(_SET, (list(_SESSION), list(_SESSION.values())))
            clock.read(lambda: _server_time(connection))

    def test(connection: Any, _record: object, _proxy: object) -> None:
        if clock.age < READ_CLOCK_SECONDS and not _has_news(connection):
            return
        try:
            with _in_no_transaction(connection):
                clock.read(lambda: _server_time(connection))
        except Exception as error:
            raise DisconnectionError from error

    event.listen(engine, "connect", prepare)
    event.listen(engine, "checkout", test)
    event.listen(engine, "handle_error", _leave_read_only_server)


@contextlib.contextmanager
def _in_no_transaction(connection: Any) -> Iterator[None]:
    """Let each statement of the block be a transaction of its own, which needs no other message."""
    connection.autocommit = True
    yield
    connection.autocommit = False


def is_undone(code: str) -> bool:
    """Return True for the SQLSTATE of a transaction that the server has undone as a whole."""
    return code.startswith(_UNDONE)


def is_unavailable(code: str) -> bool:
    """Return True for the SQLSTATE of a server that restarts, is full, read-only or too slow."""
    return code.startswith(_UNAVAILABLE)


def _server_time(connection: Any) -> datetime:
    row: tuple[datetime] = connection.execute(_READ_CLOCK).fetchone()
    return row[0]


def _has_news(connection: Any) -> bool:
    """Return True if the server has sent something unasked: as a rule that it has ended."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _leave_read_only_server(context: ExceptionContext) -> None:
    """Open new connections after a failover: this server takes no changes any more."""
    if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
        context.is_disconnect = True
