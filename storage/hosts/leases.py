"""Work that one process of all hosts does at a time: backups, purges and sweeps of one store.

On PostgreSQL a lease is a row with its holder, renewed while it is held. Another process takes it
after it was released, or LEASE after the last renewal, by the store's clock: a host that was killed
or cut off blocks no other host for longer. A session lock of the server would last as long as its
connection, which a host without power leaves open for hours, and would be gone unnoticed after a
reconnect. The holder of a row finds out: `confirm` raises an error if another process took the
lease meanwhile, and a lease that expired and that no other took is still held.

A store in a file has the processes of one machine. They share a lock on a file beside it, which
ends with the process that holds it.
"""

import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, delete, or_, select, update

from storage.errors import StorageError, StoreUnavailableError
from storage.files.lock import hold_lock, try_lock
from storage.tables.database import Database, insert
from storage.tables.hosts import leases

LEASE = timedelta(seconds=45)
RENEW_SECONDS = 10.0
CONFIRM_SECONDS = 60.0
"""The time in which a store that does not answer may come back before a lease counts as lost."""
LOCK_NAME = "maintenance.lock"
_POLL_SECONDS = 0.5


class LeaseName(StrEnum):
    """The work that has a lease."""

    FILES = "files"
    """Kept by a backup, which no removal of a file may disturb, and by each removal."""
    SWEEP = "sweep"
    CHECK = "check of the files"


class Lease:
    """A lease that this process took. Threads may share it."""

    def __init__(self, confirm: Callable[[Connection | None], None]) -> None:
        self._confirm = confirm

    def confirm(self, connection: Connection | None = None, seconds: float = 0.0) -> None:
        """Raise StoreUnavailableError if another process may have taken the lease meanwhile.

        In a transaction (`connection`) no other takes it until the transaction ends. A store that
        does not answer is asked again for so many seconds.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                self._confirm(connection)
            except LeaseTakenError:
                raise
            except StoreUnavailableError:
                if time.monotonic() > deadline:
                    raise
            else:
                return
            time.sleep(_POLL_SECONDS)


class LeaseTakenError(StoreUnavailableError):
    """Another process took the lease: this one did not renew it in time."""


@dataclass(slots=True)
class Turn:
    """The turn of this process at work of all hosts. Set `is_done` to False if work is left."""

    is_done: bool = True


class Leases:
    """The leases of a store."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._now = clock
        url = database.engine.url
        is_file = url.get_backend_name() == "sqlite"
        self._file = Path(url.database or "").with_name(LOCK_NAME) if is_file else None

    @contextlib.contextmanager
    def hold(
        self, name: LeaseName, wait_seconds: float, *, renewed: bool = False
    ) -> Iterator[Lease]:
        """Hold a lease for the block; wait for it at most `wait_seconds`.

        With `renewed` a thread renews it, for work of more than a few seconds. Raises
        StoreUnavailableError if another process keeps it.
        """
        if self._file is not None:
            with hold_lock(self._file, wait_seconds):
                yield Lease(lambda _: None)
            return
        deadline = time.monotonic() + wait_seconds
        while (holder := self._take(name)) is None:
            if time.monotonic() > deadline:
                raise StoreUnavailableError(
                    f"another backup or purge holds the lease of the store ({self._holder(name)}):"
                    " try again when it has ended"
                )
            time.sleep(_POLL_SECONDS)
        with self._held(name, holder, renewed=renewed) as lease:
            yield lease

    @contextlib.contextmanager
    def try_hold(self, name: LeaseName) -> Iterator[Lease | None]:
        """Hold a lease for the block if no other process keeps it; yield None otherwise."""
        if self._file is not None:
            with try_lock(self._file) as is_held:
                yield Lease(lambda _: None) if is_held else None
            return
        holder = self._take(name)
        if holder is None:
            yield None
            return
        with self._held(name, holder) as lease:
            yield lease

    @contextlib.contextmanager
    def turn(self, name: LeaseName, spacing: timedelta) -> Iterator[Turn | None]:
        """Yield a turn to one process of all hosts, if no other ended this work within `spacing`.

        The block does the work. Neither an error in it, nor a turn that is not done, is an end of
        the work. A store in a file has one host, which always gets a turn.
        """
        turn = Turn()
        if self._file is not None:
            yield turn
            return
        holder = self._take(name, spacing)
        if holder is None:
            yield None
            return
        with self._held(name, holder, turn):
            yield turn

    @contextlib.contextmanager
    def _held(
        self, name: LeaseName, holder: str, turn: Turn | None = None, *, renewed: bool = False
    ) -> Iterator[Lease]:
        """Yield the lease that was taken; release it after the block.

        The lease of a turn is renewed, and its row keeps the time at which the work was done.
        """
        has_ended = False
        stop = threading.Event()
        if renewed or turn is not None:
            threading.Thread(
                target=self._renew_until, args=(stop, name, holder), name="lease", daemon=True
            ).start()
        try:
            yield Lease(lambda connection: self._confirm(name, holder, connection))
            has_ended = turn is not None and turn.is_done
        finally:
            stop.set()
            self._release(name, holder, ended=has_ended)

    def _renew_until(self, stop: threading.Event, name: LeaseName, holder: str) -> None:
        while not stop.wait(RENEW_SECONDS):
            # A store that is away for a while is asked again; `confirm` finds a lease that is lost.
            with contextlib.suppress(StorageError):
                self._renew(name, holder)

    def _take(self, name: LeaseName, spacing: timedelta = timedelta(0)) -> str | None:
        """Take the lease if it is free; return the holder, or None."""
        holder = f"{socket.gethostname()}, process {os.getpid()}, {secrets.token_hex(8)}"
        now = self._now()
        row = {"name": name, "holder": holder, "taken_at": now, "until": now + LEASE}
        free = or_(
            and_(leases.c.holder != "", leases.c.until < now),
            and_(leases.c.holder == "", leases.c.until <= now - spacing),
        )
        with self._database.writing() as connection:
            statement = insert(connection, leases).values(row)
            taken = connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["name"],
                    set_={key: row[key] for key in ("holder", "taken_at", "until")},
                    where=free,
                ).returning(leases.c.name)
            )
            return holder if taken.first() is not None else None

    def _renew(self, name: LeaseName, holder: str) -> bool:
        statement = update(leases).where(*_is_of(name, holder)).values(until=self._now() + LEASE)
        with self._database.writing() as connection:
            return connection.execute(statement).rowcount == 1

    def _confirm(self, name: LeaseName, holder: str, connection: Connection | None) -> None:
        if connection is None:
            is_held = self._renew(name, holder)
        else:
            # Locks the row: who takes the lease waits for the end of this transaction.
            query = select(leases.c.name).where(*_is_of(name, holder)).with_for_update()
            is_held = connection.scalar(query) is not None
        if not is_held:
            raise LeaseTakenError(
                "another host took over the lease of the store, which was not renewed in time:"
                " try again"
            )

    def _release(self, name: LeaseName, holder: str, *, ended: bool) -> None:
        """Release the lease; keep its row as the record that its work `ended` now.

        If the store does not answer, the lease expires.
        """
        is_mine = _is_of(name, holder)
        statement: Any = (
            update(leases).where(*is_mine).values(holder="", until=self._now())
            if ended
            else delete(leases).where(*is_mine)
        )
        with contextlib.suppress(StorageError), self._database.writing() as connection:
            connection.execute(statement)

    def _holder(self, name: LeaseName) -> str:
        with self._database.reading() as connection:
            query = select(leases.c.holder).where(leases.c.name == name)
            holder = connection.scalar(query) or ""
        return holder.rpartition(",")[0] or "just ended"


def _is_of(name: LeaseName, holder: str) -> tuple[Any, ...]:
    return leases.c.name == name, leases.c.holder == holder
