"""Work that a stopping daemon finishes or leaves, as `serve` tells it at its end."""

from collections.abc import Collection, Iterable, Mapping

from storage.records import JobKind, JobState
from storage.status import JobGroup
from storage.store import Store

_NAMES = {
    JobKind.ANALYSE: "film(s) to analyse",
    JobKind.REPORT: "study(ies) to report",
    JobKind.DELIVER: "object(s) to deliver",
    JobKind.COMMIT: "request(s) for commitment",
    JobKind.ANSWER: "answer(s) about commitment",
}


def films_in_work(store: Store, workers: Collection[str]) -> int:
    """Return the number of films that these workers analyse now. Raises StorageError."""
    jobs = store.jobs.list(kind=JobKind.ANALYSE, state=JobState.RUNNING)
    return sum(job.worker in workers for job in jobs)


def left_in_queue(store: Store) -> str:
    """Return the unfinished work in words. Raises StorageError."""
    counts = store.status.job_counts((JobState.QUEUED, JobState.RUNNING, JobState.PARKED))
    waiting = {group: n for group, n in counts.items() if group.state is not JobState.PARKED}
    parked = sum(counts.values()) - sum(waiting.values())
    words = [f"{n} {_NAMES[kind]}" for kind, n in _by_kind(waiting)]
    left = f"left for the next start: {', '.join(words)}" if words else "nothing is left to do"
    if parked:
        left += f"; {parked} job(s) are parked: cxrd jobs list --state parked"
    return left


def _by_kind(counts: Mapping[JobGroup, int]) -> Iterable[tuple[JobKind, int]]:
    for kind in _NAMES:
        if number := sum(n for group, n in counts.items() if group.kind is kind):
            yield kind, number
