import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from dicom_io.errors import ObjectError
from dicom_io.objects.classes import RESULT_CLASSES
from dicom_io.objects.compression import (
    HTJ2K,
    JPEG_2000,
    JPEG_BASELINE,
    RLE,
    compressed_picture,
    jpeg_copy,
    losslessly_compressed,
    picture_for_destination,
    uncompressed,
)
from dicom_io.objects.encode import to_bytes
from dicom_io.objects.secondary_capture import build_capture
from dicom_io.report.document import build_report
from tests.builders.objects import capture_content, full_header, report_content
from tests.tools.installed import require_tool
from tests.tools.validation import validate

SC = "1.2.840.10008.5.1.4.1.1.7"
PLAIN = str(ExplicitVRLittleEndian)


def drawn(rows: int = 64, columns: int = 48) -> np.ndarray:
    """A grey ramp with a coloured patch, as smooth as a film under a heatmap."""
    y, x = np.mgrid[0:rows, 0:columns]
    rgb = np.repeat((x * 4 + y)[..., None] % 256, 3, axis=2).astype(np.uint8)
    rgb[10:40, 10:30] = (220, 60, 20)
    return rgb


def picture(header: Dataset | None = None) -> Dataset:
    return build_capture(capture_content(header or full_header(), rgb=drawn()))


def as_jpeg(source: Dataset) -> bytes:
    return jpeg_copy(
        source, sop_instance_uid="2.25.77", series_instance_uid="2.25.78", series_number=9
    )


def read(data: bytes) -> Dataset:
    return pydicom.dcmread(BytesIO(data))


def without_pixels(ds: Dataset) -> Dataset:
    bare = Dataset()
    bare.update(ds)
    for keyword in ("PixelData", "PhotometricInterpretation"):
        del bare[keyword]
    return bare


@pytest.mark.parametrize(
    ("syntax", "photometric"), [(HTJ2K, "YBR_RCT"), (RLE, "RGB"), (JPEG_2000, "YBR_RCT")]
)
def test_a_lossless_syntax_keeps_instance_and_pixels(
    syntax: str, photometric: str, tmp_path: Path
) -> None:
    ds = picture()
    data = losslessly_compressed(to_bytes(ds), syntax)
    back = read(data)
    assert back.file_meta.TransferSyntaxUID == syntax
    assert back.PhotometricInterpretation == photometric
    assert without_pixels(back) == without_pixels(read(to_bytes(ds)))
    np.testing.assert_array_equal(pixel_array(back), drawn())
    assert data == losslessly_compressed(to_bytes(ds), syntax)
    path = tmp_path / "compressed.dcm"
    if syntax != HTJ2K:  # dciodvfy of 2023 does not know this syntax
        path.write_bytes(data)
        assert validate(path) == []
    plain = uncompressed(data)
    assert read(plain) == read(to_bytes(ds))
    path.write_bytes(plain)
    assert validate(path) == []


def test_a_picture_of_the_spool_is_a_codestream_of_its_syntax() -> None:
    ds = picture()
    data = compressed_picture(ds)
    assert data == losslessly_compressed(to_bytes(ds), HTJ2K)
    assert ds.PhotometricInterpretation == "RGB"
    stream = pydicom.encaps.get_frame(read(data).PixelData, 0, number_of_frames=1)
    # ISO/IEC 15444-1 A.4, A.6.1 and 15444-15 A.2: SOC, SIZ; a CAP marker; COD with 5/3 and RCT.
    assert stream[:4] == b"\xff\x4f\xff\x51"
    assert b"\xff\x50" in stream[:100]
    cod = stream.index(b"\xff\x52")
    assert stream[cod + 8] == 1
    assert stream[cod + 13] == 1


@pytest.mark.parametrize("columns", [47, 48])
def test_another_decoder_reads_the_pictures_of_the_spool(columns: int) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (63, columns, 3), dtype=np.uint8)
    ds = build_capture(capture_content(full_header(), rgb=rgb))
    data = compressed_picture(ds)
    theirs = pixel_array(read(data), decoding_plugin="pylibjpeg")
    np.testing.assert_array_equal(theirs, rgb)
    np.testing.assert_array_equal(read(uncompressed(data)).pixel_array, rgb)


def test_dcmtk_reads_the_header_of_a_picture_of_the_spool(tmp_path: Path) -> None:
    path = tmp_path / "picture.dcm"
    path.write_bytes(compressed_picture(picture()))
    shown = subprocess.run(
        [
            require_tool("dcmdump"),
            "+P",
            "PhotometricInterpretation",
            "+P",
            "TransferSyntaxUID",
            path,
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "YBR_RCT" in shown


def test_damaged_pixels_of_the_spool_are_refused() -> None:
    data = bytearray(compressed_picture(picture()))
    at = data.index(b"\xff\x4f\xff\x51")
    data[at : at + 40] = bytes(40)
    with pytest.raises(ObjectError, match="cannot be decoded"):
        uncompressed(bytes(data))


def test_gdcm_decodes_jpeg_2000() -> None:
    ds = read(losslessly_compressed(to_bytes(picture()), JPEG_2000))
    np.testing.assert_array_equal(pixel_array(ds, decoding_plugin="gdcm"), drawn())


def test_dcmtk_decodes_rle(tmp_path: Path) -> None:
    tool = require_tool("dcmdrle")
    path, decoded = tmp_path / "rle.dcm", tmp_path / "decoded.dcm"
    path.write_bytes(losslessly_compressed(to_bytes(picture()), RLE))
    subprocess.run([tool, str(path), str(decoded)], check=True)
    np.testing.assert_array_equal(pydicom.dcmread(decoded).pixel_array, drawn())


def test_a_jpeg_copy_is_another_instance_that_names_its_predecessor() -> None:
    original = picture()
    ds = read(as_jpeg(original))
    assert ds.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert (ds.SOPInstanceUID, ds.SeriesInstanceUID) == ("2.25.77", "2.25.78")
    assert ds.file_meta.MediaStorageSOPInstanceUID == "2.25.77"
    film, predecessor = ds.SourceImageSequence
    assert film.ReferencedSOPInstanceUID == full_header().SOPInstanceUID
    assert predecessor.ReferencedSOPInstanceUID == original.SOPInstanceUID
    assert predecessor.PurposeOfReferenceCodeSequence[0].CodeValue == "121320"
    assert [code.CodeValue for code in ds.DerivationCodeSequence] == ["130403", "113040"]
    assert ds.ImageType[0] == "DERIVED"
    assert original.LossyImageCompression == "00"
    assert len(original.SourceImageSequence) == 1


def test_a_jpeg_copy_records_ratio_and_method() -> None:
    ds = read(as_jpeg(picture()))
    assert ds.LossyImageCompression == "01"
    assert ds.LossyImageCompressionMethod == "ISO_10918_1"
    fragment = pydicom.encaps.get_frame(ds.PixelData, 0, number_of_frames=1)
    assert float(ds.LossyImageCompressionRatio) == pytest.approx(drawn().size / len(fragment), 0.01)
    assert ds.DerivationDescription.startswith("JPEG baseline, quality 90")


def test_a_jpeg_copy_of_a_lossy_film_lists_both_steps(tmp_path: Path) -> None:
    header = full_header()
    header.LossyImageCompression = "01"
    header.LossyImageCompressionRatio = ["10"]
    header.LossyImageCompressionMethod = ["ISO_15444_1"]
    data = as_jpeg(picture(header))
    ds = read(data)
    assert list(ds.LossyImageCompressionMethod) == ["ISO_15444_1", "ISO_10918_1"]
    assert float(ds.LossyImageCompressionRatio[0]) == 10
    assert len(ds.LossyImageCompressionRatio) == 2
    path = tmp_path / "copy.dcm"
    path.write_bytes(data)
    assert validate(path) == []


def test_the_jpeg_stream_is_sampled_as_its_header_says() -> None:
    ds = read(as_jpeg(picture()))
    assert (ds.PhotometricInterpretation, ds.SamplesPerPixel) == ("YBR_FULL_422", 3)
    stream = pydicom.encaps.get_frame(ds.PixelData, 0, number_of_frames=1)
    start = stream.index(b"\xff\xc0")
    sampling = [stream[start + 11 + 3 * component] for component in range(3)]
    # Two luminance samples per row for each chrominance sample: 4:2:2.
    assert sampling == [0x21, 0x11, 0x11]


def test_the_jpeg_copy_looks_like_the_original() -> None:
    ds = read(as_jpeg(picture()))
    difference = np.abs(pixel_array(ds).astype(int) - drawn())
    assert difference.mean() < 3
    assert difference[14:36, 14:26].max() < 20


def test_dcmtk_decodes_the_jpeg_copy(tmp_path: Path) -> None:
    tool = require_tool("dcmdjpeg")
    path, decoded = tmp_path / "jpeg.dcm", tmp_path / "decoded.dcm"
    path.write_bytes(as_jpeg(picture()))
    assert validate(path) == []
    subprocess.run([tool, str(path), str(decoded)], check=True)
    theirs = pydicom.dcmread(decoded)
    assert theirs.PhotometricInterpretation == "RGB"
    assert np.abs(theirs.pixel_array.astype(int) - drawn()).mean() < 3


@pytest.mark.parametrize("syntax", [HTJ2K, RLE, JPEG_2000])
@pytest.mark.parametrize("stored", [to_bytes, compressed_picture], ids=["plain", "spool"])
def test_a_destination_gets_its_preferred_syntax_only_where_it_accepted_it(
    stored: Callable[[Dataset], bytes], syntax: str
) -> None:
    data, plain = stored(picture()), read(to_bytes(picture()))
    preferred = read(picture_for_destination(data, syntax, {SC: (PLAIN, syntax)}))
    assert preferred.file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(pixel_array(preferred), drawn())
    assert read(picture_for_destination(data, syntax, {SC: (PLAIN,)})) == plain
    assert read(picture_for_destination(data, None, {SC: (PLAIN, syntax)})) == plain
    assert read(picture_for_destination(data, syntax, {})) == plain


def test_a_jpeg_that_is_refused_goes_uncompressed_and_stays_marked_as_lossy() -> None:
    data = as_jpeg(picture())
    assert picture_for_destination(data, JPEG_BASELINE, {SC: (PLAIN, JPEG_BASELINE)}) == data
    ds = read(picture_for_destination(data, JPEG_BASELINE, {SC: (PLAIN,)}))
    assert ds.file_meta.TransferSyntaxUID == PLAIN
    assert (ds.SOPInstanceUID, ds.LossyImageCompression) == ("2.25.77", "01")
    assert ds.PhotometricInterpretation == "RGB"
    np.testing.assert_array_equal(ds.pixel_array, pixel_array(read(data)))


def test_an_object_that_is_not_a_picture_is_returned_unchanged() -> None:
    report = to_bytes(build_report(report_content(full_header())))
    accepted = dict.fromkeys(RESULT_CLASSES, (PLAIN, JPEG_2000))
    assert picture_for_destination(report, JPEG_2000, accepted) == report


@pytest.mark.parametrize(
    "change",
    [lambda data: losslessly_compressed(data, JPEG_2000), lambda data: uncompressed(data)],
    ids=["compress", "decompress"],
)
def test_a_picture_without_pixels_is_refused(change: Callable[[bytes], bytes]) -> None:
    ds = picture()
    del ds.PixelData
    with pytest.raises(ObjectError, match="the picture cannot be"):
        change(to_bytes(ds))
