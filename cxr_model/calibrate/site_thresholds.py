"""New thresholds for a bundle, chosen on labelled films of a site."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from cxr_model.calibrate.goal import FEW_FILMS_WITHOUT_FINDINGS, Aim, Goal
from cxr_model.calibrate.likelihood_ratio import without_findings
from cxr_model.calibrate.operating_point import (
    need_every_label,
    operating_point,
    positives,
    refuse_training_patients,
)
from cxr_model.data.patients import PatientSet
from cxr_model.data.predictions import Predictions
from cxr_model.errors import CalibrationError
from cxr_model.findings import LABELS
from cxr_model.predict.bundle import Bundle
from cxr_model.predict.card import timestamp
from cxr_model.predict.curves import calibrated_probabilities, calibrators_from_card, logit

# Keys of metrics that depend on the thresholds.
_RATES = frozenset({"sensitivity", "specificity", "ppv"})
_CALLS = frozenset({"false_calls", "calls_per_film", "intervals_of_calls"})


def rethreshold_bundle(bundle: Bundle, films: Predictions, *, goal: Goal, now: datetime) -> Bundle:
    """Return the bundle with thresholds that reach `goal` on labelled films of a site.

    `films` have the network's own probabilities; the curves of the bundle are applied here. Its
    metrics stay, without the rates and the stability of the former thresholds.

    Raises PatientOverlapError if the network was trained on one of the patients, DataError if the
    probabilities are calibrated already, CalibrationError if a label is missing or the films cannot
    show the goal.
    """
    need_every_label(films)
    films.need_network_probabilities()
    refuse_training_patients(bundle, films)
    _need_both_kinds(films, goal)
    curves = calibrators_from_card(bundle.card.calibrators)
    calibrated = films.with_probabilities(
        calibrated_probabilities(curves, LABELS, logit(films.probabilities)), calibrated=True
    )
    chosen_on = "labelled films of the site"
    chosen = operating_point(calibrated, goal, chosen_on)
    if chosen.record["calls_per_film"] == 0:
        raise CalibrationError(
            "no threshold reaches this goal and calls a finding: the network does not separate "
            "these films, or the goal is too strict for their number"
        )
    scale = bundle.card.operating_point.get("map_scale_quantile")
    card = replace(
        bundle.card,
        created=timestamp(now),
        thresholds=chosen.thresholds,
        operating_point={
            **chosen.record,
            **({} if scale is None else {"map_scale_quantile": scale}),
        },
        provenance={
            **bundle.card.provenance,
            "thresholds": {
                "from_sha256": bundle.sha256,
                "films": len(films),
                "patients": chosen.record["patients"],
                "fitted_on": [_patients(bundle, films)],
                "positives": positives(films),
            },
        },
        metrics={
            part: _without_rates(value)
            for part, value in bundle.card.metrics.items()
            if part != "stability"
        },
    )
    return bundle.with_card(card)


def _patients(bundle: Bundle, films: Predictions) -> dict[str, Any]:
    # The salt depends on the bundle, so that the same choice gives the same card.
    return PatientSet.of(films.patients, bytes.fromhex(bundle.sha256)[:16]).to_json()


def _need_both_kinds(films: Predictions, goal: Goal) -> None:
    count = int(without_findings(films.targets).sum())
    if count == len(films):
        raise CalibrationError("no film has a finding, so no sensitivity can be measured")
    if goal.aim is Aim.MAX_FALSE_CALLS and count < FEW_FILMS_WITHOUT_FINDINGS:
        raise CalibrationError(
            f"a budget of false calls needs {FEW_FILMS_WITHOUT_FINDINGS} films without findings, "
            f"these are {count}: add such films, or choose --specificity"
        )


def _without_rates(part: Any) -> Any:
    """Return the metrics of a part of the films without those that depend on thresholds."""
    if not isinstance(part, Mapping):
        return part
    return dict(_kept(part))


def _kept(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        name = key.removesuffix("_95")
        if name in _RATES:
            yield key, None
        elif name not in _CALLS:
            yield key, _without_rates(value)
