"""Limits on incoming connections, and the reasons for aborting one."""

import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO

MAX_REQUEST_BYTES = 256 << 10
"""Size of an A-ASSOCIATE-RQ: 128 presentation contexts with 30 syntaxes each need a third of it."""
MAX_COMMAND_BYTES = 16 << 10
MAX_CONTROL_BYTES = 1 << 10
"""Size of a PDU that releases or aborts; the standard has 4 bytes."""
MAX_MESSAGE_SECONDS = 3600.0

MIN_BYTES_PER_SECOND = 1024

_DRAINED_OBJECTS = 4


class AbortReason(StrEnum):
    """Reason for ending a connection or association, or for refusing an object."""

    TOO_MANY_CONNECTIONS = "too many connections that have not asked for an association"
    NOT_DICOM = "what came first is not an association request"
    NO_REQUEST = "no association was asked for in time"
    MALFORMED = "a PDU or a message is not as the standard has it"
    TOO_SLOW = "what was begun did not come in time"
    ECHO_TIME = "an association for C-ECHO of a caller that is not a peer took too long"
    IDLE = "nothing was sent for too long"
    TOO_LARGE = "a PDU, a message or an object is larger than allowed"
    NO_MEMORY = "too much is being received at once"


@dataclass(frozen=True, slots=True)
class Limits:
    """Memory, number of connections and timeouts of one node.

    `request_seconds` is the time from the connection to the complete association request.
    A message that brings less than MIN_BYTES_PER_SECOND over `stall_seconds` is aborted.
    `idle_seconds` is the longest silence between two messages.
    `max_waiting` and `max_waiting_per_host` limit the connections without an association.
    A peer that vanished is noticed within about twice `keepalive_seconds`.
    Callers that are no peers may have `max_echoes` associations for C-ECHO; each is silent for at
    most `echo_idle_seconds` and ends after `echo_seconds`.
    """

    max_instance_bytes: int = 512 << 20
    max_receiving_bytes: int = 1 << 30
    request_seconds: float = 10.0
    stall_seconds: float = 30.0
    idle_seconds: float = 300.0
    keepalive_seconds: int = 60
    max_waiting: int = 256
    max_waiting_per_host: int = 128
    max_echoes: int = 4
    echo_idle_seconds: float = 10.0
    echo_seconds: float = 30.0

    @property
    def max_drained_bytes(self) -> int:
        """Size up to which a refused object is read, so that its C-STORE can be answered."""
        return _DRAINED_OBJECTS * self.max_instance_bytes


class LimitError(Exception):
    """A peer exceeded a limit; this side reads no more of its message.

    `detail` names the item that is at fault; it may be empty.
    """

    def __init__(self, reason: AbortReason, detail: str = "") -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.detail = detail


class MemoryBudget:
    """Bytes that all associations may hold of unfinished messages together; thread-safe."""

    def __init__(self, total: int) -> None:
        self._left = total
        self._lock = threading.Lock()

    @property
    def left(self) -> int:
        """Bytes that can still be reserved."""
        return self._left

    def reserve(self, count: int) -> bool:
        """Reserve `count` bytes. Returns False, and reserves none, if fewer are left."""
        with self._lock:
            if count > self._left:
                return False
            self._left -= count
            return True

    def release(self, count: int) -> None:
        """Return reserved bytes to the budget."""
        with self._lock:
            self._left += count


class ReceivedData(BytesIO):
    """The data set of one message while it arrives.

    With a `command_fault` all bytes are dropped: the message is answered for the fault alone.
    Past a limit the held bytes are freed and `refusal` names the limit. The rest is counted and
    dropped, so that the message can be answered. Raises LimitError past `max_drained_bytes`.
    """

    def __init__(self, limits: Limits, budget: MemoryBudget, command_fault: str = "") -> None:
        super().__init__()
        self.command_fault = command_fault
        self.refusal: AbortReason | None = None
        self._limits = limits
        self._budget = budget
        self._arrived = self._reserved = 0

    def write(self, data: "bytes | memoryview", /) -> int:  # type: ignore[override]
        """Hold the next bytes, or drop them after a refusal."""
        count = len(data)
        self._arrived += count
        if self._arrived > self._limits.max_drained_bytes:
            raise LimitError(AbortReason.TOO_LARGE)
        if self.refusal is not None or self.command_fault:
            return count
        if self._arrived > self._limits.max_instance_bytes:
            self._refuse(AbortReason.TOO_LARGE)
        elif not self._budget.reserve(count):
            self._refuse(AbortReason.NO_MEMORY)
        else:
            self._reserved += count
            super().write(data)
        return count

    def free(self) -> None:
        """Free the bytes, but keep their share of the budget."""
        self.seek(0)
        self.truncate()

    def release(self) -> None:
        """Free the bytes and their share of the budget. May be called again."""
        self.free()
        reserved, self._reserved = self._reserved, 0
        self._budget.release(reserved)

    def __del__(self) -> None:
        # pynetdicom drops some messages without serving them; no handler is called for these.
        self.release()

    def _refuse(self, reason: AbortReason) -> None:
        self.refusal = reason
        self.release()


class StallTimer:
    """Detects a sender that brings fewer than `least` bytes in `seconds`, or never finishes."""

    def __init__(self, seconds: float, least: float) -> None:
        self._seconds = seconds
        self._least = least
        self.restart()

    def restart(self) -> None:
        """Start the time of a new message."""
        self._started = self._window_started = time.monotonic()
        self._arrived = 0

    def count(self, arrived: int) -> None:
        """Add bytes that have arrived."""
        self._arrived += arrived

    def restart_window(self) -> None:
        """Restart the window: this side paused reading, the peer was not slow."""
        self._window_started = time.monotonic()

    def check(self) -> None:
        """Raise LimitError if the message arrives too slowly or takes too long."""
        now = time.monotonic()
        if now - self._started > MAX_MESSAGE_SECONDS:
            raise LimitError(AbortReason.TOO_SLOW)
        if now - self._window_started < self._seconds:
            return
        if self._arrived < self._least:
            raise LimitError(AbortReason.TOO_SLOW)
        self._window_started, self._arrived = now, 0


def request_timer(limits: Limits) -> StallTimer:
    """Return the timer of an association request: one window for all of it."""
    return StallTimer(limits.request_seconds, float("inf"))


def message_timer(limits: Limits) -> StallTimer:
    """Return the timer of the messages on an association."""
    return StallTimer(limits.stall_seconds, limits.stall_seconds * MIN_BYTES_PER_SECOND)
