"""The inputs of a workitem that its source has not sent."""

from collections.abc import Sequence
from typing import Protocol

from storage.worklist.records import Workitem, WorkitemInput


class Inputs(Protocol):
    """A way to inputs that are not here."""

    def request(self, item: Workitem, missing: Sequence[WorkitemInput]) -> None:
        """Have the missing inputs fetched, at most once at a time."""


class PushedInputs:
    """Inputs that only their source sends: nothing is fetched."""

    def request(self, item: Workitem, missing: Sequence[WorkitemInput]) -> None:
        """Wait for the source."""
