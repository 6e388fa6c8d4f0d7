"""How much a peer may send and how long it may take; what happened to one that did not comply."""

import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO

MAX_REQUEST_BYTES = 256 << 10
"""Of an A-ASSOCIATE-RQ: 128 presentation contexts with 30 syntaxes each take a third of it."""

MAX_COMMAND_BYTES = 16 << 10

MAX_CONTROL_BYTES = 1 << 10
"""Of the PDUs that release or abort; the standard has 4."""

LONGEST_MESSAGE_SECONDS = 3600.0

SLOWEST_BYTES_PER_SECOND = 1024

_DRAINED_TIMES = 4


class AbortReason(StrEnum):
    """Why a connection, an association or an object was ended or refused while it came."""

    TOO_MANY_CONNECTIONS = "too many connections that have not asked for an association"
    NOT_DICOM = "what came first is not an association request"
    NO_REQUEST = "no association was asked for in time"
    MALFORMED = "a PDU or a message is not as the standard has it"
    TOO_SLOW = "what was begun did not come in time"
    IDLE = "nothing was sent for too long"
    TOO_LARGE = "a PDU, a message or an object is larger than allowed"
    NO_MEMORY = "too much is being received at once"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one node holds and waits for at most.

    `request_seconds` is what a connection may take until its association request is complete,
    `stall_seconds` how long less than SLOWEST_BYTES_PER_SECOND may come of something begun,
    `idle_seconds` how long nothing may come between two messages. Connections without an
    association count as waiting. A peer that vanished is noticed within about
    twice `keepalive_seconds`.
    """

    max_instance_bytes: int = 512 << 20
    max_receiving_bytes: int = 1 << 30
    request_seconds: float = 10.0
    stall_seconds: float = 30.0
    idle_seconds: float = 300.0
    keepalive_seconds: int = 60
    max_waiting: int = 256
    max_waiting_per_host: int = 128

    @property
    def max_drained_bytes(self) -> int:
        """How much of a refused object is taken off the wire to be able to answer it."""
        return _DRAINED_TIMES * self.max_instance_bytes


class LimitError(Exception):
    """A peer went beyond a limit: what it sends is not read any further."""

    def __init__(self, reason: AbortReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class MemoryBudget:
    """Bytes that all associations together hold of what they are receiving; thread-safe."""

    def __init__(self, total: int) -> None:
        self._left = total
        self._lock = threading.Lock()

    @property
    def left(self) -> int:
        """Bytes that may still be taken."""
        return self._left

    def take(self, count: int) -> bool:
        """Take `count` bytes, or none where that many are not left."""
        with self._lock:
            if count > self._left:
                return False
            self._left -= count
            return True

    def give_back(self, count: int) -> None:
        """Return what was taken."""
        with self._lock:
            self._left += count


class ReceivedData(BytesIO):
    """The data set of one message while it comes.

    Past a limit what was held is let go and `refusal` says why; the rest is counted and dropped,
    so that the message can be answered. Raises LimitError where even that is too much.
    """

    def __init__(self, limits: Limits, budget: MemoryBudget) -> None:
        super().__init__()
        self.refusal: AbortReason | None = None
        self._limits = limits
        self._budget = budget
        self._arrived = self._held = 0

    def write(self, data: "bytes | memoryview", /) -> int:  # type: ignore[override]
        """Hold the next bytes, or drop them."""
        count = len(data)
        self._arrived += count
        if self._arrived > self._limits.max_drained_bytes:
            raise LimitError(AbortReason.TOO_LARGE)
        if self.refusal is not None:
            return count
        if self._arrived > self._limits.max_instance_bytes:
            self._refuse(AbortReason.TOO_LARGE)
        elif not self._budget.take(count):
            self._refuse(AbortReason.NO_MEMORY)
        else:
            self._held += count
            super().write(data)
        return count

    def forget(self) -> None:
        """Free the bytes, and count them as held."""
        self.seek(0)
        self.truncate()

    def let_go(self) -> None:
        """Free the bytes and what they count for; may be called again."""
        self.forget()
        held, self._held = self._held, 0
        self._budget.give_back(held)

    def __del__(self) -> None:
        # Of a message that is dropped before anybody serves it, pynetdicom tells nobody.
        self.let_go()

    def _refuse(self, reason: AbortReason) -> None:
        self.refusal = reason
        self.let_go()


class Pace:
    """Notices a sender that brings less than `least` bytes in `seconds`, or takes for ever."""

    def __init__(self, seconds: float, least: float) -> None:
        self._seconds = seconds
        self._least = least
        self.begin()

    def begin(self) -> None:
        """Something new begins."""
        self._began = self._since = time.monotonic()
        self._arrived = 0

    def arrived(self, count: int) -> None:
        """So many bytes have come."""
        self._arrived += count

    def forgive(self) -> None:
        """It was this side that did not read."""
        self._since = time.monotonic()

    def check(self) -> None:
        """Raise LimitError where what was begun comes too slowly."""
        now = time.monotonic()
        if now - self._began > LONGEST_MESSAGE_SECONDS:
            raise LimitError(AbortReason.TOO_SLOW)
        if now - self._since < self._seconds:
            return
        if self._arrived < self._least:
            raise LimitError(AbortReason.TOO_SLOW)
        self._since, self._arrived = now, 0


def request_pace(limits: Limits) -> Pace:
    """For an association request: all of it in time, however fast it comes."""
    return Pace(limits.request_seconds, float("inf"))


def message_pace(limits: Limits) -> Pace:
    """For what comes on an association."""
    return Pace(limits.stall_seconds, limits.stall_seconds * SLOWEST_BYTES_PER_SECOND)
