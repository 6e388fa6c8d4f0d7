"""The value objects of orders to fetch studies from archives."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from storage.records import JobState, RetrievalPurpose


@dataclass(frozen=True, slots=True)
class RetrievalOrder:
    """An order with the number of its studies by the state of their jobs.

    A job serves all orders that name its study: its state may come from a later order.
    """

    id: int
    peer: str
    purpose: RetrievalPurpose
    ordered_by: str
    ordered_at: datetime
    stopped_at: datetime | None
    studies: Mapping[JobState, int]

    @property
    def total(self) -> int:
        """The number of studies."""
        return sum(self.studies.values())

    @property
    def left(self) -> int:
        """The number of studies that wait or are being fetched."""
        return self.studies.get(JobState.QUEUED, 0) + self.studies.get(JobState.RUNNING, 0)


@dataclass(frozen=True, slots=True)
class ParkedStudy:
    """A study of an order that could not be fetched, and the reason."""

    job: int
    study_instance_uid: str
    reason: str
