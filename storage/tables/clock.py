"""The clock of a store: that of the database server, or that of this host for a file.

Hosts compare the times in a store: leases, due times, heartbeats. So all hosts of a server use its
clock, and a host whose own clock is wrong works as the others do.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

CLOCK_DRIFT = 0.0005
"""The seconds by which two clocks may part in one second; the kernel corrects no faster."""


def utc_now() -> datetime:
    """Return the time of this host, aware and in UTC."""
    return datetime.now(UTC)


def elapsed_seconds() -> float:
    """Return the seconds since the start of this host, which no setting of its clock changes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class _Reading:
    """A time of the server, at an elapsed time of this host, and the greatest error."""

    server: datetime
    elapsed: float
    error: float

    def at(self, elapsed: float) -> datetime:
        return self.server + timedelta(seconds=elapsed - self.elapsed)

    def error_at(self, elapsed: float) -> float:
        return self.error + (elapsed - self.elapsed) * CLOCK_DRIFT


class ServerClock:
    """The clock of a server: its last reading, and the time that has passed on this host since.

    The server is read with each new connection, and again when a connection is taken after some
    seconds. So neither the host's clock, nor a step of it, has any effect.
    """

    def __init__(self, elapsed: Callable[[], float] = elapsed_seconds) -> None:
        self._elapsed = elapsed
        self._reading: _Reading | None = None

    @property
    def age(self) -> float:
        """The seconds since the last reading that was used; infinite before the first."""
        reading = self._reading
        return float("inf") if reading is None else self._elapsed() - reading.elapsed

    def read(self, query: Callable[[], datetime]) -> None:
        """Read the server's clock with `query`, which asks the server once.

        An answer that took long says little: the former reading stays, unless the two contradict
        each other because the server's clock was set.
        """
        before = self._elapsed()
        server = query()
        after = self._elapsed()
        new = _Reading(server.astimezone(UTC), (before + after) / 2, (after - before) / 2)
        old = self._reading
        if old is not None:
            error = old.error_at(new.elapsed)
            difference = abs((old.at(new.elapsed) - new.server).total_seconds())
            if error < new.error and difference <= error + new.error:
                return
        self._reading = new

    def now(self) -> datetime | None:
        """Return the server's time, aware and in UTC; None before the first reading."""
        return None if self._reading is None else self._reading.at(self._elapsed())
