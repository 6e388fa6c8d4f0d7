"""Metrics in Prometheus' text format, from the health checks and the store at each scrape."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from daemon.web.health.checks import HealthReport, Level, Part
from daemon.worker.board import RoleState
from storage.records import JobKind, JobState
from storage.store import Store


def render_metrics(store: Store, clock: Callable[[], datetime], report: HealthReport) -> bytes:
    """Return all metrics; without those of the store if it is unavailable.

    Raises StorageError if the store becomes unavailable meanwhile.
    """
    registry = CollectorRegistry()
    registry.register(_HealthCollector(report))
    if all(check.level is Level.OK for check in report.of(Part.STORE)):
        registry.register(_StoreCollector(store, clock))
    return generate_latest(registry)


class _HealthCollector(Collector):
    def __init__(self, report: HealthReport) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families of the checks: 1 for a part that works, else 0."""
        health = GaugeMetricFamily(
            "cxrd_health", "1 for the status that /healthz gives.", labels=["status"]
        )
        for level in (Level.OK, Level.DEGRADED, Level.FAILING):
            health.add_metric([level], self._report.level is level)
        yield health
        yield GaugeMetricFamily(
            "cxrd_ready", "1 if every role and port of this host works.", self._report.is_ready
        )
        yield self._parts(Part.STORE, "cxrd_store_up", "1 if the store answers.")
        yield self._parts(Part.SPOOL, "cxrd_spool_writable", "1 if an image could be stored.")
        yield self._parts(
            Part.PORT, "cxrd_port_listening", "1 if the role listens there.", "address"
        )
        yield self._parts(
            Part.DESTINATION,
            "cxrd_destination_ok",
            "1 unless unfinished work for the destination has an error.",
            "destination",
        )
        if self._report.free_bytes is not None:
            yield GaugeMetricFamily(
                "cxrd_disk_free_bytes", "Free on the spool's disk.", self._report.free_bytes
            )
        yield from self._roles()
        yield self._certificates()

    def _parts(self, part: Part, name: str, text: str, label: str = "") -> GaugeMetricFamily:
        family = GaugeMetricFamily(name, text, labels=[label] if label else [])
        for check in self._report.of(part):
            family.add_metric([check.subject] if label else [], check.level is Level.OK)
        return family

    def _roles(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("cxrd_role_up", "1 if the role works.", labels=["role"])
        restarts = CounterMetricFamily(
            "cxrd_role_restarts", "Restarts since the daemon's start.", labels=["role"]
        )
        for status in self._report.roles:
            up.add_metric([status.role], status.state is RoleState.UP)
            restarts.add_metric([status.role], status.restarts)
        yield up
        yield restarts

    def _certificates(self) -> GaugeMetricFamily:
        """Return the end of each certificate: a node may run longer than its certificate lasts."""
        family = GaugeMetricFamily(
            "cxrd_certificate_end_timestamp_seconds",
            "When this node's certificate ends, in seconds since 1970.",
            labels=["section"],
        )
        for section, certificate in self._report.certificates.items():
            family.add_metric([section], certificate.not_after.timestamp())
        return family


class _StoreCollector(Collector):
    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._now = clock

    def describe(self) -> list[GaugeMetricFamily]:
        """Return an empty list, so that registering does not query the store."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metric families, including empty groups."""
        counts: Counter[tuple[JobKind, JobState]] = Counter()
        for group, number in self._store.status.job_counts().items():
            counts[group.kind, group.state] += number
        jobs = GaugeMetricFamily("cxrd_jobs", "Jobs in the queue.", labels=["kind", "state"])
        for kind in JobKind:
            for state in JobState:
                jobs.add_metric([kind, state], counts[kind, state])
        yield jobs
        yield GaugeMetricFamily(
            "cxrd_jobs_parked",
            "Jobs given up until a person retries or discards them.",
            value=sum(counts[kind, JobState.PARKED] for kind in JobKind),
        )
        yield self._due()
        instances = GaugeMetricFamily("cxrd_instances", "Received images.", labels=["state"])
        for condition, number in self._store.status.instance_counts().items():
            instances.add_metric([condition], number)
        yield instances

    def _due(self) -> GaugeMetricFamily:
        family = GaugeMetricFamily(
            "cxrd_oldest_queued_job_seconds",
            "How long the queued job that is due first has been due; 0 when none is.",
            labels=["kind"],
        )
        now = self._now()
        for kind in JobKind:
            due = self._store.jobs.next_due((kind,))
            waited = (now - due).total_seconds() if due is not None else 0.0
            family.add_metric([kind], max(0.0, waited))
        return family
