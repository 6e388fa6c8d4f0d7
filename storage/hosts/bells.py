"""Rings between the hosts of a store: NOTIFY and LISTEN of a PostgreSQL server.

A ring is sent on a connection of its own, after the transaction that queued the work: NOTIFY locks
out every other commit with a NOTIFY, and a reception must not wait for that. Rings that come close
together are sent together. A ring is never needed for a job to be done.
"""

import contextlib
import os
import select
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from storage.errors import StorageError
from storage.tables.database import Database

GATHER_SECONDS = 0.02
RECONNECT_SECONDS = 1.0
TEST_SECONDS = 5.0
"""Time in which a ring of this process itself must arrive, or a pooler keeps rings back."""

_CHANNEL = "cxrd_work"
_TEST = "test "
# No ring is worth a sync of the disk.
_LAZY = text("SET synchronous_commit = off")
_LISTEN = text(f"LISTEN {_CHANNEL}")
_NOTIFY = text("SELECT pg_notify(:channel, name) FROM unnest(CAST(:names AS text[])) AS name")
_CLOSE_SECONDS = 2.0


class Bells:
    """The rings by name. For a file there is one host, and nothing is sent or heard."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reaches_hosts = database.engine.dialect.name == "postgresql"
        self._changed = threading.Condition()
        self._pending: set[str] = set()
        self._wakes: list[tuple[str, Callable[[], object]]] = []
        self._sending: threading.Thread | None = None
        self._hearing: threading.Thread | None = None
        self._ended = False
        self._end_pipe: tuple[int, int] | None = None
        self._on_silence: Callable[[], object] = lambda: None

    def ring(self, name: str) -> None:
        """Wake those that listen to a name, on every host. Never waits and never raises."""
        if not self._reaches_hosts:
            return
        with self._changed:
            if self._ended:
                return
            self._pending.add(name)
            if self._sending is None:
                self._sending = threading.Thread(target=self._send, name="rings", daemon=True)
                self._sending.start()
            self._changed.notify()

    def listen(
        self, name: str, wake: Callable[[], object], on_silence: Callable[[], object]
    ) -> None:
        """Call `wake` at each ring of the name, and after each time in which one may be lost.

        `on_silence` is called once if no ring arrives here.
        """
        if not self._reaches_hosts:
            return
        with self._changed:
            self._wakes.append((name, wake))
            self._on_silence = on_silence
            if self._hearing is None:
                self._end_pipe = os.pipe()
                self._hearing = threading.Thread(target=self._hear, name="listening", daemon=True)
                self._hearing.start()

    def close(self) -> None:
        """Send what was rung, and end the threads."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._end_pipe is not None:
            os.write(self._end_pipe[1], b"\0")
        for thread in (self._sending, self._hearing):
            if thread is not None:
                thread.join(_CLOSE_SECONDS)
        if self._end_pipe is not None and not (self._hearing and self._hearing.is_alive()):
            for end in self._end_pipe:
                os.close(end)
            self._end_pipe = None

    def _send(self) -> None:
        with contextlib.ExitStack() as stack:
            connection: Connection | None = None
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._pending or self._ended)
                    if not self._pending:
                        return
                    names, self._pending = self._pending, set()
                try:
                    if connection is None:
                        connection = stack.enter_context(self._connection())
                        connection.execute(_LAZY)
                    connection.execute(_NOTIFY, {"channel": _CHANNEL, "names": sorted(names)})
                except self._errors():
                    connection = None
                    stack.close()
                    self._put_back(names)
                    if self._has_ended(RECONNECT_SECONDS):
                        return
                else:
                    self._has_ended(GATHER_SECONDS)

    def _put_back(self, names: set[str]) -> None:
        with self._changed:
            self._pending |= names

    def _has_ended(self, seconds: float) -> bool:
        """Wait, and return True if the rings have ended meanwhile."""
        with self._changed:
            return self._changed.wait_for(lambda: self._ended, seconds)

    def _hear(self) -> None:
        while not self._ended:
            with contextlib.suppress(*self._errors()), self._connection() as connection:
                connection.execute(_LISTEN)
                # What was rung until now may have been lost.
                self._wake(None)
                self._pass_on(connection.connection.dbapi_connection)
            self._has_ended(RECONNECT_SECONDS)

    def _pass_on(self, driver: Any) -> None:
        """Pass on rings until the end, or the error of the connection."""
        end = self._end_pipe[0] if self._end_pipe else -1
        poll = select.poll()
        poll.register(driver.fileno(), select.POLLIN)
        poll.register(end, select.POLLIN)
        own = f"{_TEST}{uuid.uuid4().hex}"
        self.ring(own)
        test_until: float | None = time.monotonic() + TEST_SECONDS
        while not self._ended:
            left = None if test_until is None else max(test_until - time.monotonic(), 0.0)
            found = dict(poll.poll(None if left is None else 1000 * left))
            if driver.fileno() in found:
                for rung in _heard(driver.pgconn):
                    if rung == own:
                        test_until = None
                    elif not rung.startswith(_TEST):
                        self._wake(rung)
            if test_until is not None and time.monotonic() >= test_until:
                test_until = None
                self._on_silence()

    def _wake(self, name: str | None) -> None:
        """Wake those that listen to a name, or all."""
        with self._changed:
            wakes = [wake for rung, wake in self._wakes if name in (None, rung)]
        for wake in wakes:
            wake()

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Connection]:
        with contextlib.closing(self._database.own_connection()) as connection:
            yield connection

    def _errors(self) -> tuple[type[Exception], ...]:
        driver: Any = self._database.engine.dialect.loaded_dbapi
        return (StorageError, SQLAlchemyError, driver.Error, OSError)


def _heard(socket: Any) -> Iterator[str]:
    """Yield the names that have arrived. The driver's own iterator may leave some of them."""
    socket.consume_input()
    while (note := socket.notifies()) is not None:
        yield note.extra.decode()
