from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    EncapsulatedPDFStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from dicom_io.gate.header_check import assess
from dicom_io.gate.pixel_check import assess_image, assess_pixels
from dicom_io.gate.reasons import MIN_SIDE, Reason, Verdict
from dicom_io.read.header import read_dataset
from dicom_io.read.image_header import ImageHeader
from dicom_io.read.pixels import display_pixels
from tests.builders.images.films import chest_film, chest_values

DX = DigitalXRayImageStorageForPresentation
SC = SecondaryCaptureImageStorage


def code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def judge(sop_class: str = ComputedRadiographyImageStorage, **attributes: Any) -> Verdict:
    return assess(ImageHeader.of(chest_film(sop_class=sop_class, **attributes)))


def test_every_reason_has_a_one_sentence_explanation() -> None:
    for reason in Reason:
        assert reason.explanation.endswith(".")
        assert "\n" not in reason.explanation
        assert reason == reason.name


@pytest.mark.parametrize(
    ("sop_class", "attributes"),
    [
        (ComputedRadiographyImageStorage, {}),
        (DX, {"Modality": "DX", "PresentationIntentType": "FOR PRESENTATION"}),
        (SC, {}),
        (SC, {"Modality": "OT"}),
        (SC, {"Modality": "OT", "BodyPartExamined": None}),
        (SC, {"Modality": "DX", "BodyPartExamined": None, "ViewPosition": None}),
        (DX, {"BodyPartExamined": "PORTABLE CHEST"}),
        (DX, {"BodyPartExamined": "THORAX", "ViewPosition": "AP"}),
        (DX, {"BodyPartExamined": None, "AnatomicRegionSequence": [code("T-D3000", "Chest")]}),
        (DX, {"ViewPosition": None, "ViewCodeSequence": [code("272479007", "postero-anterior")]}),
        (DX, {"ViewPosition": None, "PatientOrientation": ["L", "F"]}),
        (DX, {"ViewPosition": "PA", "StudyDescription": "CHEST PA AND LATERAL"}),
        (DX, {"ViewPosition": None, "StudyDescription": "CHEST PA AND LATERAL"}),
        (DX, {"ViewPosition": None, "SeriesDescription": "Chest PA/LAT"}),
        (DX, {"BodyPartExamined": "UNKNOWN"}),
        (DX, {"BodyPartExamined": None, "StudyDescription": "Chest and abdomen"}),
        (DX, {"BodyPartExamined": "CHEST", "StudyDescription": "Hip fracture, before surgery"}),
        (DX, {"Manufacturer": "cxrd phantom"}),
    ],
)
def test_frontal_chest_films_pass(sop_class: str, attributes: dict[str, Any]) -> None:
    verdict = judge(sop_class, **attributes)
    assert verdict.is_eligible, verdict


REFUSED: list[tuple[Reason, str, dict[str, Any]]] = [
    (Reason.FOR_PROCESSING, DigitalXRayImageStorageForProcessing, {}),
    (Reason.FOR_PROCESSING, DX, {"PresentationIntentType": "FOR PROCESSING"}),
    (Reason.UNSUPPORTED_SOP_CLASS, CTImageStorage, {"Modality": "CT"}),
    (Reason.UNSUPPORTED_SOP_CLASS, EncapsulatedPDFStorage, {}),
    (Reason.UNSUPPORTED_SOP_CLASS, DigitalMammographyXRayImageStorageForPresentation, {}),
    (Reason.UNSUPPORTED_SOP_CLASS, MultiFrameGrayscaleByteSecondaryCaptureImageStorage, {}),
    (Reason.NOT_RADIOGRAPH, DX, {"Modality": "US"}),
    (Reason.NOT_RADIOGRAPH, SC, {"Modality": "CT"}),
    (
        Reason.NOT_RADIOGRAPH,
        SC,
        {"Modality": "OT", "BodyPartExamined": None, "ViewPosition": None},
    ),
    (Reason.NOT_CHEST, DX, {"BodyPartExamined": "HIP"}),
    (Reason.NOT_CHEST, DX, {"BodyPartExamined": "TSPINE"}),
    (Reason.NOT_CHEST, DX, {"BodyPartExamined": "THORACIC SPINE"}),
    (
        Reason.NOT_CHEST,
        DX,
        {"BodyPartExamined": None, "AnatomicRegionSequence": [code("12421000", "Tibia")]},
    ),
    (Reason.NOT_CHEST, DX, {"BodyPartExamined": None, "StudyDescription": "Left knee, 2 views"}),
    (Reason.LATERAL_VIEW, DX, {"ViewPosition": "LATERAL"}),
    (Reason.LATERAL_VIEW, DX, {"ViewPosition": "LL"}),
    (Reason.LATERAL_VIEW, DX, {"ViewPosition": "RL"}),
    (Reason.LATERAL_VIEW, DX, {"ViewPosition": "LARGE LATERAL"}),
    (
        Reason.LATERAL_VIEW,
        DX,
        {"ViewPosition": None, "ViewCodeSequence": [code("399173006", "left lateral")]},
    ),
    (Reason.LATERAL_VIEW, DX, {"ViewPosition": None, "PatientOrientation": ["A", "F"]}),
    (Reason.LATERAL_VIEW, DX, {"ViewPosition": None, "SeriesDescription": "view: LATERAL"}),
    (Reason.LATERAL_VIEW, DX, {"ViewPosition": None, "ProtocolName": "Chest LAT"}),
    (Reason.OBLIQUE_VIEW, DX, {"ViewPosition": "RAO"}),
    (Reason.MULTI_FRAME, SC, {"NumberOfFrames": 12}),
    (Reason.OWN_RESULT, SC, {"Manufacturer": "cxrd"}),
    (Reason.OWN_RESULT, SC, {"SeriesDescription": "AI heatmap - research use only"}),
    (Reason.AI_RESULT, SC, {"DerivationCodeSequence": [code("130403", "Grad-CAM")]}),
    (
        Reason.AI_RESULT,
        SC,
        {"ContentQualification": "RESEARCH", "ImageType": ["DERIVED", "SECONDARY", "OTHER"]},
    ),
]


@pytest.mark.parametrize(("reason", "sop_class", "attributes"), REFUSED)
def test_contradicting_attributes_are_named(
    reason: Reason, sop_class: str, attributes: dict[str, Any]
) -> None:
    verdict = judge(sop_class, **attributes)
    assert verdict.reason is reason
    assert verdict.detail


def test_an_object_without_or_with_few_pixels_is_refused() -> None:
    empty = chest_film()
    del empty.PixelData
    assert assess(ImageHeader.of(empty)).reason is Reason.NO_PIXELS
    assert (
        assess(ImageHeader.of(chest_film(chest_values(MIN_SIDE - 1, 400)))).reason
        is Reason.TOO_SMALL
    )


def test_missing_attributes_are_noted() -> None:
    verdict = judge(BodyPartExamined=None, ViewPosition=None, PixelSpacing=None)
    assert verdict.is_eligible
    for word in ("BodyPartExamined", "ViewPosition", "PixelSpacing"):
        assert any(word in note for note in verdict.notes)
    clean = assess(ImageHeader.of(chest_film(chest_values(600, 600))))
    assert clean == Verdict(None)


@pytest.mark.parametrize(
    ("age", "child"),
    [
        ("009Y", True),
        ("016Y", False),
        ("011M", True),
        ("062Y", False),
        ("62", False),
        ("", False),
        ("9", True),
    ],
)
def test_children_are_noted_not_refused(age: str, child: bool) -> None:
    ds = chest_film()
    ds.add_new("PatientAge", "LO", age)
    verdict = assess(ImageHeader.of(ds))
    assert verdict.is_eligible
    assert any("younger" in note for note in verdict.notes) is child


def test_a_decubitus_film_is_noted() -> None:
    verdict = judge(ViewPosition="LLD")
    assert verdict.is_eligible
    assert any("LLD" in note for note in verdict.notes)


def film_array(rows: int = 200, columns: int = 160) -> np.ndarray:
    return chest_values(rows, columns, 8).astype(np.uint8)


def test_pixels_are_judged() -> None:
    assert assess_pixels(film_array()) == Verdict(None)
    blank = np.full((300, 300), 90, np.uint8)
    blank[:2, :2] = 255
    assert assess_pixels(blank).reason is Reason.BLANK_IMAGE
    assert assess_pixels(film_array(700, 200)).reason is Reason.IMPLAUSIBLE_SHAPE
    assert assess_pixels(film_array(MIN_SIDE - 1, 300)).reason is Reason.TOO_SMALL


REAL = {
    "01": None,
    "02": None,
    "03": None,
    "04": None,
    "05": Reason.NOT_CHEST,
    "06": Reason.NOT_CHEST,
    "07": Reason.UNSUPPORTED_SOP_CLASS,
    "08": Reason.UNSUPPORTED_SOP_CLASS,
    "09": Reason.UNSUPPORTED_SOP_CLASS,
    "10": Reason.UNSUPPORTED_SOP_CLASS,
    "11": Reason.UNSUPPORTED_SOP_CLASS,
    "12": Reason.NOT_RADIOGRAPH,
    "13": Reason.UNSUPPORTED_SOP_CLASS,
    "14": Reason.UNSUPPORTED_SOP_CLASS,
    "15": Reason.NO_PIXELS,
}


@pytest.mark.parametrize(("number", "reason"), REAL.items())
def test_verdicts_on_the_real_files(data_folder: Path, number: str, reason: Reason | None) -> None:
    ds = read_dataset(next((data_folder / "dicom" / "real").glob(f"{number}_*")))
    assert assess(ImageHeader.of(ds)).reason is reason
    if reason is None:
        verdict = assess_image(display_pixels(ImageHeader.of(ds)))
        assert verdict == Verdict(None)
