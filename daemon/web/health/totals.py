"""The numbers of jobs and images: those that take long to count in a large store, and the rest."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from storage.records import InstanceState, JobState
from storage.status import JobGroup
from storage.store import Store

_ENDED = (JobState.DONE, JobState.DISCARDED)
_UNFINISHED = (JobState.QUEUED, JobState.RUNNING, JobState.PARKED)


@dataclass(frozen=True, slots=True)
class Totals:
    """The jobs that are done or discarded, and the revisions of images by state, at a moment."""

    ended: Mapping[JobGroup, int]
    images: Mapping[InstanceState, int]
    counted_at: datetime


def count_totals(store: Store, now: datetime) -> Totals:
    """Count the totals, which reads all rows of two tables. Raises StorageError."""
    return Totals(store.status.job_counts(_ENDED), store.status.instance_counts(), now)


def job_groups(store: Store, totals: Totals) -> dict[JobGroup, int]:
    """Return the numbers of all jobs: the ended ones of the totals, the others as they are now."""
    return {**totals.ended, **store.status.job_counts(_UNFINISHED)}
