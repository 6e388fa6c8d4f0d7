"""Formats cards and evaluations as text for a terminal."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cxr_model.findings import MEAN
from cxr_model.predict.bundle import Bundle
from cxr_model.predict.card import agrees

if TYPE_CHECKING:
    import pandas as pd

    from cxr_model.evaluate.localisation import Localisation, Score

# Entries of a card that only this software uses or that are too long to read.
_NOT_SHOWN = frozenset(
    {"log", "settings", "fingerprint", "patients_sha256", "positives", "salt", "digests"}
)

_RATES = {"sensitivity": "sensitivity", "specificity": "specificity", "ppv": "PPV"}

_NO_SKILL = (
    "no skill: {labels} - no better than always saying the prevalence, however small the "
    "calibration error"
)


Draw = Callable[[Iterable[Sequence[str]]], Sequence[str]]
"""A function that returns the lines of a table; its first row is the heading."""


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
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


def bundle_text(bundle: Bundle, draw: Draw = aligned) -> str:
    """Return a bundle's identity, intended use, thresholds, metrics and provenance as text."""
    card = bundle.card
    spec = card.input
    stored = f", weights {card.weights.dtype}" if card.weights else ""
    lines = [
        f"{card.name} {card.version}, created {card.created}",
        f"sha256        {bundle.sha256}",
        f"intended use  {card.intended_use}",
        f"input         {spec.channels} x {spec.size} x {spec.size}{stored}",
        operating_text(bundle, draw),
        f"calibration   {card.calibration_words()}",
        "",
        *_metrics_lines(card.metrics, draw),
        "",
        "provenance",
        *_tree(card.provenance, "  "),
    ]
    return "\n".join(lines)


def operating_text(bundle: Bundle, draw: Draw = aligned) -> str:
    """Return the rule of a bundle's thresholds, the thresholds, and their rates as text."""
    record = bundle.card.operating_point
    rule = f"operating     {_sentence(_flat_part(record))}"
    return "\n".join([rule, *_calls_lines(record), "", *draw(_label_rows(bundle))])


def evaluation_text(table: "pd.DataFrame", draw: Draw = aligned) -> str:
    """Return the scores of a metrics table; ECE stands beside AUC, Brier, NLL and noise floor."""
    header = ["label", "n", "positives", "AUC (95 %)", "Brier", "NLL", "ECE", "noise floor"]
    rows = [header]
    for row in table.to_dict("records"):
        ranking = f"{row['auc']:.3f} ({row['auc_low']:.3f} to {row['auc_high']:.3f})"
        scores = [f"{row[name]:.4f}" for name in ("brier", "nll", "ece_mass", "noise_floor")]
        rows.append([row["label"], str(row["n"]), str(row["positives"]), ranking, *scores])
    lines = [*draw(rows)]
    unskilled = [
        str(row["label"])
        for row in table.to_dict("records")
        if row["skill"] == "no skill" and row["label"] != MEAN
    ]
    if unskilled:
        lines += ["", _NO_SKILL.format(labels=", ".join(unskilled))]
    mean = table[table["label"] == MEAN].iloc[0]
    lines += ["", slope_line(mean["slope"], mean["slope_low"], mean["slope_high"])]
    if "nll_before_shift" in table:
        before = " and ".join(f"{mean[f'{name}_before_shift']:.4f}" for name in ("brier", "nll"))
        lines.append(f"Brier and NLL before the shift to another prevalence: {before}")
    return "\n".join(lines)


def slope_line(slope: float, low: float, high: float) -> str:
    """Return the calibration slope of all labels with its interval and what it says."""
    if math.isnan(slope):
        return "calibration slope: none, because the outcomes define none; not calibrated"
    says = "agrees with 1" if agrees(low, high) else "not calibrated on these patients"
    return f"calibration slope of all labels {slope:.2f} ({low:.2f} to {high:.2f}): {says}"


def by_source_text(by_group: "pd.DataFrame", draw: Draw = aligned) -> str:
    """Return the mean AUC of each source as text, from `Evaluation.by_group`; "" without sources.

    The column `labels` is the number of labels in the mean.
    """
    rows = [["source", "films", "patients", "mean AUC (95 %)", "labels"]]
    for row in by_group.to_dict("records"):
        if row["group"] == "source" and row["label"] == MEAN:
            ranking = f"{_number(row['auc'], 3)} {_interval((row['auc_low'], row['auc_high']))}"
            counts = [str(row[name]) for name in ("n", "patients")]
            rows.append([row["value"], *counts, ranking, str(row["labels_in_mean"])])
    return "\n".join(draw(rows)) if len(rows) > 1 else ""


def stability_text(table: "pd.DataFrame", draw: Draw = aligned) -> str:
    """Return the output of `measure_stability` as text."""
    calls = ("calls before", "after", "appear", "vanish", "changed (95 %)", "calls per film")
    rows = [["change", *calls, "change of probability (95 %)", "largest"]]
    for row in table.to_dict("records"):
        counts = [str(row[key]) for key in ("calls", "calls_after", "appeared", "vanished")]
        share = _interval((row["share_low"], row["share_high"]))
        per_film = f"{row['calls_per_film']:.2f} to {row['calls_per_film_after']:.2f}"
        mean = _interval((row["mean_change_low"], row["mean_change_high"]))
        cells = [
            f"{_number(row['share'], 3)} {share}",
            per_film,
            f"{row['mean_change']:.3f} {mean}",
        ]
        rows.append([row["change"], *counts, *cells, f"{row['max_change']:.3f}"])
    return "\n".join(draw(rows))


def localisation_text(found: "Mapping[str, Localisation]", draw: Draw = aligned) -> str:
    """Return the agreement of maps with radiologists' boxes as text."""
    scores = ["pointing (95 %)", "accuracy IoU 0.1", "0.3", "AP@0.3"]
    rows = [["label", "boxes", *scores, "maps"]]
    for label, row in found.items():
        shown = (row.pointing, row.accuracy["iou_10"], row.accuracy["iou_30"], row.ap_30)
        verdict = "better than chance" if row.better_than_chance else "no better than chance"
        first, *others = map(_against, shown)
        bounds = _interval((row.pointing.low, row.pointing.high))
        rows.append([label, str(row.boxes), f"{first} {bounds}", *others, verdict])
    return "\n".join([*draw(rows), "each: maps / chance / mean box of other films"])


def _against(score: "Score") -> str:
    return " / ".join(f"{share:.2f}" for share in (score.value, score.chance, score.mean_box))


def _label_rows(bundle: Bundle) -> Iterator[list[str]]:
    """Yield threshold, curve and, if the card has them, the rates where they were chosen."""
    card = bundle.card
    rates = card.operating_point.get("labels")
    measured = rates if isinstance(rates, Mapping) else {}
    heads = [f"{head} (95 %)" for head in _RATES.values()] if measured else []
    yield ["label", "threshold", *heads, "calibration"]
    for label in card.labels:
        curve = dict(card.calibrators[label])
        method = str(curve.pop("method", ""))
        numbers = [f"{k} {v:.3g}" for k, v in curve.items() if isinstance(v, int | float)]
        shares = [_share(measured.get(label), name) for name in _RATES] if measured else []
        yield [label, f"{card.thresholds[label]:.4f}", *shares, " ".join([method, *numbers])]


def _calls_lines(measured: Mapping[str, Any]) -> Iterator[str]:
    """Yield the false calls of a record of calls; nothing for a record without them."""
    false_calls = measured.get("false_calls")
    if isinstance(false_calls, Mapping):
        name = "per_film_without_findings"
        films = false_calls.get("films_without_findings")
        yield (
            f"false calls   {_share(false_calls, name)} per film without findings "
            f"({films} films, 95 %); a call on "
            f"{_share(false_calls, 'share_of_films_with_a_call')} of them"
        )


def _flat_part(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a record that are no tables and no notes on intervals."""
    return {
        key: value
        for key, value in content.items()
        if not isinstance(value, Mapping) and key != "intervals"
    }


def _share(row: object, name: str) -> str:
    """Return a share with its interval; "-" if the record does not have it."""
    share = row.get(name) if isinstance(row, Mapping) else None
    bounds = row.get(f"{name}_95") if isinstance(row, Mapping) else None
    if not isinstance(share, int | float):
        return "-"
    if not (isinstance(bounds, Sequence) and len(bounds) == 2):
        return f"{share:.3f}"
    low, high = (float(bound) for bound in bounds)
    return f"{share:.3f} ({low:.2f} to {high:.2f})"


def _metrics_lines(metrics: Mapping[str, Any], draw: Draw) -> list[str]:
    if not metrics:
        return ["metrics       none: not measured here; see `cxrd model evaluate`"]
    lines: list[str] = []
    for part, measured in metrics.items():
        try:
            if part == "headline":
                lines += ["", headline_text(measured)]
            elif part == "stability":
                lines += ["", *_stability_lines(measured, draw)]
            elif part == "localisation":
                lines += ["", *_localisation_lines(measured, draw)]
            else:
                lines += ["", *_measured_lines(part, measured, draw)]
        except (KeyError, TypeError, AttributeError):
            # Metrics of another software's card have another layout; show them as they are.
            lines += ["", *_tree({part: measured}, "")]
    return lines[1:]


def headline_text(headline: Mapping[str, Any]) -> str:
    """Return the headline of a card as a sentence. Raises KeyError if it is incomplete."""
    sources = headline["sources"]
    origin = f"from {', '.join(map(str, sources))}" if sources else "of unnamed sources"
    return (
        f"headline      mean AUC {_number(headline['mean_auc'], 3)} "
        f"{_interval(headline['mean_auc_95'])} over {headline['labels_in_mean']} labels: "
        f"{headline['images']} films of {headline['patients']} patients "
        f"({str(headline['part']).replace('_', ' ')}) {origin}"
    )


def _measured_lines(part: str, measured: Mapping[str, Any], draw: Draw) -> list[str]:
    rows = [["label", "positives", "AUC (95 %)", "Brier", *_RATES.values()]]
    for label, row in measured["labels"].items():
        ranking = f"{_number(row['auc'], 3)} {_interval(row['auc_95'])}"
        scores = [_number(row.get(name), 4) for name in ("brier", *_RATES)]
        rows.append([label, str(row["positives"]), ranking, *scores])
    title = (
        f"{part.replace('_', ' ')}: {measured['images']} films of {measured['patients']} "
        f"patients, mean AUC {_number(measured['mean_auc'], 3)} "
        f"{_interval(measured['mean_auc_95'])} over {measured['labels_in_mean']} labels"
    )
    return [title, *_calls_lines(measured), *draw(rows), *_source_lines(measured, draw)]


def _stability_lines(measured: Mapping[str, Any], draw: Draw) -> list[str]:
    rows = [["change to the film", "calls before", "after", "changed (95 %)"]]
    for name, row in measured.items():
        share = f"{_number(row['share'], 3)} {_interval(row.get('share_95'))}"
        rows.append([name, str(row["calls"]), str(row.get("calls_after", "-")), share])
    return [
        "stability: calls that small changes to the films make appear or vanish",
        *draw(rows),
    ]


def _localisation_lines(measured: Mapping[str, Any], draw: Draw) -> list[str]:
    rows = [["maps and radiologists' boxes", "boxes", "pointing (95 %)", "chance", "mean box", ""]]
    for label, row in measured.items():
        pointing = f"{_number(row['pointing'], 2)} {_interval(row.get('pointing_95'))}"
        others = (_number(row.get(f"pointing_{name}"), 2) for name in ("chance", "mean_box"))
        verdict = "better than chance" if row["better_than_chance"] is True else "not validated"
        rows.append([label, str(row["boxes"]), pointing, *others, verdict])
    return [*draw(rows)]


def _source_lines(measured: Mapping[str, Any], draw: Draw) -> list[str]:
    sources: Mapping[str, Any] = measured.get("by_source", {})
    if not sources:
        return ["not told apart by source: the mean may measure the sources, not the findings"]
    rows = [["source", "films", "patients", "mean AUC (95 %)", "labels"]]
    for name, row in sources.items():
        ranking = f"{_number(row['mean_auc'], 3)} {_interval(row['mean_auc_95'])}"
        counts = [str(row[key]) for key in ("images", "patients")]
        rows.append([name, *counts, ranking, str(row["labels_in_mean"])])
    return ["", *draw(rows)]


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
