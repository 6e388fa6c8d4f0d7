"""The next step after a C-STORE status: delivered, retry or park."""

from enum import StrEnum

SUCCESS = 0x0000
DUPLICATE = 0x0111
_TRANSIENT_FAILURES = frozenset({0x0110, 0x0213})
_WARNINGS = frozenset({0x0001, 0x0107, 0x0116})


class Disposition(StrEnum):
    """The next step for an object after an attempt to send it."""

    DELIVERED = "delivered"
    RETRY = "retry"
    PARK = "park"


def is_warning(status: int) -> bool:
    """Return True for a status that says "stored, perhaps changed" (PS3.4 table B.2-1)."""
    return status >> 12 == 0xB


def classify(status: int) -> Disposition:
    """Return the next step after a C-STORE status (PS3.4 table B.2-1, PS3.7 Annex C).

    After success, a warning and "duplicate SOP instance" the destination has the object. Lack of
    resources and processing failures are retried. Other failures need the operator.
    """
    if status in {SUCCESS, DUPLICATE} or status in _WARNINGS or is_warning(status):
        return Disposition.DELIVERED
    if status in _TRANSIENT_FAILURES or status >> 8 == 0xA7:
        return Disposition.RETRY
    return Disposition.PARK
