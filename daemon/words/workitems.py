"""The state of a workitem in words."""

from typing import NamedTuple

from storage.worklist.records import Workitem, WorkitemState

_WORDS = {
    WorkitemState.FOUND: ("found; not claimed yet", ""),
    WorkitemState.CLAIMING: ("being claimed", ""),
    WorkitemState.IN_PROGRESS: ("in progress here", ""),
    WorkitemState.COMPLETING: ("results delivered; being completed", ""),
    WorkitemState.CANCELING: ("being canceled", "warn"),
    WorkitemState.COMPLETED: ("completed", "good"),
    WorkitemState.CANCELED: ("canceled", "warn"),
    WorkitemState.DROPPED: ("dropped: not performed here", ""),
}


class WorkitemWords(NamedTuple):
    """The words for the state of a workitem, and the class of its tag."""

    words: str
    level: str


def workitem_words(item: Workitem) -> WorkitemWords:
    """Return the state of a workitem in words."""
    words, level = _WORDS[item.state]
    if item.cancel_requested_at is not None and item.state is WorkitemState.IN_PROGRESS:
        words = "in progress here; its manager asks to cancel it"
    return WorkitemWords(words, level)
