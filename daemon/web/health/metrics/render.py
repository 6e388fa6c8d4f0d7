"""Metrics for Prometheus, as text or as OpenMetrics, from this host and the store."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from daemon.config.settings import Config
from daemon.statistics.counter import FilmCounter
from daemon.web.health.checks import HealthReport, Level, Part
from daemon.web.health.metrics.counted_trail import CountedTrail
from daemon.web.health.metrics.drift import drift_families
from daemon.web.health.metrics.events import EventMetrics
from daemon.web.health.metrics.hosts import host_families
from daemon.web.health.metrics.node import NodeMetrics
from daemon.web.health.metrics.queue import QueueMetrics
from daemon.web.health.metrics.tally import Tally
from daemon.web.health.metrics.worklists import worklist_families
from storage.store import Store


class Metrics:
    """All metrics; thread-safe."""

    def __init__(
        self, config: Config, store: Store, clock: Callable[[], datetime], counter: FilmCounter
    ) -> None:
        self._config = config
        self._store = store
        self._counter = counter
        self._node = NodeMetrics(config)
        self._queue = QueueMetrics(config, store, clock)
        self._events = EventMetrics(config)
        self._trail = CountedTrail(store, self._events.names)

    def render(self, report: HealthReport, accept: str) -> tuple[bytes, str]:
        """Return the metrics in the form that `accept` asks for, and its content type.

        Without those of the store if it is unavailable. Raises StorageError if it becomes
        unavailable meanwhile.
        """
        families = [*self._node.families(report), *drift_families(self._counter.count)]
        if all(check.level is Level.OK for check in report.of(Part.STORE)):
            families += host_families(report.hosts)
            families += self._queue.families()
            families += worklist_families(self._config, self._store)

            def keep(tally: Tally) -> None:
                families.extend(self._events.families(tally))

            self._trail.read(keep)
        registry = CollectorRegistry()
        registry.register(_Made(families))
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type


class _Made(Collector):
    """Families that are made already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = tuple(families)

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        yield from self._families
