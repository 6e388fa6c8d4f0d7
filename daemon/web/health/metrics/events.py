"""Counters and histograms of the audit trail as metric families."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from cxr_model.findings import LABELS
from daemon.config.settings import Config
from daemon.web.health.metrics.tally import COMMITMENT_RESULTS, Tally
from daemon.worker.waits.histogram import Histogram
from dicom_io.gate.reasons import Reason
from storage.audit.records import AuditKind, AuditOutcome
from storage.records import JobKind, ReceiptOutcome, StudyStatus

SUCCESS = "0x0000"
_REFUSALS = ("0xA700", "0xA900", "0xC000")
"""The failure statuses that the listener gives most: out of resources, mismatch, malformed."""


@dataclass(frozen=True, slots=True)
class _Family:
    """A family of counters; `zeros` are values of its labels that it has before any event."""

    name: str
    text: str
    labels: tuple[str, ...] = ()
    zeros: tuple[tuple[str, ...], ...] = ((),)


class EventMetrics:
    """The families of a tally, with a 0 for each expected event that has not happened."""

    def __init__(self, config: Config) -> None:
        self._destinations = [peer.name for peer in config.receivers]
        senders = sorted(config.rules_by_sender)
        committing = [peer.name for peer in config.receivers if peer.commitment]
        self._families = (
            _Family(
                "films_received",
                "Objects received and kept, by calling AE title. outcome: new, duplicate (the same"
                " bytes again), revision (other bytes under a known UID), kept_again, renewed.",
                ("sender", "outcome"),
                tuple(product(senders, ReceiptOutcome)),
            ),
            _Family(
                "films_refused",
                "Objects answered with a failure status, by calling AE title and status.",
                ("sender", "status"),
                tuple(product(senders, _REFUSALS)),
            ),
            _Family("films_analysed", "Analyses with findings, repeated ones included."),
            _Family(
                "films_not_analysed",
                "Objects that were not analysed, by reason, repeated looks included.",
                ("reason",),
                tuple((reason,) for reason in Reason),
            ),
            _Family(
                "findings_present",
                "Findings called present, by finding, repeated analyses included.",
                ("finding",),
                tuple((label,) for label in LABELS),
            ),
            _Family(
                "studies_reported",
                "Ends of the report of a study, by status, repeated reports included.",
                ("status",),
                tuple((status,) for status in StudyStatus),
            ),
            _Family(
                "objects_delivered",
                "Objects that a destination has taken, by the status of its answer.",
                ("destination", "status"),
                tuple((name, SUCCESS) for name in self._destinations),
            ),
            _Family(
                "job_parkings",
                "Jobs given up until a person retries or discards them, by kind.",
                ("kind",),
                tuple((kind,) for kind in JobKind),
            ),
            _Family(
                "commitment_objects",
                "Objects in the answers to storage commitment requests, by result.",
                ("destination", "result"),
                tuple(product(committing, COMMITMENT_RESULTS)),
            ),
            _Family(
                "events",
                "Events of the audit trail; a row that stands for several counts as many.",
                ("kind", "outcome"),
                tuple(product(AuditKind, (AuditOutcome.SUCCESS, AuditOutcome.FAILURE))),
            ),
        )

    @property
    def names(self) -> frozenset[str]:
        """The names in the configuration that become labels in any case."""
        zeros = (values for family in self._families for values in family.zeros)
        return frozenset(value for values in zeros for value in values)

    def families(self, tally: Tally) -> Iterator[Metric]:
        """Yield the families of a tally."""
        for family in self._families:
            counter = CounterMetricFamily(
                f"cxrd_{family.name}", family.text, labels=list(family.labels)
            )
            found = {key[1:] for key in tally.counts if key[0] == family.name}
            for values in sorted({*family.zeros, *found}):
                counter.add_metric(values, tally.counts[family.name, *values])
            yield counter
        yield _histogram(
            "cxrd_film_analysis_seconds",
            "Time from the reception of a film to its first analysis.",
            (),
            [((), tally.analysis)],
        )
        yield _histogram(
            "cxrd_study_report_seconds",
            "Time from the last film of a study to its report, study.quiet_seconds included.",
            (),
            [((), tally.report)],
        )
        names = sorted({*self._destinations, *tally.delivery})
        yield _histogram(
            "cxrd_report_delivery_seconds",
            "Time from a report to its delivery, without those sent again by hand.",
            ("destination",),
            [((name,), tally.delivery.get(name, Histogram())) for name in names],
        )


def _histogram(
    name: str,
    text: str,
    labels: Sequence[str],
    found: Iterable[tuple[Sequence[str], Histogram]],
) -> Metric:
    family = HistogramMetricFamily(name, text, labels=list(labels))
    for values, histogram in found:
        family.add_metric(values, histogram.buckets(), histogram.total)
    return family
