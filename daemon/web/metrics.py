"""Metrics in Prometheus' text format, read from the store at each scrape."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from dicom_io.peer.tls import Certificate
from storage.files.spool import Spool
from storage.records import JobKind, JobState
from storage.store import Store


def render_metrics(
    store: Store,
    spool: Spool,
    clock: Callable[[], datetime],
    certificates: Mapping[str, Certificate],
) -> bytes:
    """Return all metrics; `certificates` are this node's own, by configuration section.

    Raises StorageError if the store or the spool is unavailable.
    """
    registry = CollectorRegistry()
    registry.register(_StoreCollector(store, spool, clock))
    registry.register(_CertificateCollector(certificates))
    return generate_latest(registry)


class _CertificateCollector(Collector):
    def __init__(self, certificates: Mapping[str, Certificate]) -> None:
        self._certificates = certificates

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the end of each certificate: a node may run longer than its certificate lasts."""
        family = GaugeMetricFamily(
            "cxrd_certificate_end_timestamp_seconds",
            "When this node's certificate ends, in seconds since 1970.",
            labels=["section"],
        )
        for section, certificate in self._certificates.items():
            family.add_metric([section], certificate.not_after.timestamp())
        yield family


class _StoreCollector(Collector):
    def __init__(self, store: Store, spool: Spool, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._spool = spool
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
        yield GaugeMetricFamily(
            "cxrd_disk_free_bytes", "Free on the spool's disk.", value=self._spool.free_bytes()
        )

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
