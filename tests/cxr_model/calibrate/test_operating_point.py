"""Thresholds of one likelihood ratio and of a specificity, and the scales of heatmaps."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from cxr_model.calibrate.goal import Aim, Goal
from cxr_model.calibrate.likelihood_ratio import common_ratio, prior_probabilities
from cxr_model.calibrate.operating_point import (
    map_scales,
    mean_film,
    operating_point,
    thresholds_at_specificity,
)
from cxr_model.data.predictions import Predictions
from cxr_model.errors import CalibrationError
from cxr_model.findings import LABELS
from cxr_model.predict.curves import Floats, logit, sigmoid

PREVALENCES = np.geomspace(0.004, 0.2, 14)


def drawn(n: int = 400, seed: int = 0) -> tuple[Floats, Floats]:
    """Return calibrated probabilities and outcomes (n, 14) of findings from rare to frequent."""
    rng = np.random.default_rng(seed)
    probabilities = sigmoid(logit(PREVALENCES) + rng.normal(0, 1.5, (n, 14)))
    return probabilities, (rng.random((n, 14)) < probabilities).astype(np.float64)


def table(probabilities: Floats, targets: Floats, films_each: int = 2) -> Predictions:
    n = len(targets)
    names = np.asarray([f"{i}.png" for i in range(n)], dtype=object)
    patients = np.asarray([str(i // films_each) for i in range(n)], dtype=object)
    return Predictions(LABELS, names, patients, probabilities, targets, pd.DataFrame())


def false_calls(probabilities: Floats, targets: Floats, thresholds: dict[str, float]) -> float:
    called = probabilities >= np.asarray([thresholds[label] for label in LABELS])
    return float(called[targets.sum(axis=1) == 0].sum(axis=1).mean())


@pytest.mark.parametrize("budget", [0.1, 0.5, 2.0])
def test_the_ratio_is_the_smallest_that_keeps_the_budget(budget: float) -> None:
    probabilities, targets = drawn()
    priors = prior_probabilities(probabilities)
    found = common_ratio(probabilities, targets, priors, Goal(Aim.MAX_FALSE_CALLS, budget))
    thresholds = dict(found.thresholds)
    assert false_calls(probabilities, targets, thresholds) <= budget
    films = int((targets.sum(axis=1) == 0).sum())
    ratios = np.exp(logit(probabilities) - logit(priors))[targets.sum(axis=1) == 0]
    lower = float(ratios[ratios < found.ratio].max())
    with_one_more = {
        label: float(sigmoid(logit(prior) + math.log(lower) - 1e-9))
        for label, prior in zip(LABELS, priors, strict=True)
    }
    assert false_calls(probabilities, targets, with_one_more) > budget
    assert false_calls(probabilities, targets, thresholds) > budget - 14 / films


def test_all_thresholds_stand_at_one_ratio_to_the_prior_odds() -> None:
    probabilities, targets = drawn()
    recorded = dict(zip(LABELS, PREVALENCES.tolist(), strict=True))
    point = operating_point(table(probabilities, targets), Goal(), "X", recorded)
    odds = {label: t / (1 - t) for label, t in point.thresholds.items()}
    ratios = [odds[label] * (1 - p) / p for label, p in recorded.items()]
    assert ratios == pytest.approx([point.record["likelihood_ratio"]] * 14)
    assert point.record["prior_odds"] == "prevalence of the calibration"


def test_a_label_without_positives_keeps_a_threshold_near_its_probabilities() -> None:
    probabilities, targets = drawn()
    with_hernias = operating_point(table(probabilities, targets), Goal(), "X").thresholds
    targets[:, 0] = 0
    without = operating_point(table(probabilities, targets), Goal(), "X").thresholds
    first = LABELS[0]
    assert without[first] == pytest.approx(with_hernias[first], rel=0.5)
    assert probabilities[:, 0].mean() < without[first] < 0.5


def test_a_label_whose_probabilities_are_all_too_high_does_not_use_up_the_budget() -> None:
    probabilities, targets = drawn()
    probabilities[:, 6] = sigmoid(logit(probabilities[:, 6]) + 2.0)
    point = operating_point(table(probabilities, targets), Goal(), "X")
    false_positives = [1 - row["specificity"] for row in point.record["labels"].values()]
    assert false_positives[6] < 0.25 * sum(false_positives)
    assert sum(share > 0 for share in false_positives) == len(LABELS)


def test_a_ppv_is_that_of_all_labels_together() -> None:
    probabilities, targets = drawn(1000)
    point = operating_point(table(probabilities, targets), Goal(Aim.PPV, 0.4), "X")
    called = probabilities >= np.asarray([point.thresholds[label] for label in LABELS])
    assert 0.4 <= targets[called].mean() < 0.42
    assert "over all labels together" in point.record["rule"]


def test_a_sensitivity_is_that_of_all_labels_together() -> None:
    probabilities, targets = drawn(1000)
    point = operating_point(table(probabilities, targets), Goal(Aim.SENSITIVITY, 0.7), "X")
    called = probabilities >= np.asarray([point.thresholds[label] for label in LABELS])
    assert 0.7 <= called[targets > 0].mean() < 0.71


@pytest.mark.parametrize(
    ("goal", "change", "message"),
    [
        (Goal(), lambda y: np.maximum(y, 1), "no film is without findings"),
        (Goal(Aim.PPV, 0.5), lambda y: 0 * y, "no film has a finding"),
        (Goal(Aim.SENSITIVITY, 0.5), lambda y: 0 * y, "no film has a finding"),
        (Goal(Aim.PPV, 0.99), lambda y: y, "has a PPV of 0.99 on these films; the highest is 0"),
    ],
)
def test_films_that_cannot_show_the_goal_are_refused(
    goal: Goal, change: Callable[[Floats], Floats], message: str
) -> None:
    probabilities, targets = drawn()
    with pytest.raises(CalibrationError, match=message):
        operating_point(table(probabilities, change(targets)), goal, "X")


def test_equal_ratios_are_called_together_or_not_at_all() -> None:
    targets = np.zeros((40, 14))
    targets[0] = 1
    priors = np.full(14, 0.1)
    found = common_ratio(np.full((40, 14), 0.3), targets, priors, Goal())
    assert min(found.thresholds.values()) > 0.3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_false_calls": 0.0}, "max false calls must lie between 0 and 14, not 0"),
        ({"ppv": 1.0}, "ppv must lie between 0 and 1"),
        ({"sensitivity": math.nan}, "sensitivity must lie between"),
        ({"ppv": 0.5, "specificity": 0.9}, "not ppv and specificity: give one"),
    ],
)
def test_a_goal_that_no_rate_can_reach(values: dict[str, float], message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        Goal.of(**values)


def test_the_default_goal_is_a_budget_of_false_calls() -> None:
    assert Goal.of() == Goal(Aim.MAX_FALSE_CALLS, 0.5)
    assert Goal.of(specificity=0.9) == Goal(Aim.SPECIFICITY, 0.9)


def test_the_threshold_is_the_lowest_of_its_specificity() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random((200, 14))
    targets = (rng.random((200, 14)) < 0.3).astype(np.float64)
    thresholds = thresholds_at_specificity(probabilities, targets, 0.95)
    for i, label in enumerate(LABELS):
        negatives = np.sort(probabilities[targets[:, i] == 0, i])
        assert (negatives < thresholds[label]).mean() >= 0.95
        next_lower = negatives[negatives < thresholds[label]][-1]
        assert (negatives < next_lower).mean() < 0.95


def test_equal_negatives_stay_absent() -> None:
    thresholds = thresholds_at_specificity(np.full((9, 14), 0.2), np.zeros((9, 14)), 0.9)
    assert set(thresholds.values()) == {0.6}


def test_a_label_without_negatives_gets_one_half() -> None:
    thresholds = thresholds_at_specificity(np.full((9, 14), 0.9), np.ones((9, 14)), 0.9)
    assert set(thresholds.values()) == {0.5}


def test_map_scales_follow_the_rising_cells_only() -> None:
    maps = np.full((4, 14, 5, 5), -3.0, np.float32)
    maps[:, 1] = np.linspace(-1, 2, 100, dtype=np.float32).reshape(4, 5, 5)
    scales = map_scales(maps)
    assert scales["Cardiomegaly"] == pytest.approx(1.97, abs=0.01)
    assert 0 < scales["Mass"] < 0.1


def test_the_mean_film_is_symmetrical() -> None:
    maps = np.zeros((2, 14, 1, 3), np.float32)
    maps[:, 0] = [[[1, 2, 9]], [[3, 4, 1]]]
    np.testing.assert_allclose(mean_film(maps)[0], [[3.5, 3, 3.5]])
