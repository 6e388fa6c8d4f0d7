"""Reports meet the requirements of IHE AIR that docs/report.md lists, and OHIF can draw them."""

import copy
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_io.objects.classes import REPORT_CLASSES
from dicom_io.objects.encode import to_bytes
from dicom_io.objects.secondary_capture import build_capture
from dicom_io.report.content import ReportContent
from dicom_io.report.document import build_report
from dicom_io.report.older_classes import as_class
from tests.builders.objects import (
    ALGORITHM,
    STUDY,
    capture_content,
    full_header,
    read_back,
    two_image_content,
    written,
)
from tests.tools import air_check, ohif_reader
from tests.tools.validation import OUTLINE


@pytest.fixture(scope="module")
def content() -> ReportContent:
    """Two images: an outlined finding with its heatmap on the first, no finding on the second."""
    return two_image_content()


@pytest.fixture(scope="module")
def file(content: ReportContent) -> bytes:
    return to_bytes(build_report(content))


@pytest.fixture
def report(file: bytes) -> Dataset:
    return pydicom.dcmread(BytesIO(file))


@pytest.fixture
def heatmap() -> Dataset:
    return read_back(build_capture(capture_content(full_header())))


def faults(report: Dataset, *others: Dataset) -> dict[int, tuple[str, ...]]:
    """Return the faults by the number of the requirement that is not met."""
    checked = air_check.check(report, others)
    assert [requirement.number for requirement in checked] == list(range(1, 9))
    return {one.number: one.faults for one in checked if not one.is_met}


def test_a_report_meets_every_requirement(report: Dataset, heatmap: Dataset) -> None:
    assert faults(report, heatmap) == {}


@pytest.mark.parametrize("sop_class", REPORT_CLASSES[1:])
def test_a_report_of_an_older_class_meets_all_but_the_class(
    content: ReportContent, sop_class: str
) -> None:
    older = read_back(as_class(build_report(content), sop_class))
    assert list(faults(older)) == [3]


@pytest.mark.parametrize(
    "name",
    [
        "n" * 70,
        # The cut falls on a space, which readers keep in some VRs and remove in others.
        f"{'n' * 63} end",
        "  two\nlines\\ of  Zürich ~ ",
    ],
)
def test_long_and_odd_names_are_cut_alike_everywhere(content: ReportContent, name: str) -> None:
    algorithm = replace(ALGORITHM, name=name, version=name, manufacturer=name)
    report = read_back(build_report(replace(content, algorithm=algorithm)))
    assert faults(report) == {}
    [equipment] = report.ContributingEquipmentSequence
    groups = report.ContentSequence[-1].ContentSequence
    assert {text_of(group, "111001") for group in groups} == {equipment.ManufacturerModelName}
    assert text_of(report, "121013") == equipment.ManufacturerModelName
    [author] = report.AuthorObserverSequence
    assert author.ManufacturerModelName == equipment.ManufacturerModelName
    assert author.DeviceUID == equipment.DeviceUID


def text_of(parent: Dataset, code_value: str) -> str:
    [item] = named(parent, code_value)
    return str(item.TextValue)


def named(parent: Dataset, code_value: str) -> list[Dataset]:
    return [
        item
        for item in parent.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == code_value
    ]


def first_group(report: Dataset) -> Dataset:
    group: Dataset = report.ContentSequence[-1].ContentSequence[0]
    return group


def rename(parent: Dataset, code_value: str, other: str) -> None:
    [item] = named(parent, code_value)
    item.ConceptNameCodeSequence[0].CodeValue = other


def change_text(parent: Dataset, code_value: str) -> None:
    [item] = named(parent, code_value)
    item.TextValue += " 2"


def drop(parent: Dataset, code_value: str) -> None:
    [item] = named(parent, code_value)
    parent.ContentSequence.remove(item)


def add_text(report: Dataset) -> None:
    """Add the explanation of an outline to a group, as reports of version 0.1.0 have it."""
    text = copy.deepcopy(named(first_group(report), "112039")[0])
    text.ConceptNameCodeSequence[0].CodeValue = "130403"
    first_group(report).ContentSequence.append(text)


def drop_numbers(report: Dataset) -> None:
    drop(first_group(report), "122157")
    drop(first_group(report), "122411")


FAULTS: dict[str, tuple[int, Callable[[Dataset], object]]] = {
    "no device UID": (1, lambda ds: ds.ContributingEquipmentSequence[0].pop("DeviceUID")),
    "no purpose": (
        1,
        lambda ds: ds.ContributingEquipmentSequence[0].pop("PurposeOfReferenceCodeSequence"),
    ),
    "another model name": (2, lambda ds: change_text(ds, "121015")),
    "another version": (2, lambda ds: change_text(first_group(ds), "111003")),
    "a group without version": (2, lambda ds: drop(first_group(ds), "111003")),
    "no device observer": (2, lambda ds: drop(ds, "121012")),
    "another template": (3, lambda ds: ds.pop("ContentTemplateSequence")),
    "no procedure": (4, lambda ds: drop(ds, "121058")),
    "the kind of the explanation": (5, lambda ds: rename(first_group(ds), "130401", "130403")),
    "no evidence": (5, lambda ds: ds.pop("CurrentRequestedProcedureEvidenceSequence")),
    "a text in the group": (6, add_text),
    "no evaluation": (6, lambda ds: drop(first_group(ds), "60046008")),
    "no tracking UID": (7, lambda ds: drop(first_group(ds), "112040")),
    "no numbers": (8, drop_numbers),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_check_finds_a_fault(report: Dataset, fault: str) -> None:
    number, make = FAULTS[fault]
    make(report)
    assert number in faults(report)


def test_the_check_compares_the_objects_of_a_study(report: Dataset, heatmap: Dataset) -> None:
    other = copy.deepcopy(heatmap)
    other.ContributingEquipmentSequence[0].SoftwareVersions = "3"
    assert list(faults(report, other)) == [2]
    other = copy.deepcopy(heatmap)
    other.DerivationCodeSequence = []
    assert list(faults(report, other)) == [5]
    other.SOPInstanceUID = "2.25.1"
    other.StudyInstanceUID = "2.25.2"
    assert list(faults(report, other)) == [5, 8]


def test_the_check_runs_on_files(
    report: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert air_check.main([str(written(report, tmp_path))]) == 0
    assert capsys.readouterr().out.count(" met ") == 8
    drop(report, "121058")
    assert air_check.main([str(written(report, tmp_path))]) == 1
    assert "4 NOT MET Procedure Reported" in capsys.readouterr().out


def test_ohif_draws_every_group(report: Dataset) -> None:
    drawn = ohif_reader.measurements(report)
    assert len(drawn) == 28
    assert drawn[0] == ohif_reader.Drawn(
        "Image 1: Pleural effusion",
        f"{STUDY}.1.1",
        [value for corner in (*OUTLINE, OUTLINE[0]) for value in corner],
        ["Probability 0.75", "Threshold Value 0.50"],
    )
    assert drawn[1].coordinates == [0, 0, 48, 0, 48, 64, 0, 64, 0, 0]
    assert {group.film for group in drawn[14:]} == {f"{STUDY}.1.2"}


def test_ohif_fails_on_a_group_without_a_coordinate(report: Dataset) -> None:
    [region] = [item for item in first_group(report).ContentSequence if item.ValueType == "SCOORD"]
    first_group(report).ContentSequence.remove(region)
    with pytest.raises(IndexError):
        ohif_reader.measurements(report)
