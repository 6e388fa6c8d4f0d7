"""Retries and discards jobs for an operator, and changes their priority.

Each job is one transaction with its audit row. A job that has changed since the operator saw it is
refused: of two operators who press a button at once, one acts and the other is told who was first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from daemon.actions.actor import Actor
from daemon.config.settings import Config
from daemon.deliver.routes import why_not_sent
from daemon.worker.bell import ring_all
from storage.errors import (
    ChangedMeanwhileError,
    JobEndedError,
    JobRunningError,
    UnknownJobError,
    UnknownRecordError,
)
from storage.queue.seen import SeenJob
from storage.records import Job, JobKind, Priority
from storage.store import Store

_REFUSALS = (ChangedMeanwhileError, JobEndedError, JobRunningError, UnknownJobError)


@dataclass(frozen=True, slots=True)
class ChosenJob:
    """A job that an operator chose, as the operator saw it; None: as it is at the begin."""

    number: int
    seen: SeenJob | None = None


@dataclass(frozen=True, slots=True)
class RefusedJob:
    """A job that stays as it is, with the reason."""

    job: int
    reason: str


@dataclass(frozen=True, slots=True)
class JobsOutcome:
    """The numbers of the jobs that were changed, and the jobs that were not."""

    done: tuple[int, ...]
    refused: tuple[RefusedJob, ...]


def retry_jobs(
    config: Config, store: Store, chosen: Sequence[ChosenJob], actor: Actor
) -> JobsOutcome:
    """Queue jobs again, due now and with no attempts counted, and wake the workers.

    A delivery that its worker would only park again is refused: its object is held, superseded,
    rejected or purged, or the routing does not allow it. Raises StorageError; the jobs before are
    then changed.
    """

    def retry(job: Job, seen: SeenJob) -> str | None:
        reason = _why_parked_again(config, store, job)
        if reason is None:
            store.jobs.retry(job.id, actor.name, host=actor.host, seen=seen)
        return reason

    return _for_each(config, store, chosen, retry)


def discard_jobs(
    config: Config, store: Store, chosen: Sequence[ChosenJob], actor: Actor
) -> JobsOutcome:
    """Discard jobs for good, and wake the workers that wait for them. Raises as `retry_jobs`."""

    def discard(job: Job, seen: SeenJob) -> None:
        store.jobs.discard(job.id, actor.name, host=actor.host, seen=seen)

    return _for_each(config, store, chosen, discard)


def set_priority(
    config: Config, store: Store, numbers: Sequence[int], priority: Priority, actor: Actor
) -> JobsOutcome:
    """Change the priority of jobs that wait. Raises as `retry_jobs`."""

    def change(job: Job, _seen: SeenJob) -> None:
        store.jobs.set_priority(job.id, priority, actor.name, host=actor.host)

    return _for_each(config, store, [ChosenJob(number) for number in numbers], change)


def _for_each(
    config: Config,
    store: Store,
    chosen: Sequence[ChosenJob],
    act: Callable[[Job, SeenJob], str | None],
) -> JobsOutcome:
    done: list[int] = []
    refused: list[RefusedJob] = []
    try:
        for one in {one.number: one for one in chosen}.values():
            try:
                job = store.jobs.get(one.number)
                reason = act(job, one.seen or SeenJob.of(job))
            except _REFUSALS as error:
                reason = str(error)
            if reason is None:
                done.append(one.number)
            else:
                refused.append(RefusedJob(one.number, reason))
    finally:
        # The report of a study no longer waits for an image whose analysis is discarded.
        if done:
            ring_all(config, store)
    return JobsOutcome(tuple(done), tuple(refused))


def _why_parked_again(config: Config, store: Store, job: Job) -> str | None:
    if job.kind is not JobKind.DELIVER:
        return None
    try:
        delivery = store.results.delivery(job)
    except UnknownRecordError:
        return None
    return why_not_sent(config, delivery)
