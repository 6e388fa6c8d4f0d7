"""Meanings of the status of a C-FIND, C-MOVE or C-GET response (PS3.4 C.4.1 to C.4.3, PS3.7 C)."""

from enum import StrEnum

SUCCESS = 0x0000
CANCELLED = 0xFE00
UNKNOWN_MOVE_DESTINATION = 0xA801
_PENDING = frozenset({0xFF00, 0xFF01})
_WARNING = 0xB000
_TRANSIENT = frozenset({0x0110, 0x0213})
_TEXTS = {
    0x0110: "processing failure",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0x0213: "resource limitation",
    0xA700: "out of resources",
    0xA701: "out of resources: it cannot count the matches",
    0xA702: "out of resources: it cannot send the objects",
    UNKNOWN_MOVE_DESTINATION: "move destination unknown",
    0xA900: "it does not understand the query",
}


class Outcome(StrEnum):
    """The next step after the last response to a request."""

    DONE = "done"
    PARTIAL = "partial"
    """Some objects were not sent."""
    CANCELLED = "cancelled"
    RETRY = "retry"
    """The peer lacks resources: the same request may succeed later."""
    FAILED = "failed"
    """The peer could not do it: a few repeats may help, then the operator has to look."""
    REFUSED = "refused"
    """The operator has to change the configuration of one of the sides."""


def is_pending(status: int) -> bool:
    """Return True if further responses follow."""
    return status in _PENDING


def outcome_of(status: int) -> Outcome:
    """Return the next step after the status of a last response.

    A warning says that the peer did not send every object (PS3.4 table C.4-2).
    """
    if status == SUCCESS:
        return Outcome.DONE
    if status == CANCELLED:
        return Outcome.CANCELLED
    if status == _WARNING:
        return Outcome.PARTIAL
    if status in _TRANSIENT or status >> 8 == 0xA7:
        return Outcome.RETRY
    if status >> 12 == 0xC:
        return Outcome.FAILED
    return Outcome.REFUSED


def status_text(status: int, comment: str = "") -> str:
    """Return a status with its meaning and the peer's comment."""
    words = [_TEXTS.get(status, ""), comment]
    said = ": ".join(word for word in words if word)
    return f"status 0x{status:04X}" + (f" ({said})" if said else "")
