"""A node without processes whose metrics a test reads, and metrics as values by name and labels."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from daemon.config.settings import Config
from daemon.statistics.counter import FilmCounter
from daemon.web.health.checks import Health
from daemon.web.health.metrics.render import Metrics
from daemon.worker.board import ModelInUse, publish_model
from daemon.worker.role import RoleName
from storage.files.folder_spool import FolderSpool
from storage.hosts.nodes import NodeRole
from storage.records import Delivery, JobKind, StudyStatus
from storage.store import Store
from tests.builders.certificates import Authority
from tests.builders.store_rows import LEASE, claim, made_object
from tests.servers.website import status_of, supervised

PEERS = [
    {"name": "xray", "ae_title": "MODALITY", "sends": True},
    {
        "name": "pacs",
        "ae_title": "PACS",
        "host": "127.0.0.1",
        "port": 104,
        "receives": ["report"],
        "results_of": "all",
        "commitment": True,
    },
]
WORKLIST = {
    "name": "ris",
    "kind": "dimse",
    "ae_title": "RIS",
    "host": "127.0.0.1",
    "port": 104,
    "source": "xray",
}
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def value(families: list[Metric], name: str, /, **labels: str) -> float | None:
    """Return the value of a sample; None if there is none."""
    found = [
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    return found[0] if found else None


def node_config(data: Path, pki: Authority, **sections: Any) -> Config:
    """Return a configuration in which every metric has a value."""
    own = pki.of("cxrd")
    tls = {"certificate": own.certificate, "key": own.key, "ca": pki.ca}
    values: dict[str, Any] = {
        "peers": PEERS,
        "tls": tls,
        "listener": {"tls": True},
        "syslog": {"host": "127.0.0.1", "transport": "udp"},
        "statistics": {"baseline_days": 1},
        "worklists": [WORKLIST],
        **sections,
    }
    return Config(data_dir=data, **values)


class Exposed:
    """The metrics of a node."""

    def __init__(self, config: Config, store: Store, clock: Callable[[], datetime]) -> None:
        self.counter = FilmCounter(store, clock)
        self._metrics = Metrics(config, store, clock, self.counter)
        self._health = Health(config, store, FolderSpool(config.data_dir / "spool"), clock)

    def text(self, accept: str = "") -> str:
        """Return the answer to a scrape."""
        return self._metrics.render(self._health.report(), accept)[0].decode()

    def families(self) -> list[Metric]:
        """Return the metrics as Prometheus reads them."""
        return list(text_string_to_metric_families(self.text()))

    def open_families(self) -> list[Metric]:
        """Return the metrics as OpenMetrics, which is parsed more strictly."""
        return list(openmetrics_families(self.text(OPENMETRICS)))  # type: ignore[no-untyped-call]


@contextmanager
def exposed_node(config: Config, store: Store, clock: Callable[[], datetime]) -> Iterator[Exposed]:
    """Publish a listener and its model until the block ends."""
    model = ModelInUse("node", "starter", "1", "ab" * 32, "onnx on cpu", None, clock())
    with supervised(config, status_of(config, RoleName.LISTENER)):
        publish_model(config, model)
        store.nodes.renew([NodeRole("north", "north", "analyst", "1", "0008", "{}", "up")])
        exposed = Exposed(config, store, clock)
        exposed.counter.refresh()
        yield exposed


def report(store: Store, uid: str = "2.25.1") -> None:
    """Report the study that is due, for pacs."""
    job = claim(store, JobKind.REPORT)
    store.results.record_report(
        job, StudyStatus.REPORTED, "", [made_object(uid)], [Delivery(uid, "pacs")]
    )


def deliver(store: Store, status: int = 0) -> None:
    """Deliver the next object to pacs."""
    job = store.jobs.claim([JobKind.DELIVER], "courier", LEASE, lane="pacs")
    assert job is not None
    store.results.record_delivery(job, status, None, coerced_uid=None, commit_after=None)
