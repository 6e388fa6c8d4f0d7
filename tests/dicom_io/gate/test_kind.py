"""Pictures that are no plain film of a patient, each with a reason of its own."""

import datetime
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    MRImageStorage,
    SecondaryCaptureImageStorage,
)

from dicom_io.gate.header_check import assess
from dicom_io.gate.reasons import FAILURES, RESULTS, Reason, Verdict
from dicom_io.phantom import PhantomFilm, build_film
from dicom_io.read.image_header import read_image
from tests.builders.images.headers import film_header

DX = DigitalXRayImageStorageForPresentation
SC = SecondaryCaptureImageStorage


def judge(sop_class: str = DX, **attributes: Any) -> Verdict:
    return assess(film_header(SOPClassUID=sop_class, **attributes))


def item(**attributes: str) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


REFUSED: list[tuple[Reason, dict[str, Any]]] = [
    (Reason.DUAL_ENERGY, {"ImageType": ["DERIVED", "PRIMARY", "", "DUAL_ENERGY", "BONE"]}),
    (Reason.DUAL_ENERGY, {"ImageType": ["DERIVED", "PRIMARY", "", "SOFT_TISSUE"]}),
    (Reason.DUAL_ENERGY, {"SeriesDescription": "Chest PA Bone"}),
    (Reason.DUAL_ENERGY, {"SeriesDescription": "Chest PA soft tissue"}),
    (Reason.DUAL_ENERGY, {"SeriesDescription": "Thorax Weichteilbild"}),
    (Reason.DUAL_ENERGY, {"SeriesDescription": "Dual Energy Soft"}),
    (Reason.DUAL_ENERGY, {"SeriesDescription": "Energy Subtraction", "ProtocolName": "tissue"}),
    (Reason.DUAL_ENERGY, {"DerivationDescription": "dual energy subtraction"}),
    (Reason.BONE_SUPPRESSED, {"SeriesDescription": "Bone Suppressed"}),
    (Reason.BONE_SUPPRESSED, {"SeriesDescription": "Chest PA - BoneSuppression"}),
    (Reason.BONE_SUPPRESSED, {"AcquisitionDeviceProcessingDescription": "BONE SUPPRESSION ON"}),
    (Reason.BONE_SUPPRESSED, {"DerivationDescription": "Rib suppression"}),
    (Reason.BONE_SUPPRESSED, {"SeriesDescription": "Thorax Knochenunterdrückung"}),
    (Reason.BONE_SUPPRESSED, {"SeriesDescription": "Suppression osseuse"}),
    (Reason.BONE_SUPPRESSED, {"ManufacturerModelName": "SoftView"}),
    (Reason.BONE_SUPPRESSED, {"ImageComments": "bone suppressed image"}),
    (Reason.AI_RESULT, {"sop_class": SC, "SeriesDescription": "CXR AI result"}),
    (Reason.AI_RESULT, {"sop_class": SC, "SeriesDescription": "AI"}),
    (Reason.AI_RESULT, {"sop_class": SC, "Manufacturer": "Lunit Inc."}),
    (Reason.AI_RESULT, {"sop_class": SC, "ManufacturerModelName": "qXR v3", "Modality": "OT"}),
    (Reason.AI_RESULT, {"sop_class": SC, "SeriesDescription": "Résultats IA"}),
    (Reason.AI_RESULT, {"sop_class": SC, "SecondaryCaptureDeviceManufacturer": "Annalise.ai"}),
    (Reason.AI_RESULT, {"sop_class": SC, "SeriesDescription": "Heatmap Pneumothorax"}),
    (Reason.AI_RESULT, {"SeriesDescription": "AI findings overlay"}),
    (Reason.AI_RESULT, {"sop_class": SC, "DerivationCodeSequence": [item(CodeValue="130401")]}),
    (Reason.QUALITY_CONTROL, {"QualityControlImage": "YES"}),
    (Reason.QUALITY_CONTROL, {"BodyPartExamined": "PHANTOM"}),
    (Reason.QUALITY_CONTROL, {"SeriesDescription": "Konstanzprüfung"}),
    (Reason.QUALITY_CONTROL, {"ProtocolName": "Flat Field"}),
    (Reason.SYNTHETIC_DATA, {"SyntheticData": "YES"}),
    (Reason.ANIMAL, {"PatientSpeciesDescription": "Canine"}),
    (Reason.ANIMAL, {"PatientSpeciesCodeSequence": [item(CodeValue="L-80700", CodeMeaning="dog")]}),
    (Reason.ANIMAL, {"PatientBreedDescription": "Beagle"}),
    (Reason.ANIMAL, {"PatientBreedCodeSequence": [item(CodeValue="L-80900", CodeMeaning="Pug")]}),
    (Reason.ANIMAL, {"BreedRegistrationSequence": [item(BreedRegistrationNumber="12")]}),
    (Reason.ANIMAL, {"PatientSexNeutered": "ALTERED"}),
    (Reason.ANIMAL, {"ResponsiblePerson": "Doe^Jane", "ResponsiblePersonRole": "OWNER"}),
    (Reason.ANIMAL, {"InstitutionName": "Tierklinik am See"}),
    (Reason.ANIMAL, {"StudyDescription": "CANINE THORAX VD"}),
    (Reason.ANIMAL, {"StudyDescription": "Thorax Hund"}),
]


@pytest.mark.parametrize(("reason", "attributes"), REFUSED)
def test_a_kind_of_picture_has_its_own_reason(reason: Reason, attributes: dict[str, Any]) -> None:
    verdict = judge(**attributes)
    assert verdict.reason is reason, verdict
    assert verdict.detail


@pytest.mark.parametrize(
    "attributes",
    [
        {"ImageType": ["DERIVED", "PRIMARY", "POST_PROCESSED"]},
        {"ImageType": ["DERIVED", "PRIMARY", "", "DUAL_ENERGY", "STANDARD"]},
        {"SeriesDescription": "Chest PA, without bone suppression"},
        {"SeriesDescription": "Bone survey chest"},
        {"StudyDescription": "Bone metastases?"},
        {"AcquisitionDeviceProcessingDescription": "chest soft"},
        {"SeriesDescription": "Chest AI noise reduction"},
        {"QualityControlImage": "NO"},
        {"SyntheticData": "NO"},
        {"PatientSpeciesDescription": "Homo sapiens"},
        {"PatientSpeciesDescription": "-"},
        {"PatientSpeciesCodeSequence": [item(CodeValue="337915000", CodeMeaning="homo sapiens")]},
        {"BreedRegistrationSequence": []},
        {"BreedRegistrationSequence": [Dataset()]},
        {"PatientBreedDescription": "N/A"},
        {"ResponsiblePerson": "Doe^Jane", "ResponsiblePersonRole": "PARENT"},
        {"InstitutionName": "Veterans Hospital"},
        {"InstitutionName": "Praxis Dr. Hund"},
        {"InstitutionName": "Hospital El Perro"},
    ],
)
def test_ordinary_films_pass(attributes: dict[str, Any]) -> None:
    verdict = judge(**attributes)
    assert verdict.is_eligible, verdict


def test_a_test_object_beside_the_patient_is_noted() -> None:
    verdict = judge(QualityControlImage="BOTH")
    assert verdict.is_eligible
    assert any("test object" in note for note in verdict.notes)


def test_another_part_or_class_is_named_before_the_kind() -> None:
    assert judge(SeriesDescription="Neck soft tissue", BodyPartExamined=None).reason is (
        Reason.NOT_CHEST
    )
    assert judge(MRImageStorage, SyntheticData="YES").reason is Reason.UNSUPPORTED_SOP_CLASS


def test_the_phantom_film_of_the_demo_is_analysed() -> None:
    made = build_film(PhantomFilm("P", "S"), datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))
    assert assess(read_image(made)).is_eligible


def test_results_and_failures_are_reasons_apart() -> None:
    assert {Reason.OWN_RESULT, Reason.AI_RESULT} == RESULTS
    assert not RESULTS & FAILURES
