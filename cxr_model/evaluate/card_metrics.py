"""The metrics on a card: some columns of the metrics table, rounded and as JSON."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from cxr_model.calibrate.call_rates import call_rates
from cxr_model.calibrate.prevalence import before_shift
from cxr_model.data.patients import PatientSet, recorded_sets
from cxr_model.data.predictions import Predictions
from cxr_model.evaluate.bootstrap import RESAMPLES
from cxr_model.evaluate.evaluation import groups, metrics_table, source_name
from cxr_model.evaluate.localisation import Localisation, localisation_card
from cxr_model.evaluate.stability import stability_card
from cxr_model.findings import MEAN
from cxr_model.predict.bundle import Bundle
from cxr_model.predict.card import Card

_DIGITS = 4


def card_metrics(
    calibrated: Predictions, thresholds: Mapping[str, float], *, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Return metrics per label and their mean, with 95 % intervals over resampled patients.

    The rates of the calls at `thresholds` have the intervals of `call_rates`. A metric that the
    films do not define is None; the mean AUC is over the labels with enough films of either kind.
    Films that name their source are measured by source, too.
    """
    table = metrics_table(calibrated, thresholds, resamples=resamples)
    rows: dict[str, Any] = {row["label"]: row for row in table.to_dict("records")}
    mean = rows.pop(MEAN)
    calls = call_rates(calibrated, thresholds)
    labels: dict[str, Any] = {
        label: {
            "positives": int(row["positives"]),
            "auc": _number(row["auc"]),
            "auc_95": _bounds(row),
            "brier": _number(row["brier"]),
            **calls["labels"][label],
        }
        for label, row in rows.items()
    }
    by_source = {
        value: _mean_auc(calibrated.where(films), resamples)
        for group, value, films in groups(calibrated.groups)
        if group == "source"
    }
    return {
        **_summary(mean),
        **({"by_source": by_source} if by_source else {}),
        "interval": f"95 %, percentiles of {resamples} resamples of whole patients",
        "calls_per_film": calls["calls_per_film"],
        "false_calls": calls["false_calls"],
        "intervals_of_calls": calls["intervals"],
        "labels": labels,
    }


def with_metrics(
    bundle: Bundle,
    calibrated: Predictions,
    *,
    part: str,
    excluded: Collection[str] = (),
    stability: pd.DataFrame | None = None,
    localisation: Mapping[str, Localisation] | None = None,
    resamples: int = RESAMPLES,
) -> Bundle:
    """Return the bundle with the metrics of `calibrated`, its own predictions, on the card.

    `part` is ``held_out`` for patients of the training table that were held out, else
    ``evaluated``. `excluded` are sources for training only beside those of the card.
    Brier scores are those before the shift of the curves to another prevalence.
    `stability` is the output of `measure_stability`, `localisation` that of `Localiser`.
    Raises PatientOverlapError if the card records that the bundle was fitted on one of the
    patients.
    """
    card = bundle.card
    refuse_fitted(card, calibrated.patients)
    scored, thresholds = before_shift(
        calibrated, card.thresholds, card.calibration.get("shifts", {})
    )
    sources = sorted({*training_only(card), *excluded})
    measured = {
        "headline": headline(calibrated, sources, part=part, resamples=resamples),
        part: card_metrics(scored, thresholds, resamples=resamples),
        **({} if stability is None else {"stability": stability_card(stability)}),
        **({"localisation": localisation_card(localisation)} if localisation else {}),
    }
    kept = {name: value for name, value in card.metrics.items() if name not in measured}
    provenance = {**card.provenance, **({"training_only": sources} if sources else {})}
    return bundle.with_card(replace(card, metrics={**measured, **kept}, provenance=provenance))


def refuse_fitted(card: Card, patients: Iterable[str]) -> None:
    """Raise PatientOverlapError if the card records that a part was fitted on one of `patients`.

    The parts are the network, its curves and its thresholds.
    """
    names = frozenset(patients)
    for part_of_model, seen in _fitted_on(card):
        seen.refuse(names, part_of_model)


def training_only(card: Card) -> tuple[str, ...]:
    """Return the sources whose films the card allows for training only."""
    named = card.provenance.get("training_only", ())
    return tuple(map(str, named)) if isinstance(named, list | tuple) else ()


def _fitted_on(card: Card) -> Iterator[tuple[str, PatientSet]]:
    """Yield the patients of the network, of the curves and of the thresholds, with these names."""
    fitted = {
        card.name: card.provenance,
        "the calibration": card.provenance.get("recalibrated", {}),
        "the choice of thresholds": card.provenance.get("thresholds", {}),
    }
    for name, origin in fitted.items():
        for patients in recorded_sets(origin):
            yield name, patients


def headline(
    calibrated: Predictions,
    training_only: Collection[str] = (),
    *,
    part: str = "held_out",
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Return the figure that a card is judged by, and the sources that it was measured on.

    It is the mean AUC over the films of all sources but `training_only`, with its 95 % interval
    over patients; `part` names the films in the card. It is empty if no film is left.
    """
    films = calibrated.without_sources(training_only)
    if not len(films):
        return {}
    sources = [] if films.sources is None else sorted({source_name(s) for s in films.sources})
    return {**_mean_auc(films, resamples), "sources": sources, "part": part}


def _mean_auc(films: Predictions, resamples: int) -> dict[str, Any]:
    table = metrics_table(films, {}, resamples=resamples)
    rows: dict[str, Any] = {row["label"]: row for row in table.to_dict("records")}
    return _summary(rows[MEAN])


def _summary(mean: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "images": int(mean["n"]),
        "patients": int(mean["patients"]),
        "labels_in_mean": int(mean["labels_in_mean"]),
        "mean_auc": _number(mean["auc"]),
        "mean_auc_95": _bounds(mean) if math.isfinite(mean["auc"]) else None,
    }


def _bounds(row: Mapping[str, Any]) -> list[float | None]:
    return [_number(row["auc_low"]), _number(row["auc_high"])]


def _number(value: float) -> float | None:
    return round(value, _DIGITS) if math.isfinite(value) else None
