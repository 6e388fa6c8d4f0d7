from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from highdicom.seg import Segmentation, segread
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from dicom_io.errors import ObjectError
from dicom_io.objects.encode import to_bytes
from dicom_io.objects.segmentation import SegmentationContent, SegmentedFinding, build_segmentation
from dicom_io.objects.source_header import Identity
from dicom_io.objects.uids import tracking_uid
from tests.builders.images.films import chest_film
from tests.builders.objects import (
    NOW,
    SHA256,
    bare_header,
    envelope,
    full_header,
    read_back,
    written,
)
from tests.tools.validation import new_errors, validate


def mask(rows: slice, columns: slice, shape: tuple[int, int]) -> np.ndarray:
    drawn = np.zeros(shape, dtype=np.uint8)
    drawn[rows, columns] = 1
    return drawn


def regions(source: Dataset) -> list[SegmentedFinding]:
    """Two regions that overlap."""
    shape = (source.Rows, source.Columns)
    return [
        SegmentedFinding("Effusion", 0.62, 0.17, mask(slice(5, 20), slice(6, 31), shape)),
        SegmentedFinding("Pleural_Thickening", 0.42, 0.4, mask(slice(10, 33), slice(1, 12), shape)),
    ]


def content(
    source: Dataset, findings: Sequence[SegmentedFinding] | None = None
) -> SegmentationContent:
    return SegmentationContent(
        envelope(source, Identity("2.25.51", "2.25.52", 904, 1, NOW)),
        regions(source) if findings is None else findings,
    )


def built(source: Dataset) -> Dataset:
    return read_back(build_segmentation(content(source)))


def bare() -> Dataset:
    header = bare_header()
    header.Rows, header.Columns = 64, 48
    return header


@pytest.mark.parametrize("header", [full_header, bare, chest_film])
def test_dciodvfy_finds_no_error(header: Callable[[], Dataset], tmp_path: Path) -> None:
    path = written(build_segmentation(content(header())), tmp_path)
    assert validate(path) == []


@pytest.mark.parametrize("name", ["01_", "03_", "04_"])
def test_a_segmentation_of_a_real_film_adds_no_error(
    name: str, data_folder: Path, tmp_path: Path
) -> None:
    [source] = (data_folder / "dicom" / "real").glob(f"{name}*")
    header = pydicom.dcmread(source, force=True, stop_before_pixels=True)
    path = written(build_segmentation(content(header)), tmp_path)
    assert new_errors(path, source) == []


@pytest.mark.parametrize("header", [full_header, chest_film])
def test_highdicom_reads_the_regions_back(header: Callable[[], Dataset]) -> None:
    source = header()
    read: Segmentation = segread(BytesIO(to_bytes(build_segmentation(content(source)))))
    by_segment = read.get_pixels_by_source_instance([source.SOPInstanceUID])[0]
    for i, finding in enumerate(regions(source)):
        np.testing.assert_array_equal(by_segment[..., i], finding.mask)
    effusion = read.get_segment_description(1)
    assert (effusion.segmented_property_type.value, effusion.segment_label) == (
        "60046008",
        "Pleural effusion 0.62 (threshold 0.17)",
    )
    assert effusion.algorithm_type.value == "AUTOMATIC"
    algorithm = effusion.algorithm_identification
    assert algorithm is not None
    assert algorithm.name == "starter"
    assert effusion.tracking_uid == tracking_uid(str(source.SOPInstanceUID), SHA256, "Effusion")


def test_the_object_belongs_to_patient_and_study_of_the_film() -> None:
    ds = built(full_header())
    assert ds.SOPClassUID == SegmentationStorage
    assert (ds.Modality, ds.SegmentationType) == ("SEG", "BINARY")
    assert (ds.PatientID, str(ds.PatientName)) == ("P-17", "Müller^Jürgen")
    assert (ds.Rows, ds.Columns, ds.NumberOfFrames) == (64, 48, 2)
    assert list(ds.PatientOrientation) == ["L", "F"]
    assert ds.ContentQualification == "RESEARCH"
    assert ds.Manufacturer == "cxrd project"
    assert len(ds.ContributingEquipmentSequence) == 1
    frame = ds.PerFrameFunctionalGroupsSequence[0]
    [source] = frame.DerivationImageSequence[0].SourceImageSequence
    assert source.ReferencedSOPInstanceUID == full_header().SOPInstanceUID
    assert source.SpatialLocationsPreserved == "YES"
    assert "Not an outline of the disease" in ds.SegmentSequence[0].SegmentDescription


def test_the_private_code_is_explained() -> None:
    ds = built(full_header())
    code = ds.SegmentSequence[1].SegmentedPropertyTypeCodeSequence[0]
    [scheme] = ds.CodingSchemeIdentificationSequence
    assert code.CodingSchemeDesignator == scheme.CodingSchemeDesignator == "99CXRD"


def test_a_lossy_film_makes_a_lossy_segmentation() -> None:
    header = full_header()
    header.LossyImageCompression = "01"
    header.LossyImageCompressionRatio, header.LossyImageCompressionMethod = "10", "ISO_10918_1"
    ds = built(header)
    assert (ds.LossyImageCompression, ds.LossyImageCompressionMethod) == ("01", "ISO_10918_1")


def test_the_same_content_gives_the_same_bytes() -> None:
    first, second = (to_bytes(build_segmentation(content(full_header()))) for _ in range(2))
    assert first == second


def test_the_source_is_not_changed() -> None:
    header = bare()
    build_segmentation(content(header))
    assert header == bare()


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((64, 48), np.uint8),
        np.ones((48, 64), np.uint8),
        np.full((64, 48), 2, np.uint8),
        np.ones((64, 48), np.float32),
    ],
    ids=["empty", "another grid", "another value", "another type"],
)
def test_a_mask_that_does_not_fit_the_film_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ObjectError, match="no mask of the film"):
        build_segmentation(content(bare(), [SegmentedFinding("Mass", 0.5, 0.5, wrong)]))


def test_a_segmentation_without_regions_is_refused() -> None:
    with pytest.raises(ObjectError, match="no region"):
        build_segmentation(content(bare(), []))
