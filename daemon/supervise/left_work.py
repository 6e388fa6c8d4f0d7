"""Work that a stopping daemon finishes or leaves, as `serve` tells it at its end."""

from collections.abc import Collection, Iterable, Mapping

from daemon.worker.role import RoleName
from storage.records import JobKind, JobState
from storage.status import JobGroup
from storage.store import Store

_NAMES = {
    JobKind.ANALYSE: "film(s) to analyse",
    JobKind.REPORT: "study(ies) to report",
    JobKind.DELIVER: "object(s) to deliver",
    JobKind.COMMIT: "request(s) for commitment",
    JobKind.ANSWER: "answer(s) about commitment",
    JobKind.RETRIEVE: "study(ies) to fetch from an archive",
    JobKind.PERFORM: "workitem(s) to perform",
}
_ROLES = {
    JobKind.ANALYSE: RoleName.ANALYST,
    JobKind.REPORT: RoleName.ANALYST,
    JobKind.DELIVER: RoleName.COURIER,
    JobKind.COMMIT: RoleName.COURIER,
    JobKind.ANSWER: RoleName.COURIER,
    JobKind.RETRIEVE: RoleName.COURIER,
    JobKind.PERFORM: RoleName.COURIER,
}
"""The role that does the jobs of a kind."""


def films_in_work(store: Store, workers: Collection[str]) -> int:
    """Return the number of films that these workers analyse now. Raises StorageError."""
    jobs = store.jobs.list(kind=JobKind.ANALYSE, state=JobState.RUNNING)
    return sum(job.worker in workers for job in jobs)


def left_in_queue(store: Store) -> str:
    """Return the unfinished work in words, once the rows of this host's roles are removed.

    Work that another host goes on with is named apart. Raises StorageError.
    """
    counts = store.status.job_counts((JobState.QUEUED, JobState.RUNNING, JobState.PARKED))
    waiting = {group: n for group, n in counts.items() if group.state is not JobState.PARKED}
    parked = sum(counts.values()) - sum(waiting.values())
    elsewhere = {one.node.role for one in store.nodes.list() if not one.is_silent}
    words: dict[bool, list[str]] = {True: [], False: []}
    for kind, n in _by_kind(waiting):
        words[_ROLES[kind] in elsewhere].append(f"{n} {_NAMES[kind]}")
    parts = []
    if words[True]:
        parts.append(f"other hosts go on with {', '.join(words[True])}")
    if words[False]:
        parts.append(f"left for the next start: {', '.join(words[False])}")
    if parked:
        parts.append(f"{parked} job(s) are parked: cxrd jobs list --state parked")
    if not waiting:
        parts.insert(0, "nothing is left to do")
    return "; ".join(parts)


def _by_kind(counts: Mapping[JobGroup, int]) -> Iterable[tuple[JobKind, int]]:
    for kind in _NAMES:
        if number := sum(n for group, n in counts.items() if group.kind is kind):
            yield kind, number
