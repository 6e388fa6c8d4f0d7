"""Rates of calls and their intervals over films of patients."""

import numpy as np
import pandas as pd
import pytest

from cxr_model.calibrate.call_rates import call_rates, rate
from cxr_model.data.predictions import Predictions


def test_films_of_different_patients_have_the_exact_interval() -> None:
    hits = np.arange(20) < 5
    found = rate(hits, np.arange(20))
    assert found.value == 0.25
    # Clopper and Pearson for 5 of 20.
    assert (found.low, found.high) == pytest.approx((0.0866, 0.4910), abs=1e-4)


def test_films_of_one_patient_count_once() -> None:
    patients = np.repeat(np.arange(20), 10)
    apart = rate(np.arange(20) < 5, np.arange(20))
    repeated = rate(np.repeat(np.arange(20) < 5, 10), patients)
    assert (repeated.low, repeated.high) == pytest.approx((apart.low, apart.high), abs=0.02)
    all_found = rate(np.ones(30, dtype=bool), np.repeat(np.arange(3), 10))
    assert (all_found.low, all_found.high) == pytest.approx((0.2924, 1.0), abs=1e-4)


def test_the_interval_holds_the_true_rate_in_95_of_100_samples() -> None:
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(40), 3)
    held = 0
    for _ in range(200):
        chances = rng.beta(1.5, 6.0, 40)
        found = rate(rng.random(120) < np.repeat(chances, 3), patients)
        held += found.low <= 0.2 <= found.high
    assert held >= 186


def test_calls_are_counted_per_label_and_on_films_without_findings() -> None:
    labels = ("Mass", "Hernia")
    probabilities = np.array([[0.9, 0.2], [0.1, 0.2], [0.6, 0.5], [0.1, 0.0]])
    targets = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    names = np.array(list("abcd"), dtype=object)
    films = Predictions(labels, names, names, probabilities, targets, pd.DataFrame())
    measured = call_rates(films, {"Mass": 0.6, "Hernia": 0.5})
    mass, hernia = measured["labels"]["Mass"], measured["labels"]["Hernia"]
    assert (mass["sensitivity"], mass["specificity"], mass["ppv"]) == (0.5, 0.5, 0.5)
    assert mass["ppv_95"] == [0.0126, 0.9874]
    assert (hernia["sensitivity"], hernia["sensitivity_95"]) == (None, None)
    assert (hernia["specificity"], hernia["ppv"], hernia["ppv_95"][0]) == (0.75, 0.0, 0.0)
    false_calls = measured["false_calls"]
    assert false_calls["films_without_findings"] == 2
    assert false_calls["per_film_without_findings"] == 1.0
    assert false_calls["per_film_without_findings_95"] == [0.0, 2.0]
    assert false_calls["share_of_films_with_a_call"] == 0.5
    assert measured["calls_per_film"] == 0.75


def test_no_false_call_on_few_films_leaves_room_for_some() -> None:
    names = np.array([str(i) for i in range(20)], dtype=object)
    none = np.zeros((20, 1))
    films = Predictions(("Mass",), names, names, none, none, pd.DataFrame(index=range(20)))
    false_calls = call_rates(films, {"Mass": 0.5})["false_calls"]
    assert false_calls["per_film_without_findings"] == 0.0
    assert false_calls["per_film_without_findings_95"] == [0.0, 0.1684]


def test_without_such_films_no_false_calls_are_claimed() -> None:
    names = np.array(["a"], dtype=object)
    one = np.ones((1, 1))
    measured = call_rates(
        Predictions(("Mass",), names, names, one, one, pd.DataFrame()), {"Mass": 0.5}
    )
    assert measured["false_calls"]["per_film_without_findings"] is None
    assert measured["labels"]["Mass"]["specificity"] is None
