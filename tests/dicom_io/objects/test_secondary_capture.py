import contextlib
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_charset_files
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    SecondaryCaptureImageStorage,
)

from dicom_io.errors import NotDicomError, ObjectError
from dicom_io.gate.header_check import assess
from dicom_io.gate.reasons import Reason
from dicom_io.objects.compression import jpeg_copy
from dicom_io.objects.encode import to_bytes
from dicom_io.objects.secondary_capture import (
    SummaryContent,
    build_capture,
    build_summary,
)
from dicom_io.objects.source_header import Identity
from dicom_io.objects.uids import derived_uid
from dicom_io.read.header import read_dataset
from dicom_io.read.image_header import ImageHeader
from tests.builders.objects import (
    NOW,
    SHA256,
    STUDY,
    bare_header,
    capture_content,
    envelope,
    full_header,
    read_back,
    written,
)
from tests.tools.validation import new_errors, validate, warnings

REAL_CHESTS = ["01_", "02_", "03_", "04_", "15_"]


@pytest.mark.parametrize("header", [full_header, bare_header])
def test_dciodvfy_finds_no_error(header: Any, tmp_path: Path) -> None:
    assert validate(written(build_capture(capture_content(header())), tmp_path)) == []


def test_dciodvfy_warns_only_of_the_device_uid(tmp_path: Path) -> None:
    lines = warnings(written(build_capture(capture_content(full_header())), tmp_path))
    assert [
        line for line in lines if "(0x0018,0x1002)" not in line and "Extended" not in line
    ] == []


def test_a_damaged_header_gives_a_readable_object_or_a_named_reason(data_folder: Path) -> None:
    built = 0
    for path in sorted((data_folder / "dicom" / "malformed").glob("*/*.dcm")):
        rgb = np.zeros((8, 8, 3), dtype=np.uint8)
        with contextlib.suppress(NotDicomError, ObjectError):
            header = ImageHeader.of(read_dataset(path, with_pixels=False))
            uid = header.uids["SOPInstanceUID"]
            content = capture_content(full_header(), rgb)
            identity = replace(
                content.envelope.identity, sop_instance_uid=derived_uid(uid, SHA256, "heatmap")
            )
            of_header = replace(content.envelope, source=header, identity=identity)
            ds = read_back(build_capture(replace(content, envelope=of_header)))
            np.testing.assert_array_equal(ds.pixel_array, rgb)
            built += 1
    assert built > 100


@pytest.mark.parametrize("name", REAL_CHESTS)
def test_a_heatmap_of_a_real_film_adds_no_error(
    name: str, data_folder: Path, tmp_path: Path
) -> None:
    [source] = (data_folder / "dicom" / "real").glob(f"{name}*")
    header = pydicom.dcmread(source, force=True, stop_before_pixels=True)
    assert new_errors(written(build_capture(capture_content(header)), tmp_path), source) == []


def test_a_name_is_kept_unchanged(tmp_path: Path) -> None:
    [korean] = get_charset_files("chrI2.dcm")
    header = pydicom.dcmread(korean)
    path = written(build_capture(capture_content(header)), tmp_path)
    assert pydicom.dcmread(path).PatientName == "Hong^Gildong=洪^吉洞=홍^길동"
    assert validate(path) == []


def test_pixels_are_stored_unchanged() -> None:
    content = capture_content(full_header())
    ds = read_back(build_capture(content))
    assert ds.PhotometricInterpretation == "RGB"
    np.testing.assert_array_equal(ds.pixel_array, content.rgb)


def test_an_odd_number_of_pixels_is_padded() -> None:
    rgb = np.full((1, 1, 3), 7, dtype=np.uint8)
    ds = read_back(build_capture(capture_content(full_header(), rgb=rgb)))
    assert len(ds.PixelData) == 4
    np.testing.assert_array_equal(ds.pixel_array, rgb[0:1])


def test_the_attributes_describe_the_heatmap() -> None:
    ds = read_back(build_capture(capture_content(full_header())))
    assert ds.SOPClassUID == SecondaryCaptureImageStorage
    assert (ds.Modality, ds.ConversionType, ds.BodyPartExamined) == ("OT", "WSD", "CHEST")
    assert list(ds.ImageType) == ["DERIVED", "SECONDARY", "OTHER"]
    assert (ds.BurnedInAnnotation, ds.RecognizableVisualFeatures) == ("YES", "NO")
    assert (ds.ContentQualification, ds.SeriesDescription) == (
        "RESEARCH",
        "AI heatmap - research use only",
    )
    assert ds.DerivationCodeSequence[0].CodeValue == "130403"
    assert "Pleural effusion" in ds.DerivationDescription
    assert SHA256 in ds.DerivationDescription
    assert "RESEARCH USE ONLY" in ds.DerivationDescription
    assert (ds.StudyInstanceUID, ds.PatientID) == (STUDY, "P-17")
    assert ds.RequestAttributesSequence[0].RequestedProcedureDescription == "Röntgen Thorax"


def test_the_source_is_referenced() -> None:
    ds = read_back(build_capture(capture_content(full_header())))
    [source] = ds.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == f"{STUDY}.1.1"
    assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    assert source.SpatialLocationsPreserved == "YES"
    [series] = ds.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == f"{STUDY}.1"


def test_orientation_is_claimed_only_on_the_grid_of_the_source() -> None:
    assert list(read_back(build_capture(capture_content(full_header()))).PatientOrientation) == [
        "L",
        "F",
    ]
    larger = np.zeros((100, 48, 3), dtype=np.uint8)
    ds = read_back(build_capture(capture_content(full_header(), rgb=larger)))
    assert not ds.PatientOrientation
    assert ds.SourceImageSequence[0].SpatialLocationsPreserved == "NO"


def test_a_legend_below_the_film_keeps_the_grid_of_the_source(tmp_path: Path) -> None:
    rgb = np.zeros((64 + 30, 48, 3), dtype=np.uint8)
    content = replace(
        capture_content(full_header(), rgb=rgb),
        legend_rows=30,
        location="location not validated: not shown to be better than chance on 10 boxes",
    )
    path = written(build_capture(content), tmp_path)
    ds = pydicom.dcmread(path)
    assert (ds.Rows, ds.Columns) == (94, 48)
    assert list(ds.PatientOrientation) == ["L", "F"]
    assert ds.SourceImageSequence[0].SpatialLocationsPreserved == "YES"
    assert "Its legend is below the film, from row 65." in ds.DerivationDescription
    for text in (ds.DerivationDescription, ds.ImageComments):
        assert "Location not validated: not shown to be better than chance on 10 boxes." in text
    assert validate(path) == []


def test_lossy_sources_make_lossy_heatmaps(tmp_path: Path) -> None:
    header = full_header()
    assert build_capture(capture_content(header)).LossyImageCompression == "00"
    header.LossyImageCompression = "01"
    header.LossyImageCompressionRatio = [10, 2]
    header.LossyImageCompressionMethod = ["ISO_10918_1", "ISO_15444_1"]
    content = capture_content(header)
    ds = read_back(build_capture(content))
    assert ds.LossyImageCompression == "01"
    assert list(ds.LossyImageCompressionRatio) == [10, 2]
    assert validate(written(build_capture(content), tmp_path)) == []


@pytest.mark.parametrize(
    ("syntax", "flag"),
    [(ExplicitVRLittleEndian, "00"), (JPEGLosslessSV1, "00"), (JPEGBaseline8Bit, "01")],
)
def test_a_lossy_transfer_syntax_counts_without_the_flag(syntax: UID, flag: str) -> None:
    header = full_header()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = syntax
    assert build_capture(capture_content(header)).LossyImageCompression == flag


def test_the_same_content_gives_the_same_bytes() -> None:
    content = capture_content(full_header())
    assert to_bytes(build_capture(content)) == to_bytes(build_capture(content))


@pytest.mark.parametrize(
    "rgb",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=lambda a: f"{a.dtype}-{a.shape}",
)
def test_another_kind_of_array_is_refused(rgb: Any) -> None:
    with pytest.raises(ObjectError, match="uint8"):
        build_capture(capture_content(full_header(), rgb=rgb))


def test_an_unknown_label_is_refused() -> None:
    with pytest.raises(ObjectError, match="Covid"):
        build_capture(replace(capture_content(full_header()), label="Covid"))


def summary_content(header: Dataset, positive: tuple[str, ...] = ("Effusion",)) -> SummaryContent:
    identity = Identity("2.25.61", "2.25.62", 902, 2, NOW)
    rgb = np.full((30, 40, 3), 9, dtype=np.uint8)
    return SummaryContent(envelope(header, identity), rgb, positive)


@pytest.mark.parametrize("header", [full_header, bare_header])
@pytest.mark.parametrize("positive", [(), ("Effusion", "Pleural_Thickening")])
def test_dciodvfy_finds_no_error_in_a_summary(
    header: Any, positive: tuple[str, ...], tmp_path: Path
) -> None:
    assert validate(written(build_summary(summary_content(header(), positive)), tmp_path)) == []


def test_the_attributes_describe_the_summary(tmp_path: Path) -> None:
    ds = pydicom.dcmread(written(build_summary(summary_content(full_header())), tmp_path))
    assert ds.SeriesDescription == "AI summary - research use only"
    assert (ds.Modality, ds.BurnedInAnnotation, ds.ContentQualification) == (
        "OT",
        "YES",
        "RESEARCH",
    )
    assert "At or above threshold: Pleural effusion." in ds.DerivationDescription
    assert "RESEARCH USE ONLY" in ds.DerivationDescription
    assert ds.DerivationCodeSequence[0].CodeValue == "130403"
    [source] = ds.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == f"{STUDY}.1.1"
    assert source.SpatialLocationsPreserved == "NO"
    assert not ds.PatientOrientation
    np.testing.assert_array_equal(ds.pixel_array, np.full((30, 40, 3), 9))


def test_a_summary_without_a_map_names_no_derivation(tmp_path: Path) -> None:
    ds = pydicom.dcmread(written(build_summary(summary_content(full_header(), ())), tmp_path))
    assert "DerivationCodeSequence" not in ds
    assert "At or above threshold: none." in ds.DerivationDescription


@pytest.mark.parametrize("positive", [(), ("Effusion",)])
def test_a_received_summary_is_recognised_as_a_result(
    positive: tuple[str, ...], tmp_path: Path
) -> None:
    ds = read_dataset(written(build_summary(summary_content(full_header(), positive)), tmp_path))
    assert assess(ImageHeader.of(ds)).reason is Reason.OWN_RESULT


def drawn_at(rows: int, columns: int, **attributes: Any) -> Dataset:
    """Return the heatmap of a film of 250 x 204 pixels, drawn in this size above a legend."""
    header = full_header()
    header.Rows, header.Columns = 250, 204
    for keyword, value in attributes.items():
        setattr(header, keyword, value)
    rgb = np.zeros((rows + 30, columns, 3), dtype=np.uint8)
    return build_capture(replace(capture_content(header, rgb=rgb), legend_rows=30))


@pytest.mark.parametrize("size", [(250, 204), (100, 82)])
@pytest.mark.parametrize(
    "keyword", ["PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"]
)
def test_the_film_has_its_size_in_every_picture(
    keyword: str, size: tuple[int, int], tmp_path: Path
) -> None:
    attributes: dict[str, Any] = {keyword: [0.143, 0.15]}
    ds = drawn_at(*size, **attributes)
    height, width = (float(side) for side in ds[keyword].value)
    assert height * size[0] == pytest.approx(0.143 * 250, rel=1e-7)
    assert width * size[1] == pytest.approx(0.15 * 204, rel=1e-7)
    assert "PixelAspectRatio" not in ds
    path = written(ds, tmp_path)
    assert validate(path) == []
    others = [line for line in warnings(path) if "Extended" not in line]
    # The module has no ImagerPixelSpacing.
    assert len(others) == 1 + (keyword == "ImagerPixelSpacing")


def test_a_calibrated_spacing_says_so(tmp_path: Path) -> None:
    ds = drawn_at(
        100,
        82,
        PixelSpacing=[0.13, 0.13],
        ImagerPixelSpacing=[0.143, 0.143],
        PixelSpacingCalibrationType="FIDUCIAL",
        PixelSpacingCalibrationDescription="by a ball",
    )
    assert ds.PixelSpacingCalibrationType == "FIDUCIAL"
    assert ds.PixelSpacingCalibrationDescription == "by a ball"
    assert float(ds.PixelSpacing[0]) == pytest.approx(0.325)
    assert float(ds.ImagerPixelSpacing[0]) == pytest.approx(0.3575)
    assert validate(written(ds, tmp_path)) == []


@pytest.mark.parametrize(
    ("size", "film", "ratio"),
    [
        ((250, 204), None, None),
        ((250, 204), [2, 1], [2, 1]),
        # A pixel is 2.5 rows high and 204 / 82 columns wide.
        ((100, 82), None, [205, 204]),
        ((100, 82), [2, 1], [205, 102]),
    ],
)
def test_pixels_of_no_known_size_have_their_proportions(
    size: tuple[int, int], film: list[int] | None, ratio: list[int] | None, tmp_path: Path
) -> None:
    attributes: dict[str, Any] = {"PixelAspectRatio": film} if film else {}
    ds = drawn_at(*size, **attributes)
    assert (list(ds.PixelAspectRatio) if "PixelAspectRatio" in ds else None) == ratio
    assert validate(written(ds, tmp_path)) == []


@pytest.mark.parametrize("spacing", [[0, 0], [0.1, 0.9], "no number"])
def test_a_spacing_that_no_film_has_is_left_out(spacing: Any) -> None:
    header = full_header()
    header[0x00280030] = DataElement(0x00280030, "LO", spacing, already_converted=True)
    ds = build_capture(capture_content(header))
    assert "PixelSpacing" not in ds
    assert "PixelAspectRatio" not in ds


def test_a_reduced_film_says_so_and_lies_as_it_is_stored() -> None:
    ds = drawn_at(100, 82)
    assert "82 x 100 of its 204 x 250 pixels (columns x rows), scale 0.4." in (
        ds.DerivationDescription
    )
    assert "Its legend is below the film, from row 101." in ds.DerivationDescription
    assert list(ds.PatientOrientation) == ["L", "F"]
    assert ds.SourceImageSequence[0].SpatialLocationsPreserved == "NO"
    whole = drawn_at(250, 204)
    assert "204 x 250 of its 204 x 250 pixels" in whole.DerivationDescription
    assert whole.SourceImageSequence[0].SpatialLocationsPreserved == "YES"


def test_the_description_is_whole_with_long_names() -> None:
    content = capture_content(full_header())
    model = replace(content.envelope.algorithm, name="m" * 200, version="1." * 40)
    ds = build_capture(
        replace(content, envelope=replace(content.envelope, algorithm=model), location="x " * 80)
    )
    assert ds.DerivationDescription.endswith("not for diagnosis or treatment.")


@pytest.mark.parametrize("vr", ["AT", "SQ", "FD"])
def test_an_element_of_a_wrong_type_is_left_out(vr: str) -> None:
    header = full_header()
    header.LossyImageCompression = "01"
    values: dict[str, Any] = {"AT": 0x00080008, "SQ": [Dataset()], "FD": 1.5}
    for tag in (0x00282112, 0x00282114):
        header[tag] = DataElement(tag, vr, values[vr], already_converted=True)
    item = header.RequestAttributesSequence[0]
    item[0x00401001] = RawDataElement(Tag(0x00401001), "ZZ", 2, b"1 ", 0, False, True)
    ds = build_capture(capture_content(header))
    assert not ds.get("LossyImageCompressionRatio")
    assert 0x00401001 not in ds.RequestAttributesSequence[0]
    assert ds.RequestAttributesSequence[0].ScheduledProcedureStepID == "SPS-1"
    jpeg_copy(ds, sop_instance_uid="2.25.1", series_instance_uid="2.25.2", series_number=1)
    to_bytes(ds)


def test_an_element_without_a_type_is_read_by_the_dictionary() -> None:
    header = full_header()
    header.set_original_encoding(False, True, "iso8859")
    item = header.RequestAttributesSequence[0]
    item.set_original_encoding(False, True, "iso8859")
    item[0x00401001] = RawDataElement(Tag(0x00401001), None, 2, b"RP", 0, False, True)
    ds = build_capture(capture_content(header))
    [copied] = pydicom.dcmread(BytesIO(to_bytes(ds))).RequestAttributesSequence
    assert copied.RequestedProcedureID == "RP"
