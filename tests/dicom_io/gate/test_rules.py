"""Refusals by a peer's rules, and the age of a patient."""

import re
from typing import Any

import numpy as np
import pytest
from pydicom.uid import SecondaryCaptureImageStorage

from dicom_io.gate.anatomy import age_in_years
from dicom_io.gate.header_check import assess
from dicom_io.gate.pixel_check import assess_image
from dicom_io.gate.reasons import Reason
from dicom_io.gate.rules import Rules
from dicom_io.read.image_header import ImageHeader
from dicom_io.read.pixels import display_pixels
from tests.builders.images.films import chest_film, chest_values
from tests.tools.paths import ROOT

GATE_PAGE = ROOT / "docs" / "gate.md"


@pytest.mark.parametrize(
    ("rules", "attributes", "reason"),
    [
        (Rules(minimum_age_years=16), {"PatientAge": "015Y"}, Reason.PATIENT_TOO_YOUNG),
        (Rules(minimum_age_years=1), {"PatientAge": "011M"}, Reason.PATIENT_TOO_YOUNG),
        (Rules(require_body_part=True), {"BodyPartExamined": None}, Reason.BODY_PART_NOT_SAID),
        (Rules(require_view=True), {"ViewPosition": None}, Reason.VIEW_NOT_SAID),
        (
            Rules(accept_secondary_capture=False),
            {"sop_class": SecondaryCaptureImageStorage},
            Reason.SECONDARY_CAPTURE,
        ),
    ],
)
def test_a_rule_refuses_an_image_that_is_otherwise_eligible(
    rules: Rules, attributes: dict[str, Any], reason: Reason
) -> None:
    film = chest_film(**attributes)
    assert assess(ImageHeader.of(film)).is_eligible
    verdict = assess(ImageHeader.of(film), rules)
    assert verdict.reason is reason
    assert verdict.detail
    strict = Rules(16, require_body_part=True, require_view=True, accept_secondary_capture=False)
    assert assess(ImageHeader.of(chest_film(PatientAge="016Y")), strict).is_eligible


def test_a_missing_age_is_noted_if_a_rule_demands_one() -> None:
    verdict = assess(ImageHeader.of(chest_film()), Rules(minimum_age_years=18))
    assert verdict.is_eligible
    assert "the patient's age is not said" in verdict.notes
    assert "the patient's age is not said" not in assess(ImageHeader.of(chest_film())).notes


def test_a_view_unfit_for_the_model_is_named_before_a_rule() -> None:
    lateral = chest_film(ViewPosition="LL", PatientAge="003Y")
    assert (
        assess(ImageHeader.of(lateral), Rules(minimum_age_years=18)).reason is Reason.LATERAL_VIEW
    )


@pytest.mark.parametrize(
    ("attributes", "years"),
    [
        ({"PatientAge": "042Y"}, 42),
        ({"PatientAge": "018M"}, 1.5),
        ({"PatientAge": "010W"}, 0.19),
        ({"PatientAge": "003D"}, 0.008),
        ({"PatientAge": "43"}, 43),
        ({"PatientAge": "young", "PatientBirthDate": "20140102"}, 10),
        ({"PatientBirthDate": "19840102", "StudyDate": "20240102"}, 40),
        ({"PatientBirthDate": "19840102", "StudyDate": None}, None),
        ({"PatientBirthDate": "20250101"}, None),
        ({"PatientBirthDate": "1984"}, None),
        ({}, None),
    ],
)
def test_age_is_read_from_the_age_or_the_birth_date(
    attributes: dict[str, Any], years: float | None
) -> None:
    film = chest_film()
    for keyword, value in attributes.items():
        film.add_new(keyword, "LO", value)
    found = age_in_years(film)
    assert found is None if years is None else found == pytest.approx(years, abs=0.02)


def test_a_coloured_picture_is_refused() -> None:
    grey = chest_values(200, 160, 8)
    tinted = np.stack([grey, grey, grey], -1)
    tinted[::20, :, 2] = 0
    film = display_pixels(ImageHeader.of(chest_film(tinted, bits_stored=8, photometric="RGB")))
    assert assess_image(film).is_eligible
    tinted[:100, :, 2] = 0
    heatmap = display_pixels(ImageHeader.of(chest_film(tinted, bits_stored=8, photometric="RGB")))
    verdict = assess_image(heatmap)
    assert verdict.reason is Reason.COLOUR_IMAGE
    assert "%" in verdict.detail


def test_an_implausible_shape_is_refused_by_the_header() -> None:
    film = chest_film()
    film.Rows, film.Columns = 2000, 200
    assert assess(ImageHeader.of(film)).reason is Reason.IMPLAUSIBLE_SHAPE


def test_a_frontal_view_that_the_orientation_contradicts_is_noted() -> None:
    verdict = assess(ImageHeader.of(chest_film(ViewPosition="PA", PatientOrientation=["A", "F"])))
    assert verdict.is_eligible
    assert any("from front to back" in note for note in verdict.notes)


def test_every_reason_is_documented_with_its_sentence() -> None:
    table = re.findall(r"^\| `([A-Z_]+)` \| (.+?) \|$", GATE_PAGE.read_text("utf-8"), re.MULTILINE)
    assert table == [(reason.value, reason.explanation) for reason in Reason]
