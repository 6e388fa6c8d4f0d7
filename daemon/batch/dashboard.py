"""`dashboard.html`: an overview of the report's rows, as one file without external resources."""

import datetime
from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from cxr_model.findings import LABELS
from cxr_model.predict.bundle import write_atomically
from cxr_model.predict.card import Card
from daemon.analyse.operating_point import false_calls_sentence, operating_point_sentence
from daemon.batch.csv_report import DASHBOARD_FILE, Row, State
from daemon.charts.bars import bars
from daemon.charts.chart import Chart, stylesheet
from daemon.charts.histogram import histogram_of
from daemon.charts.matrix import matrix
from daemon.charts.pie import pie
from daemon.charts.text import share
from dicom_io.gate.reasons import Reason
from storage.files.durable import storage_errors

_TEMPLATES = Path(__file__).parent / "templates"
_EXAMPLES = 50
"""Files listed per reason; the report lists all."""

_PARTS = {
    "held_out": "held-out patients",
    "evaluated": "films of another table than that of the training",
    "validation": "validation patients",
}
_METRICS = {
    "positives": "Positives",
    "auc": "AUC",
    "brier": "Brier",
    "nll": "NLL",
    "ece_mass": "ECE",
    "noise_floor": "ECE noise floor",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
}
_ECE = frozenset({"ece_mass", "noise_floor"})
_BESIDE_ECE = frozenset({"auc", "brier", "nll", "noise_floor"})


@dataclass(frozen=True, slots=True)
class ReasonGroup:
    """The files refused for one reason: their number, and the first as (name, detail)."""

    reason: Reason
    count: int
    examples: tuple[tuple[str, str], ...]

    @property
    def unnamed(self) -> int:
        """Number of files beyond `examples`."""
        return self.count - len(self.examples)


@dataclass(frozen=True, slots=True, eq=False)
class Overview:
    """The report in numbers. Arrays have a row per analysed image and a column per label."""

    probabilities: NDArray[np.float32]
    present: NDArray[np.uint8]
    refused: int
    unreadable: int
    unsupported: int
    reasons: tuple[ReasonGroup, ...]

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "Overview":
        """Count the rows one at a time; a report of a million images need not fit in memory."""
        probabilities, present = array("f"), array("B")
        states: dict[State, int] = defaultdict(int)
        counts: dict[Reason, int] = defaultdict(int)
        examples: dict[Reason, list[tuple[str, str]]] = defaultdict(list)
        for row in rows:
            states[row.state] += 1
            if row.reason is None:
                probabilities.extend(row.probabilities)
                present.extend(label in row.present for label in LABELS)
                continue
            counts[row.reason] += 1
            if len(examples[row.reason]) < _EXAMPLES:
                examples[row.reason].append((row.image_id, row.detail))
        groups = [ReasonGroup(reason, n, tuple(examples[reason])) for reason, n in counts.items()]
        return cls(
            np.array(probabilities, dtype=np.float32).reshape(-1, len(LABELS)),
            np.array(present, dtype=np.uint8).reshape(-1, len(LABELS)),
            states[State.REFUSED],
            states[State.UNREADABLE],
            states[State.UNSUPPORTED],
            tuple(sorted(groups, key=lambda group: (-group.count, group.reason))),
        )

    @property
    def analysed(self) -> int:
        """Number of images with probabilities."""
        return len(self.present)

    @property
    def with_findings(self) -> int:
        """Number of images with at least one finding."""
        return int(self.present.any(axis=1).sum())

    def co_occurrence(self) -> NDArray[np.int64]:
        """Return the number of images with both of two findings, shape (14, 14)."""
        table = self.present.astype(np.float32)
        return np.asarray(np.rint(table.T @ table), dtype=np.int64)


def write_dashboard(
    path: Path, overview: Overview, card: Card, sha256: str, now: datetime.datetime
) -> None:
    """Write the page, whole or not at all. Raises StorageError."""
    page = render_dashboard(overview, card, sha256, now)
    with storage_errors(path):
        write_atomically(path, page.encode("utf-8"))


def render_dashboard(overview: Overview, card: Card, sha256: str, now: datetime.datetime) -> str:
    """Return the page as HTML; text from files and the card is escaped."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawn = _drawn(overview, card) if overview.analysed else None
    return environment.get_template(DASHBOARD_FILE).render(
        overview=overview,
        card=card,
        sha256=sha256,
        now=now,
        drawn=drawn,
        calibration=_calibration(overview, card),
        probability="calibrated probability" if card.calibrated else "probability (not calibrated)",
        measured=_measured(card),
        operating_point=" ".join(
            filter(
                None,
                (
                    operating_point_sentence(card.operating_point),
                    false_calls_sentence(card.operating_point),
                ),
            )
        ),
        patients=_patients(card.provenance),
        share=share,
        chart_style=Markup(stylesheet()),  # noqa: S704
    )


@dataclass(frozen=True, slots=True)
class _Drawn:
    findings: Chart
    healthy: Chart
    histograms: tuple[tuple[str, int, Chart], ...]
    matrix: Markup


def _drawn(overview: Overview, card: Card) -> _Drawn:
    counts = overview.present.sum(axis=0, dtype=np.int64).tolist()
    names = tuple(_plain(label) for label in LABELS)
    order = sorted(range(len(LABELS)), key=lambda i: -counts[i])
    without = overview.analysed - overview.with_findings
    return _Drawn(
        bars(
            "Images with each finding",
            [names[i] for i in order],
            [counts[i] for i in order],
            overview.analysed,
        ),
        pie(
            "Healthy versus findings",
            ("No finding", "One or more findings"),
            (without, overview.with_findings),
        ),
        tuple(
            (
                names[i],
                counts[i],
                histogram_of(
                    names[i],
                    overview.probabilities[:, i],
                    overview.present[:, i].astype(np.bool_),
                    card.thresholds[label],
                ),
            )
            for i, label in enumerate(LABELS)
        ),
        matrix("Co-occurrence of findings", names, overview.co_occurrence().tolist()),
    )


@dataclass(frozen=True, slots=True)
class _Table:
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def _calibration(overview: Overview, card: Card) -> _Table:
    """Return a row per label: curve, threshold, and expected and found number of images."""
    expected = overview.probabilities.sum(axis=0, dtype=np.float64)
    found = overview.present.sum(axis=0, dtype=np.int64)
    rows = tuple(
        (
            _plain(label),
            _curve(card.calibrators[label]),
            f"{card.thresholds[label]:.3f}",
            f"{expected[i]:.1f}",
            str(found[i]),
        )
        for i, label in enumerate(LABELS)
    )
    heads = ("Finding", "Calibration of the logit", "Threshold", "Expected here")
    return _Table((*heads, "At or above threshold here"), rows)


@dataclass(frozen=True, slots=True)
class _Measured:
    """The model's metrics in the card and their patients; the table may be empty."""

    on: str
    mean_auc: str
    sources: str
    table: _Table


def _measured(card: Card) -> _Measured | None:
    part = next((name for name in _PARTS if _mapping(card.metrics.get(name))), None)
    if part is None:
        return None
    measured = _mapping(card.metrics[part])
    per_label = _mapping(measured.get("labels"))
    keys = _shown_metrics([_mapping(row) for row in per_label.values()])
    rows = tuple(
        (
            _plain(label),
            *(_with_interval(_mapping(per_label.get(label)), key) for key in keys),
        )
        for label in LABELS
    )
    size = [f"{measured[key]} {key}" for key in ("images", "patients") if measured.get(key)]
    on = f"{_PARTS[part]} ({', '.join(size)})" if size else _PARTS[part]
    heads = ("Finding", *(_METRICS[key] for key in keys))
    mean_auc, sources = _headline(card, measured)
    return _Measured(on, mean_auc, sources, _Table(heads, rows if keys else ()))


def _headline(card: Card, measured: Mapping[str, Any]) -> tuple[str, str]:
    """Return the mean AUC that the card is judged by, and a sentence about its sources."""
    headline = _mapping(card.metrics.get("headline"))
    sources = headline.get("sources")
    if not headline:
        return _with_interval(measured, "mean_auc"), (
            "The card does not tell the sources of its films apart: the mean may be too good."
        )
    size = ", ".join(f"{headline[key]} {key}" for key in ("images", "patients") if key in headline)
    named = ", ".join(map(str, sources)) if isinstance(sources, list) and sources else "unnamed"
    return _with_interval(headline, "mean_auc"), f"The mean is over {size}; sources: {named}."


def _shown_metrics(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the metrics with a value in the card; ECE only beside those that qualify it."""
    present = {key for key in _METRICS for row in rows if row.get(key) is not None}
    if not present >= _BESIDE_ECE:
        present -= _ECE
    return [key for key in _METRICS if key in present]


def _with_interval(values: Mapping[str, Any], key: str) -> str:
    bounds = values.get(f"{key}_95")
    text = _number(values.get(key))
    if isinstance(bounds, list) and len(bounds) == 2 and None not in bounds:
        return f"{text} ({_number(bounds[0])} to {_number(bounds[1])})"
    return text


def _curve(calibrator: Mapping[str, Any]) -> str:
    method = str(calibrator.get("method", "not stated"))
    numbers = [
        f"{name} {value:.3g}"
        for name, value in calibrator.items()
        if isinstance(value, float | int) and not isinstance(value, bool)
    ]
    return f"{method} ({', '.join(numbers)})" if numbers else method


def _patients(provenance: Mapping[str, Any]) -> str:
    patients = _mapping(_mapping(provenance.get("split")).get("patients"))
    return ", ".join(f"{_plain(str(side))} {count}" for side, count in patients.items())


def _mapping(value: object) -> Mapping[str, Any]:
    """Return a mapping of a card; empty if the card has another type at this place."""
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, float | int):
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _plain(label: str) -> str:
    return label.replace("_", " ")
