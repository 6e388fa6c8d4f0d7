"""Formats cards and evaluations as text for a terminal."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from cxr_model.evaluate.boxes import Localisation
from cxr_model.evaluate.evaluation import MEAN
from cxr_model.predict.bundle import Bundle

# Entries of a card that only this software uses or that are too long to read.
_NOT_SHOWN = frozenset({"log", "settings", "fingerprint", "patients_sha256", "positives"})

_NO_SKILL = (
    "no skill: {labels} - no better than always saying the prevalence, however small the "
    "calibration error"
)


def bundle_text(bundle: Bundle) -> str:
    """Return a bundle's identity, intended use, thresholds, metrics and provenance as text."""
    card = bundle.card
    spec = card.input
    stored = f", weights {card.weights.dtype}" if card.weights else ""
    lines = [
        f"{card.name} {card.version}, created {card.created}",
        f"sha256        {bundle.sha256}",
        f"intended use  {card.intended_use}",
        f"input         {spec.channels} x {spec.size} x {spec.size}{stored}",
        f"operating     {_sentence(card.operating_point)}",
        "",
        *_aligned(_label_rows(bundle)),
        "",
        *_metrics_lines(card.metrics),
        "",
        "provenance",
        *_tree(card.provenance, "  "),
    ]
    return "\n".join(lines)


def evaluation_text(table: pd.DataFrame) -> str:
    """Return the scores of a metrics table; ECE stands beside AUC, Brier, NLL and noise floor."""
    header = ["label", "n", "positives", "AUC (95 %)", "Brier", "NLL", "ECE", "noise floor"]
    rows = [header]
    for row in table.to_dict("records"):
        ranking = f"{row['auc']:.3f} ({row['auc_low']:.3f} to {row['auc_high']:.3f})"
        scores = [f"{row[name]:.4f}" for name in ("brier", "nll", "ece_mass", "noise_floor")]
        rows.append([row["label"], str(row["n"]), str(row["positives"]), ranking, *scores])
    lines = _aligned(rows)
    unskilled = [
        str(row["label"])
        for row in table.to_dict("records")
        if row["skill"] == "no skill" and row["label"] != MEAN
    ]
    if unskilled:
        lines += ["", _NO_SKILL.format(labels=", ".join(unskilled))]
    return "\n".join(lines)


def localisation_text(found: Mapping[str, Localisation]) -> str:
    """Return the agreement of maps with radiologists' boxes as text."""
    rows = [["label", "boxes", "pointing", "chance", "IoU"]]
    for label, row in found.items():
        shares = [f"{share:.3f}" for share in (row.pointing, row.chance, row.iou)]
        rows.append([label, str(row.boxes), *shares])
    return "\n".join(_aligned(rows))


def _label_rows(bundle: Bundle) -> Iterator[list[str]]:
    card = bundle.card
    yield ["label", "threshold", "calibration"]
    for label in card.labels:
        curve = dict(card.calibrators[label])
        method = str(curve.pop("method", ""))
        numbers = [f"{k} {v:.3g}" for k, v in curve.items() if isinstance(v, int | float)]
        yield [label, f"{card.thresholds[label]:.4f}", " ".join([method, *numbers])]


def _metrics_lines(metrics: Mapping[str, Any]) -> list[str]:
    if not metrics:
        return ["metrics       none: not measured here; see `cxrd model evaluate`"]
    lines: list[str] = []
    for part, measured in metrics.items():
        try:
            lines += ["", *_measured_lines(part, measured)]
        except (KeyError, TypeError, AttributeError):
            # Metrics of another software's card have another layout; show them as they are.
            lines += ["", *_tree({part: measured}, "")]
    return lines[1:]


def _measured_lines(part: str, measured: Mapping[str, Any]) -> list[str]:
    rows = [["label", "positives", "AUC (95 %)", "Brier", "sensitivity", "specificity"]]
    for label, row in measured["labels"].items():
        ranking = f"{_number(row['auc'], 3)} {_interval(row['auc_95'])}"
        scores = [_number(row[name], 4) for name in ("brier", "sensitivity", "specificity")]
        rows.append([label, str(row["positives"]), ranking, *scores])
    title = (
        f"{part.replace('_', ' ')}: {measured['images']} films of {measured['patients']} "
        f"patients, mean AUC {_number(measured['mean_auc'], 3)} "
        f"{_interval(measured['mean_auc_95'])} over {measured['labels_in_mean']} labels"
    )
    return [title, *_aligned(rows)]


def _tree(content: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in content.items():
        if key in _NOT_SHOWN or value in ("", [], {}):
            continue
        name = f"{indent}{key.replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield f"{name}: {_sentence(value)}" if _flat(value) else f"{name}:"
            if not _flat(value):
                yield from _tree(value, f"{indent}  ")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for number, item in enumerate(value, start=1):
                yield f"{name} {number}:"
                yield from _tree(item, f"{indent}  ")
        else:
            yield f"{name}: {_value(value)}"


def _flat(content: Mapping[str, Any]) -> bool:
    return all(not isinstance(value, Mapping | list | str) for value in content.values())


def _sentence(content: Mapping[str, Any]) -> str:
    return "; ".join(f"{key.replace('_', ' ')} {_value(value)}" for key, value in content.items())


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _interval(bounds: Sequence[float | None] | None) -> str:
    low, high = bounds or (None, None)
    return f"({_number(low, 3)} to {_number(high, 3)})"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _aligned(rows: Iterator[list[str]] | list[list[str]]) -> list[str]:
    """Return lines of columns as wide as their widest cell; the first column is left-aligned."""
    cells = list(rows)
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
