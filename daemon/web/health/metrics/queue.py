"""Metrics of the queue, the deliveries and the received films, from the store."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric

from daemon.audit.syslog import reader_of
from daemon.config.settings import Config
from daemon.web.health.metrics.kept import Kept
from daemon.web.health.totals import count_totals, job_groups
from storage.records import JobKind, JobState, Priority
from storage.status import JobGroup
from storage.store import Store

_DESTINATION_KINDS = (JobKind.DELIVER, JobKind.COMMIT)


class QueueMetrics:
    """Reads the queue at each scrape."""

    def __init__(self, config: Config, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._now = clock
        self._destinations = [peer.name for peer in config.receivers]
        self._syslog = reader_of(config.syslog) if config.syslog.host is not None else None
        self._totals = Kept(lambda: count_totals(store, clock()))

    def families(self) -> Iterator[Metric]:
        """Yield the metric families, including empty groups. Raises StorageError."""
        totals, age = self._totals.value()
        groups = job_groups(self._store, totals)
        yield from self._jobs(groups)
        yield from self._due()
        yield from self._of_destinations(groups)
        films = GaugeMetricFamily(
            "cxrd_instances", "Received images by state, each revision once.", labels=["state"]
        )
        for state, number in totals.images.items():
            films.add_metric([state], number)
        yield films
        yield GaugeMetricFamily(
            "cxrd_studies_held",
            "Studies in doubt, of which nothing leaves.",
            self._store.status.held_count(),
        )
        yield GaugeMetricFamily(
            "cxrd_counts_age_seconds",
            "Age of cxrd_instances, and of the jobs that are done or discarded.",
            age,
        )
        yield from self._syslog_backlog()

    def _jobs(self, groups: Mapping[JobGroup, int]) -> Iterator[Metric]:
        counts: Counter[tuple[JobKind, JobState]] = Counter()
        for group, number in groups.items():
            counts[group.kind, group.state] += number
        jobs = GaugeMetricFamily("cxrd_jobs", "Jobs of the queue.", labels=["kind", "state"])
        for kind in JobKind:
            for state in JobState:
                jobs.add_metric([kind, state], counts[kind, state])
        yield jobs
        yield GaugeMetricFamily(
            "cxrd_jobs_parked",
            "Jobs given up until a person retries or discards them.",
            value=sum(counts[kind, JobState.PARKED] for kind in JobKind),
        )
        retrying: Counter[JobKind] = Counter()
        for (kind, _), number in self._store.status.retrying_counts().items():
            retrying[kind] += number
        family = GaugeMetricFamily(
            "cxrd_jobs_retrying", "Queued jobs of which an attempt failed.", labels=["kind"]
        )
        for kind in JobKind:
            family.add_metric([kind], retrying[kind])
        yield family

    def _due(self) -> Iterator[Metric]:
        found = self._store.status.due(self._now())
        oldest = GaugeMetricFamily(
            "cxrd_oldest_queued_job_seconds",
            "Time for which the queued job that is due first has been due; 0 when none is.",
            labels=["kind"],
        )
        due = GaugeMetricFamily(
            "cxrd_jobs_due", "Queued jobs that are due.", labels=["kind", "priority"]
        )
        waits = GaugeMetricFamily(
            "cxrd_jobs_due_oldest_seconds",
            "Time for which the job of this priority that is due first has been due; 0: none is.",
            labels=["kind", "priority"],
        )
        for kind in JobKind:
            seconds = []
            for priority in Priority:
                group = found.get((kind, priority))
                seconds.append(self._since(group.since if group is not None else None))
                labels = [kind, priority.name.lower()]
                due.add_metric(labels, group.count if group is not None else 0)
                waits.add_metric(labels, seconds[-1])
            oldest.add_metric([kind], max(seconds))
        yield from (oldest, due, waits)

    def _of_destinations(self, groups: Mapping[JobGroup, int]) -> Iterator[Metric]:
        names = self._destinations
        jobs = GaugeMetricFamily(
            "cxrd_destination_jobs",
            "Deliveries (deliver) and storage commitments (commit) by destination.",
            labels=["destination", "kind", "state"],
        )
        for name in names:
            for kind in _DESTINATION_KINDS:
                for state in JobState:
                    number = groups.get(JobGroup(kind, state, name), 0)
                    jobs.add_metric([name, kind, state], number)
        yield jobs
        waiting = self._store.activity.waiting_since(names)
        oldest = GaugeMetricFamily(
            "cxrd_destination_oldest_delivery_seconds",
            "Age of the oldest delivery that waits for the destination; 0 when none does.",
            labels=["destination"],
        )
        for name in names:
            oldest.add_metric([name], self._since(waiting.get(name)))
        yield oldest
        yield _moments(
            "cxrd_destination_last_delivery_timestamp_seconds",
            "Time of the last delivery to the destination, in seconds since 1970.",
            names,
            self._store.activity.last_deliveries(names),
        )

    def _syslog_backlog(self) -> Iterator[Metric]:
        head = self._store.audit.head().number
        if self._syslog is not None:
            yield GaugeMetricFamily(
                "cxrd_syslog_backlog_rows",
                "Rows of the audit trail that the syslog server has not received.",
                max(head - self._store.audit_readers.place(self._syslog), 0),
            )

    def _since(self, moment: datetime | None) -> float:
        return max((self._now() - moment).total_seconds(), 0.0) if moment is not None else 0.0


def _moments(
    name: str, text: str, destinations: Sequence[str], found: Mapping[str, datetime]
) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["destination"])
    for destination in destinations:
        if destination in found:
            family.add_metric([destination], found[destination].timestamp())
    return family
