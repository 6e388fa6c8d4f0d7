"""The state of a delivery in words, and the answer of its destination."""

from typing import NamedTuple

from storage.records import JobState

_ANSWERS = {
    0x0000: "stored",
    0x0111: "stored before: a duplicate",
    0xB000: "stored, with changed elements",
    0xB006: "stored, with elements left out",
    0xB007: "stored, though it does not match its class",
}
_WARNING = 0xB
_WAITING = {
    JobState.QUEUED: ("waiting", ""),
    JobState.RUNNING: ("being sent", ""),
    JobState.PARKED: ("parked: needs an operator", "bad"),
    JobState.DISCARDED: ("given up by an operator", "warn"),
    JobState.DONE: ("done", "good"),
}


class DeliveryState(NamedTuple):
    """The words for a delivery's state, and the class of its tag."""

    words: str
    level: str


def delivery_state(
    state: JobState, attempts: int, *, delivered: bool, committed: bool, held: bool
) -> DeliveryState:
    """Return the state of a delivery in words."""
    if held and not delivered:
        return DeliveryState("held: the study is in doubt", "bad")
    if delivered and state in (JobState.DONE, JobState.DISCARDED):
        words = "delivered, and the archive is committed to it" if committed else "delivered"
        return DeliveryState(words, "good")
    if state is JobState.QUEUED and delivered:
        return DeliveryState("delivered; to be sent again", "")
    if state is JobState.QUEUED:
        return (
            DeliveryState("will be tried again", "warn")
            if attempts
            else DeliveryState("waiting", "")
        )
    return DeliveryState(*_WAITING[state])


def answer_words(dimse_status: int | None) -> str:
    """Return the answer of a destination in words, with its status; empty without an answer."""
    if dimse_status is None:
        return ""
    words = _ANSWERS.get(
        dimse_status, "stored, with a warning" if dimse_status >> 12 == 0xB else "refused"
    )
    return f"{words} (0x{dimse_status:04X})"
