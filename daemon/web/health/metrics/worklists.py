"""Metrics of the worklists."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from daemon.config.settings import Config
from storage.store import Store
from storage.worklist.records import WorkitemState


def worklist_families(config: Config, store: Store) -> Iterator[Metric]:
    """Yield the families, which are empty without a worklist. Raises StorageError."""
    items = GaugeMetricFamily(
        "cxrd_workitems",
        "Workitems that this node took up, by worklist and state.",
        labels=["worklist", "state"],
    )
    faulty = GaugeMetricFamily(
        "cxrd_worklist_fault",
        "1 if the last look at the worklist failed.",
        labels=["worklist"],
    )
    answered = GaugeMetricFamily(
        "cxrd_worklist_last_answer_timestamp_seconds",
        "Time of the last answer of the manager to a search, in seconds since 1970.",
        labels=["worklist"],
    )
    counts = store.workitems.counts() if config.worklists else {}
    for one in config.worklists:
        for state in WorkitemState:
            items.add_metric([one.name, state], counts.get((one.name, state), 0))
        known = store.workitems.worklist(one.name)
        faulty.add_metric([one.name], bool(known.fault))
        if known.answered_at is not None:
            answered.add_metric([one.name], known.answered_at.timestamp())
    yield from (items, faulty, answered)
