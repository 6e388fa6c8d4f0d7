"""The operating point of a bundle is one sentence that a radiologist understands."""

from typing import Any

import pytest

from cxr_model.predict.bundle import STARTER, Bundle
from daemon.analyse.operating_point import (
    false_calls_sentence,
    operating_point_sentence,
    threshold_rule,
)

PRESENT = "A finding is called present when its probability reaches its threshold"


def test_the_starter_says_how_its_thresholds_were_chosen() -> None:
    assert operating_point_sentence(Bundle.load(STARTER).card.operating_point) == (
        f"{PRESENT}; the thresholds are those of one likelihood ratio, 1.6, for at most 0.5 false "
        "calls per film without findings, measured on validation patients."
    )


def test_a_specificity_is_told_as_films_below_the_threshold() -> None:
    record = {"specificity": 0.85, "chosen_on": "validation patients"}
    assert operating_point_sentence(record) == (
        f"{PRESENT}; each threshold is the lowest that keeps, measured on validation patients, "
        "at least 85 of 100 films without the finding below it (specificity 0.85)."
    )


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"specificity": 0.9125, "chosen_on": "X"}, "on X, at least 91.25 of 100 films"),
        ({"specificity": 0.5}, "that keeps at least 50 of 100 films"),
        ({"rule": "0.5 each", "description": "not chosen on data"}, "are 0.5 each; not chosen"),
        ({"description": "one half."}, f"{PRESENT}; the thresholds are one half."),
        ({"specificity": "high"}, "the thresholds are high."),
        ({"false_calls_per_film": 0.5}, "the thresholds are false calls per film 0.5."),
        ({"likelihood_ratio": 3.0}, "the thresholds are likelihood ratio 3.0."),
        ({"rule": "R", "labels": {"Mass": {"ppv": 0.1}}}, "the thresholds are R."),
    ],
)
def test_other_records_are_told_in_their_words(record: dict[str, Any], said: str) -> None:
    sentence = operating_point_sentence(record)
    assert said in sentence
    assert sentence.startswith(PRESENT)
    assert ". " not in sentence


@pytest.mark.parametrize(
    ("goal", "said"),
    [
        ({"max_false_calls": 0.5}, "at most 0.5 false calls per film without findings"),
        ({"ppv": 0.3}, "a PPV of at least 0.3 over all findings together"),
        ({"sensitivity": 0.8}, "a sensitivity of at least 0.8 over all findings together"),
    ],
)
def test_a_common_ratio_is_told_with_its_goal(goal: dict[str, float], said: str) -> None:
    record = {
        "rule": "words for the card",
        **goal,
        "likelihood_ratio": 3.217,
        "chosen_on": "validation patients",
        "films": 196,
        "labels": {"Mass": {"ppv": 0.1}},
        "false_calls": {"per_film_without_findings": 0.49},
    }
    rule = f"those of one likelihood ratio, 3.22, for {said}, measured on validation patients"
    assert operating_point_sentence(record) == f"{PRESENT}; the thresholds are {rule}."
    assert threshold_rule(record) == rule
    assert len(rule) < 140


def test_the_rule_alone_fits_one_line_of_the_summary_sheet() -> None:
    rule = threshold_rule(Bundle.load(STARTER).card.operating_point)
    assert rule.startswith("those of one likelihood ratio")
    assert len(rule) < 130


def test_false_calls_are_told_with_their_interval() -> None:
    measured = {
        "films_without_findings": 33,
        "per_film_without_findings": 0.4848,
        "per_film_without_findings_95": [0.121, 0.9394],
    }
    assert false_calls_sentence({"false_calls": measured}) == (
        "There, 33 films without findings had 0.48 false calls each on average "
        "(95 % interval 0.12 to 0.94)."
    )
    unknown = {"false_calls": {**measured, "per_film_without_findings": None}}
    for record in ({}, {"false_calls": 3}, unknown):
        assert false_calls_sentence(record) == ""


def test_a_card_without_a_rule_has_no_sentence() -> None:
    assert operating_point_sentence({"map_scale_quantile": 0.99}) == ""
