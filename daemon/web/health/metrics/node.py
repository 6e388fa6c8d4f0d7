"""Metrics of this host: the health checks, its roles, its disk and its model."""

import platform
from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from daemon.config.settings import Config
from daemon.version import own_version
from daemon.web.health.checks import HealthReport, Level, Part
from daemon.worker.board import RoleState, board_folder, models_in_use
from daemon.worker.waits.counts import waits_here
from storage.tables.upgrade import head_revision


class NodeMetrics:
    """The metric families of the checks: 1 for a part that works, else 0."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._build = {
            "version": own_version(),
            "python": platform.python_version(),
            "schema": head_revision(),
        }

    def families(self, report: HealthReport) -> Iterator[Metric]:
        """Yield the families of a report."""
        build = InfoMetricFamily("cxrd_build", "This software, and the revision of its tables.")
        build.add_metric([], self._build)
        yield build
        yield self._models()
        health = GaugeMetricFamily(
            "cxrd_health", "1 for the status that /healthz gives.", labels=["status"]
        )
        for level in (Level.OK, Level.DEGRADED, Level.FAILING):
            health.add_metric([level], report.level is level)
        yield health
        yield GaugeMetricFamily(
            "cxrd_ready", "1 if every role and port of this host works.", report.is_ready
        )
        yield _parts(report, Part.STORE, "cxrd_store_up", "1 if the store answers.")
        yield _parts(report, Part.SPOOL, "cxrd_spool_writable", "1 if an image could be stored.")
        yield _parts(
            report, Part.PORT, "cxrd_port_listening", "1 if the role listens there.", "address"
        )
        yield _parts(
            report,
            Part.DESTINATION,
            "cxrd_destination_ok",
            "1 unless unfinished work for the destination has an error.",
            "destination",
        )
        yield from self._disk(report)
        yield self._waits()
        yield from _roles(report)
        yield _certificates(report)

    def _models(self) -> Metric:
        family = InfoMetricFamily(
            "cxrd_model",
            "The model that the analyst of a host has loaded, and its engine.",
            labels=["host"],
        )
        for model in models_in_use(self._config):
            values = {
                "name": model.name,
                "version": model.version,
                "sha256": model.sha256,
                "engine": model.engine,
            }
            family.add_metric([model.host], values)
        return family

    def _waits(self) -> Metric:
        family = HistogramMetricFamily(
            "cxrd_job_wait_seconds",
            "Time from the moment a job was due to its start by a role of this host.",
            labels=["kind"],
        )
        for kind, waits in waits_here(board_folder(self._config)).items():
            family.add_metric([kind], waits.buckets(), waits.total)
        return family

    def _disk(self, report: HealthReport) -> Iterator[Metric]:
        if report.free_bytes is not None:
            yield GaugeMetricFamily(
                "cxrd_disk_free_bytes", "Free on the spool's disk.", report.free_bytes
            )
        yield GaugeMetricFamily(
            "cxrd_disk_min_free_bytes",
            "Free space below which images are refused (spool.min_free_mb).",
            self._config.spool.min_free_mb * 2**20,
        )


def _parts(
    report: HealthReport, part: Part, name: str, text: str, label: str = ""
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label] if label else [])
    for check in report.of(part):
        family.add_metric([check.subject] if label else [], check.level is Level.OK)
    return family


def _roles(report: HealthReport) -> Iterator[Metric]:
    up = GaugeMetricFamily("cxrd_role_up", "1 if the role works.", labels=["role"])
    restarts = CounterMetricFamily(
        "cxrd_role_restarts", "Restarts since the daemon's start.", labels=["role"]
    )
    since = GaugeMetricFamily(
        "cxrd_role_since_timestamp_seconds",
        "Time since which the role is in its state, in seconds since 1970.",
        labels=["role"],
    )
    for status in report.roles:
        up.add_metric([status.role], status.state is RoleState.UP)
        restarts.add_metric([status.role], status.restarts)
        since.add_metric([status.role], status.since.timestamp())
    yield up
    yield restarts
    yield since


def _certificates(report: HealthReport) -> GaugeMetricFamily:
    """Return the end of each certificate: a node may run longer than its certificate lasts."""
    family = GaugeMetricFamily(
        "cxrd_certificate_end_timestamp_seconds",
        "When this node's certificate ends, in seconds since 1970.",
        labels=["section"],
    )
    for section, certificate in report.certificates.items():
        family.add_metric([section], certificate.not_after.timestamp())
    return family
