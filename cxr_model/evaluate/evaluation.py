"""Evaluates a table of predictions: metrics.csv, the same by group of images, diagrams."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_model.calibrate.calibration import Calibration
from cxr_model.calibrate.prevalence import before_shift
from cxr_model.data.predictions import Predictions
from cxr_model.evaluate import metrics
from cxr_model.evaluate.bootstrap import RESAMPLES, Resampling, bootstrap, interval
from cxr_model.evaluate.unseen import slope_of
from cxr_model.findings import MEAN
from cxr_model.predict.curves import Floats

#: First columns of a metrics table; more follow.
COLUMNS = ("label", "n", "positives", "auc", "brier", "nll", "ece_mass", "ece_width")

#: Films with and without a finding that its AUC needs to count in the mean over the labels.
ENOUGH = 3

#: Group of images whose view, sex, age or source is missing or not one of the known values.
UNKNOWN = "unknown"

#: Group of images whose source has fewer images than the sources that are named.
OTHER = "other sources"

# Of these columns only known words are written to a table, whatever the cells contain.
_VALUES = {"view": ("PA", "AP"), "sex": ("F", "M")}
_AGES = ((0, 18), (18, 40), (40, 60), (60, 80), (80, 120))

# Groups are many and small, so fewer resamples suffice for their intervals.
_GROUP_RESAMPLES = 200
# Sources are named by the author of a table: as many and as long as fit a screen.
_NAMED_SOURCES = 30
_LONGEST_NAME = 80

_WITH_INTERVAL = ("auc", "average_precision", "brier", "nll", "ece_mass")

_Metric = Callable[[Floats, Floats], float]
_METRICS: Mapping[str, _Metric] = {
    "auc": metrics.auc,
    "brier": metrics.brier,
    "nll": metrics.nll,
    "ece_mass": metrics.ece_mass,
    "ece_width": metrics.ece_width,
    "ece_debiased": metrics.ece_debiased,
    "average_precision": metrics.average_precision,
    "brier_skill": metrics.brier_skill,
}


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Scores of `predictions`: `table` has a row per label and a row `mean`.

    `by_group` has the same rows for each group of images (by view, sex, age and source); it is
    empty without group columns.
    """

    predictions: Predictions
    table: pd.DataFrame
    by_group: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Written:
    """Files of an evaluation."""

    metrics: Path
    by_group: Path | None
    reliability: Path
    roc: Path


def evaluate(
    predictions: Predictions,
    *,
    calibration: Calibration | None = None,
    thresholds: Mapping[str, float] | None = None,
    shifts: Mapping[str, float] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Evaluation:
    """Score predictions, after applying `calibration` if it is given.

    `thresholds`, per label and on the scored scale, add sensitivity and specificity. `shifts`, by
    which the curves of the probabilities were moved to another prevalence (else those of
    `calibration`), add the scores before the shift. Intervals are 95 % over resampled patients.
    Raises PatientOverlapError if the calibration was fitted on one of the patients.
    """
    scored = predictions if calibration is None else calibration.apply(predictions)
    limits = thresholds or {}
    table = metrics_table(scored, limits, resamples=resamples, seed=seed)
    if calibration is not None:
        table = table.join(_scores_of(predictions, "uncalibrated"), on="label")
        shifts = calibration.shifts
    if shifts:
        unshifted, _ = before_shift(scored, {}, shifts)
        table = table.join(_scores_of(unshifted, "before_shift"), on="label")
    parts = []
    fewer = min(resamples, _GROUP_RESAMPLES)
    for group, value, rows in groups(scored.groups):
        draws = resamples if group == "source" else fewer
        part = metrics_table(scored.where(rows), limits, resamples=draws, seed=seed)
        part.insert(0, "group", group)
        part.insert(1, "value", value)
        parts.append(part)
    by_group = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return Evaluation(scored, table, by_group)


def write(evaluation: Evaluation, out: Path, text: Callable[[str], str] = str) -> Written:
    """Write `out` (CSV) and, beside it with the same stem, groups, reliability and ROC.

    `text` converts the names of sources, e.g. for spreadsheet safety.
    """
    from cxr_model.evaluate.plots import reliability_diagrams, roc_curves

    out.parent.mkdir(parents=True, exist_ok=True)
    evaluation.table.to_csv(out, index=False, float_format="%.6f")
    by_group = None
    if not evaluation.by_group.empty:
        by_group = out.with_name(f"{out.stem}_by_group.csv")
        named = evaluation.by_group.assign(value=evaluation.by_group["value"].map(text))
        named.to_csv(by_group, index=False, float_format="%.6f")
    reliability = out.with_name(f"{out.stem}_reliability.png")
    roc = out.with_name(f"{out.stem}_roc.png")
    reliability_diagrams(evaluation.predictions, evaluation.table, reliability)
    roc_curves(evaluation.predictions, evaluation.table, roc)
    return Written(out, by_group, reliability, roc)


def metrics_table(
    predictions: Predictions,
    thresholds: Mapping[str, float],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Return a row of metrics with intervals per label, and the row `mean`.

    The mean AUC is over the `labels_in_mean` labels that at least `ENOUGH` films have and as many
    have not: the AUC of a single film is 0 or 1 by chance.
    The row `mean` also has the calibration slope of all labels together.
    """
    resampling = Resampling.of(predictions.patients, resamples=resamples, seed=seed)
    rows, drawn = [], []
    for label, p, y in _columns(predictions):
        threshold = thresholds.get(label)
        drawn.append(bootstrap(p, y, resampling, threshold=threshold))
        rows.append({"label": label, **_scores(p, y, threshold), **_bounds(drawn[-1])})
    mean = _mean_row(rows, drawn, len(predictions))
    slope = slope_of(predictions, resamples=resamples, seed=seed)
    mean |= {"slope": slope.value, "slope_low": slope.low, "slope_high": slope.high}
    table = pd.DataFrame([*rows, mean])
    table["patients"] = resampling.counts.shape[1]
    table["labels_in_mean"] = table["labels_in_mean"].astype("Int64")
    return table[[*COLUMNS, *(name for name in table.columns if name not in COLUMNS)]]


def _scores(p: Floats, y: Floats, threshold: float | None) -> dict[str, Any]:
    row: dict[str, Any] = {"n": len(y), "positives": int(y.sum())}
    row |= {name: function(p, y) for name, function in _METRICS.items()}
    row |= {"noise_floor": metrics.noise_floor(p), "ece_bins": metrics.BINS}
    row["skill"] = "no skill" if metrics.no_skill(p, y) else "skill"
    if threshold is not None:
        row["threshold"] = threshold
        row["sensitivity"] = metrics.sensitivity(p, y, threshold)
        row["specificity"] = metrics.specificity(p, y, threshold)
    return row


def _bounds(drawn: Mapping[str, Floats]) -> dict[str, float]:
    names = [*_WITH_INTERVAL, *(n for n in ("sensitivity", "specificity") if n in drawn)]
    bounds = {}
    for name in names:
        limits = interval(drawn[name])
        bounds[f"{name}_low"], bounds[f"{name}_high"] = limits.low, limits.high
    return bounds


def _mean_row(rows: list[dict[str, Any]], drawn: list[dict[str, Floats]], n: int) -> dict[str, Any]:
    """Return means over the labels with a defined metric; resamples are averaged draw by draw.

    The AUC is averaged over the labels with `ENOUGH` films of either kind.
    """
    frame = pd.DataFrame(rows)
    enough = np.minimum(frame["positives"], frame["n"] - frame["positives"]) >= ENOUGH
    names = [
        *_METRICS,
        "noise_floor",
        *(name for name in ("sensitivity", "specificity") if name in frame),
    ]
    row: dict[str, Any] = {"label": MEAN, "n": n, "positives": int(frame["positives"].sum())}
    row |= {name: float(frame[name].mean()) for name in names}
    row |= {"auc": float(frame["auc"][enough].mean()), "labels_in_mean": int(enough.sum())}
    shared = set.intersection(*(set(values) for values in drawn))
    averaged = {
        name: pd.DataFrame([values[name] for values in drawn]).mean().to_numpy() for name in shared
    }
    counted = [values["auc"] for values, counts in zip(drawn, enough, strict=True) if counts]
    averaged["auc"] = pd.DataFrame(counted).mean().to_numpy()
    skilled = bool((frame["skill"] == "skill").any())
    row |= {"ece_bins": metrics.BINS, "skill": "skill" if skilled else "no skill"}
    return row | _bounds(averaged)


def _scores_of(predictions: Predictions, state: str) -> pd.DataFrame:
    names = ("brier", "nll", "ece_mass")
    rows = {
        label: {f"{name}_{state}": _METRICS[name](p, y) for name in names}
        for label, p, y in _columns(predictions)
    }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.loc[MEAN] = frame.mean()
    return frame


def _columns(
    predictions: Predictions,
) -> Iterator[tuple[str, Floats, Floats]]:
    """Yield each label with its probabilities and outcomes, both (n,)."""
    for i, label in enumerate(predictions.labels):
        yield label, predictions.probabilities[:, i], predictions.targets[:, i]


def groups(table: pd.DataFrame) -> Iterator[tuple[str, str, npt.NDArray[np.bool_]]]:
    """Yield column, group and rows (n,) of each group that has rows.

    `table` may have the columns ``view``, ``sex``, ``age`` (years) and ``source``; all unusual
    values form the group ``unknown``. Of many sources the smallest form one group.
    """
    for column, values in _VALUES.items():
        if column in table:
            cells = table[column].astype(str).str.strip().str.upper()
            yield from _present(column, cells.where(cells.isin(values), UNKNOWN))
    if "age" in table:
        yield from _present("age", _age_groups(table["age"]))
    if "source" in table:
        yield from _present("source", _named_sources(table["source"]))


def _age_groups(ages: pd.Series) -> pd.Series:
    years = pd.to_numeric(ages, errors="coerce")
    named = pd.Series(UNKNOWN, index=ages.index)
    for low, high in _AGES:
        named[(years >= low) & (years < high)] = f"{low} to {high - 1}"
    return named


def _named_sources(sources: pd.Series) -> pd.Series:
    cells = sources.fillna("").astype(str).map(source_name)
    named = {name for name, _ in Counter(cells).most_common(_NAMED_SOURCES)}
    return cells.where(cells.isin(named), OTHER)


def source_name(text: str) -> str:
    """Return a source's name as tables and cards show it: printable, short, never empty."""
    shown = "".join(sign if sign.isprintable() else "?" for sign in text.strip())
    return shown[:_LONGEST_NAME] or UNKNOWN


def _present(group: str, cells: pd.Series) -> Iterator[tuple[str, str, npt.NDArray[np.bool_]]]:
    for value in sorted(cells.unique(), key=_order):
        yield group, str(value), (cells == value).to_numpy()


def _order(value: str) -> tuple[bool, int, str]:
    first = value.split()[0]
    return value == UNKNOWN, int(first) if first.isdecimal() else 0, value
