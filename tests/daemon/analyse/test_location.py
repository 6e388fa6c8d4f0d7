"""Sentences on the place that a map shows, and maps that are withheld because of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cxr_model.engine.choice import open_predictor
from cxr_model.findings import LABELS
from cxr_model.predict.bundle import Bundle
from daemon.analyse.location import is_validated, location_sentence
from daemon.analyse.pipeline import Analysis, Pipeline
from daemon.config.sections.work import HeatmapRule
from dicom_io.report.document import build_report
from dicom_io.report.text import report_text
from storage.records import ObjectKind
from tests.builders.images.films import chest_film, chest_values, file_bytes
from tests.builders.made_checks import FixedCheck, ReadsHere
from tests.builders.objects import (
    ALGORITHM,
    NOW,
    full_header,
    report_content,
    two_image_content,
)

KINDS = frozenset(
    {ObjectKind.HEATMAP, ObjectKind.SEGMENTATION, ObjectKind.PRESENTATION_STATE, ObjectKind.SUMMARY}
)

GOOD = {"boxes": 20, "pointing": 0.45, "pointing_chance": 0.104, "better_than_chance": True}
POOR = {"boxes": 10, "pointing": 0.0, "pointing_chance": 0.098, "better_than_chance": False}


@pytest.mark.parametrize(
    ("measured", "sentence"),
    [
        (GOOD, "location: 45% of maps point into a radiologist's box (chance 10%, 20 boxes)"),
        (POOR, "location not validated: not shown to be better than chance on 10 boxes"),
        (
            POOR | {"boxes": 1},
            "location not validated: not shown to be better than chance on 1 box",
        ),
        ({"boxes": 0}, "location not validated: never compared with radiologists' boxes"),
        (None, "location not validated: never compared with radiologists' boxes"),
        ("yes", "location not validated: never compared with radiologists' boxes"),
        ({"boxes": 9, "better_than_chance": True}, "location better than chance on 9 boxes"),
        ({**GOOD, "better_than_chance": "true"}, "location not validated: not shown to be better"),
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


def analysis(bundle: Bundle, rule: HeatmapRule) -> Analysis:
    predictor = open_predictor(bundle, device="cpu", threads=1)
    pipeline = Pipeline(predictor, ReadsHere(FixedCheck(), bundle.card.input), rule)
    film = file_bytes(chest_film(chest_values(180, 150)))
    outcome = pipeline.analyse(film, "north", NOW, kinds=KINDS)
    assert isinstance(outcome, Analysis)
    return outcome


@pytest.mark.slow
def test_only_validated_maps_are_shown(bundle: Path) -> None:
    plain = Bundle.load(bundle)
    everything = analysis(plain, HeatmapRule.ALWAYS)
    present = {finding.label for finding in everything.prediction.present}
    assert len(present) > 2
    validated = sorted(present & set(everything.regions))[0]
    localisation = {validated: {"boxes": 9, "better_than_chance": True}}
    card = replace(plain.card, metrics={"localisation": localisation})
    measured = plain.with_card(card)
    some = analysis(measured, HeatmapRule.VALIDATED)
    labels = {built.label for built in some.objects if built.kind is ObjectKind.HEATMAP}
    assert labels == {validated} == set(some.regions) == set(some.heats)
    kinds = [built.kind for built in some.objects]
    assert {ObjectKind.SUMMARY, ObjectKind.SEGMENTATION, ObjectKind.PRESENTATION_STATE} < {*kinds}
    # Without the rule the same card shows all maps, in objects of other UIDs.
    others = analysis(measured, HeatmapRule.ALWAYS)
    assert len(others.regions) == len(everything.regions)
    uids = [{built.sop_instance_uid for built in one.objects} for one in (some, others)]
    assert not uids[0] & uids[1]


def test_no_map_is_shown_if_none_is_validated(bundle: Path) -> None:
    outcome = analysis(Bundle.load(bundle), HeatmapRule.VALIDATED)
    assert outcome.prediction.present
    assert {built.kind for built in outcome.objects} == {ObjectKind.SUMMARY}
    assert outcome.regions == {}
    assert outcome.heats == {}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (two_image_content(), "Pleural effusion: location not validated: on 3 boxes."),
        (
            report_content(full_header()),
            "Pleural effusion: location not validated: on 3 boxes; "
            "therefore no heatmap and no outline are made.",
        ),
    ],
)
def test_the_report_says_how_far_a_location_can_be_believed(content: Any, line: str) -> None:
    locations = dict.fromkeys(LABELS, "location not validated: on 3 boxes")
    algorithm = replace(ALGORITHM, locations=locations)
    text = report_text(build_report(replace(content, algorithm=algorithm)))
    assert [one for one in text.splitlines() if "location" in one] == [line]
