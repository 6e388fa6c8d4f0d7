"""Metrics of drift, from the last count of all films."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from cxr_model.findings import LABELS
from daemon.statistics.counter import Count


def drift_families(count: Count) -> Iterator[Metric]:
    """Yield the alarms of drift by finding; none before the first count is complete."""
    if count.as_of is None:
        return
    yield GaugeMetricFamily(
        "cxrd_drift_watched",
        "1 if the baseline of the present model is complete, so that drift is seen.",
        float(count.drift is not None and count.drift.baseline is not None),
    )
    alarms = [episode.label for episode in count.drift.alarms] if count.drift is not None else []
    family = GaugeMetricFamily(
        "cxrd_drift_alarms",
        "Changes that last: of the probability or of the calls of the finding.",
        labels=["finding"],
    )
    for label in LABELS:
        family.add_metric([label], alarms.count(label))
    yield family
