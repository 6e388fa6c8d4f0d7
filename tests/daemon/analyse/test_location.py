"""Sentences on the place that a map shows."""

from typing import Any

import pytest

from daemon.analyse.location import is_validated, location_sentence

GOOD = {"boxes": 20, "pointing": 0.45, "pointing_chance": 0.104, "better_than_chance": True}
POOR = {"boxes": 10, "pointing": 0.0, "pointing_chance": 0.098, "better_than_chance": False}


@pytest.mark.parametrize(
    ("measured", "sentence"),
    [
        (GOOD, "location: 45% of maps point into a radiologist's box (chance 10%, 20 boxes)"),
        (POOR, "location not validated: on 10 boxes the map was no better than chance"),
        (POOR | {"boxes": 1}, "location not validated: on 1 box the map was no better than chance"),
        ({"boxes": 0}, "location not validated: never compared with radiologists' boxes"),
        (None, "location not validated: never compared with radiologists' boxes"),
        ("yes", "location not validated: never compared with radiologists' boxes"),
        ({"boxes": 9, "better_than_chance": True}, "location better than chance on 9 boxes"),
        ({**GOOD, "better_than_chance": "true"}, "location not validated: on 20 boxes the map"),
    ],
)
def test_a_sentence_says_how_the_map_was_measured(measured: Any, sentence: str) -> None:
    metrics = {"localisation": {"Mass": measured}}
    assert location_sentence(metrics, "Mass").startswith(sentence)
    assert is_validated(metrics, "Mass") is (measured is GOOD or "better" in sentence[:16])


@pytest.mark.parametrize("metrics", [{}, {"localisation": None}, {"localisation": []}])
def test_a_card_without_the_comparison_validates_nothing(metrics: dict[str, Any]) -> None:
    assert not is_validated(metrics, "Mass")
    assert "never compared" in location_sentence(metrics, "Mass")
