"""The model of the page: its calibration and the metrics of its card, as tables of text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cxr_model.findings import LABELS
from cxr_model.predict.card import Card
from daemon.batch.dashboard.overview import Overview

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
class TextTable:
    """A table of the page; the first cell of a row is its heading."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def calibration_table(overview: Overview, card: Card) -> TextTable:
    """Return a row per label: curve, threshold, and expected and found number of images."""
    expected = overview.probabilities.sum(axis=0, dtype=np.float64)
    found = overview.present.sum(axis=0, dtype=np.int64)
    rows = tuple(
        (
            plain(label),
            _curve(card.calibrators[label]),
            f"{card.thresholds[label]:.3f}",
            f"{expected[i]:.1f}",
            str(found[i]),
        )
        for i, label in enumerate(LABELS)
    )
    heads = ("Finding", "Calibration of the logit", "Threshold", "Expected here")
    return TextTable((*heads, "At or above threshold here"), rows)


@dataclass(frozen=True, slots=True)
class Measured:
    """The model's metrics in the card and their patients; the table may be empty."""

    on: str
    mean_auc: str
    sources: str
    table: TextTable


def card_metrics(card: Card) -> Measured | None:
    """Return the metrics of the card; None if it has none."""
    part = next((name for name in _PARTS if _mapping(card.metrics.get(name))), None)
    if part is None:
        return None
    measured = _mapping(card.metrics[part])
    per_label = _mapping(measured.get("labels"))
    keys = _shown_metrics([_mapping(row) for row in per_label.values()])
    rows = tuple(
        (
            plain(label),
            *(_with_interval(_mapping(per_label.get(label)), key) for key in keys),
        )
        for label in LABELS
    )
    size = [f"{measured[key]} {key}" for key in ("images", "patients") if measured.get(key)]
    on = f"{_PARTS[part]} ({', '.join(size)})" if size else _PARTS[part]
    heads = ("Finding", *(_METRICS[key] for key in keys))
    mean_auc, sources = _headline(card, measured)
    return Measured(on, mean_auc, sources, TextTable(heads, rows if keys else ()))


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


def patients_text(provenance: Mapping[str, Any]) -> str:
    """Return the numbers of patients in the parts of the training."""
    patients = _mapping(_mapping(provenance.get("split")).get("patients"))
    return ", ".join(f"{plain(str(side))} {count}" for side, count in patients.items())


def _mapping(value: object) -> Mapping[str, Any]:
    """Return a mapping of a card; empty if the card has another type at this place."""
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, float | int):
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def plain(label: str) -> str:
    """Return a label as words."""
    return label.replace("_", " ")
