import contextlib
import math
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    HTJ2K,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dicom_io.errors import UndecodablePixelsError
from dicom_io.read.codestream import Codestream, read_j2k, read_jpeg
from dicom_io.read.header import read_dataset
from dicom_io.read.image_header import ImageHeader, read_image
from dicom_io.read.pixels import display_pixels
from tests.builders.images.films import chest_film, chest_values, file_bytes, lut_item
from tests.tools.installed import require_tool

CURVE_8 = np.rint(255 * np.linspace(0, 1, 1024) ** 2)
CURVE_16 = np.rint(65535 * np.linspace(0, 1, 300) ** 0.5)
MODALITY = np.rint(np.linspace(0, 4095, 4096) ** 1.1)


def window(centre: float, width: float, function: str | None = None) -> dict[str, Any]:
    return {"WindowCenter": centre, "WindowWidth": width, "VOILUTFunction": function}


def seen(ds: Dataset) -> NDArray[np.uint8]:
    """Return the rendering of the film after it was written and read."""
    return display_pixels(read_image(file_bytes(ds))).array


def declared(ds: Dataset, stored: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the film by the grey scale of its header, even if that hardly shows the film."""
    scale = read_image(file_bytes(ds)).grey_scale
    grey, _ = scale.voi(scale.modality(stored.astype(np.float64)), np.ones(stored.shape, bool))
    return np.rint(255 * (1 - grey if scale.is_inverted else grey))


def brightness(x: Any, voi: dict[str, Any], low: float, high: float) -> Any:
    """Return 0…1 for one modality value by the equations of PS3.3 C.11.2."""
    if "VOILUTSequence" in voi:
        item = voi["VOILUTSequence"][0]
        count, first, bits = (int(value) for value in item.LUTDescriptor)
        place = min(max(int(x) - first, 0), (count or 65536) - 1)
        entries = item.LUTData
        if isinstance(entries, bytes):
            return int.from_bytes(entries[2 * place : 2 * place + 2], "little") / (2**bits - 1)
        return entries[place] / (2**bits - 1)
    if not voi:
        return (x - low) / (high - low)
    c, w = voi["WindowCenter"], voi["WindowWidth"]
    if voi["VOILUTFunction"] == "SIGMOID":
        return 1 / (1 + math.exp(-4 * (x - c) / w))
    if voi["VOILUTFunction"] == "LINEAR_EXACT":
        if x <= c - w / 2:
            return 0.0
        return 1.0 if x > c + w / 2 else (x - c) / w + 0.5
    if x <= c - 0.5 - (w - 1) / 2:
        return 0.0
    return 1.0 if x > c - 0.5 + (w - 1) / 2 else (x - (c - 0.5)) / (w - 1) + 0.5


def expected(
    stored: NDArray[np.int64], voi: dict[str, Any], inverted: bool, slope: float, intercept: float
) -> NDArray[np.float64]:
    low, high = sorted(
        stored_end * slope + intercept for stored_end in (stored.min(), stored.max())
    )
    grey = {
        value: brightness(value * slope + intercept, voi, low, high)
        for value in np.unique(stored).tolist()
    }
    shown = np.array([grey[value] for value in stored.ravel().tolist()]).reshape(stored.shape)
    wanted: NDArray[np.float64] = 255 * (1 - shown if inverted else shown)
    return wanted


VOI: dict[str, dict[str, Any]] = {
    "none": {},
    "linear": window(300, 500),
    "linear, narrow": window(300, 2, "LINEAR"),
    "linear exact": window(300, 500, "LINEAR_EXACT"),
    "sigmoid": window(300, 500, "SIGMOID"),
    "8-bit LUT of 1024": {"VOILUTSequence": [lut_item(0, CURVE_8, 8)]},
    "16-bit LUT of 300": {"VOILUTSequence": [lut_item(100, CURVE_16, 16, as_bytes=True)]},
    "LUT before window": {"VOILUTSequence": [lut_item(7, CURVE_8, 8)], **window(1, 2)},
}


@pytest.mark.parametrize("name", VOI)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True])
def test_every_grey_chain_is_within_one_level_of_the_equations(
    name: str, photometric: str, signed: bool
) -> None:
    for bits, (slope, intercept) in product((10, 12, 15, 16), ((1, 0), (0.5, -20), (-1, 4000))):
        stored = chest_values(24, 20, bits) - (2 ** (bits - 1) if signed else 0)
        ds = chest_film(
            stored,
            bits_stored=bits,
            signed=signed,
            photometric=photometric,
            RescaleSlope=slope,
            RescaleIntercept=intercept,
            **VOI[name],
        )
        # A LUT is indexed by whole numbers; halves may round either way.
        usable = "VOILUTSequence" not in VOI[name] or slope != 0.5
        if not usable:
            continue
        wanted = expected(stored, VOI[name], photometric == "MONOCHROME1", slope, intercept)
        assert np.abs(declared(ds, stored) - wanted).max() <= 1, (bits, slope)


def test_eight_bits_without_voi_are_shown_as_they_are() -> None:
    stored = chest_values(40, 40, 8) // 2 + 20
    assert (seen(chest_film(stored, bits_stored=8)) == stored).all()
    flipped = seen(chest_film(stored, bits_stored=8, photometric="MONOCHROME1"))
    assert (flipped == 255 - stored).all()


def test_modality_lut_comes_before_the_window() -> None:
    stored = chest_values(40, 40, 12)
    ds = chest_film(stored, **window(4000, 6000))
    ds.ModalityLUTSequence = [lut_item(0, MODALITY, 16)]
    wanted = expected(MODALITY[stored].astype(np.int64), window(4000, 6000), False, 1, 0)
    assert np.abs(seen(ds) - wanted).max() <= 1


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME1", None, True),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", True),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME2", "INVERSE", True),
    ],
)
def test_polarity_is_inverted_at_most_once(
    photometric: str, shape: str | None, inverted: bool
) -> None:
    stored = chest_values(40, 40, 12)
    ds = chest_film(
        stored, photometric=photometric, PresentationLUTShape=shape, **window(2048, 4096)
    )
    wanted = expected(stored, window(2048, 4096), inverted, 1, 0)
    assert np.abs(seen(ds) - wanted).max() <= 1


def test_the_first_of_several_windows_counts() -> None:
    stored = chest_values(40, 40, 12)
    ds = chest_film(stored, WindowCenter=[300, 2000], WindowWidth=[500, 9])
    assert np.abs(seen(ds) - expected(stored, window(300, 500), False, 1, 0)).max() <= 1


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_takes_no_part_in_the_range(photometric: str) -> None:
    stored = chest_values(40, 40, 12) // 4 + 500
    padded = stored.copy()
    padded[:, :5] = 4000
    padded[:, 5] = 3990
    ds = chest_film(padded, photometric=photometric)
    ds.add_new("PixelPaddingValue", "US", 4000)
    ds.add_new("PixelPaddingRangeLimit", "US", 3990)
    shown = seen(ds)
    assert (shown[:, :6] == 0).all()
    inner = stored[:, 6:]
    plain = expected(inner, {}, photometric == "MONOCHROME1", 1, 0)
    assert np.abs(shown[:, 6:] - plain).max() <= 1


def test_signed_padding_written_as_unsigned_is_recognised() -> None:
    stored = chest_values(40, 40, 12) - 1000
    stored[:, :5] = -2000
    ds = chest_film(stored, bits_stored=16, signed=True)
    ds.add_new("PixelPaddingValue", "SS", -2000)
    assert (seen(ds)[:, :5] == 0).all()
    assert seen(ds)[:, 5:].max() == 255


@pytest.mark.parametrize(
    "broken",
    [window(100, 0), window(100, -5, "SIGMOID"), {"WindowCenter": 100}],
)
def test_an_unusable_window_is_noted_and_the_full_range_shown(broken: dict[str, Any]) -> None:
    stored = chest_values(40, 40, 12)
    image = display_pixels(read_image(file_bytes(chest_film(stored, **broken))))
    assert np.abs(image.array - expected(stored, {}, False, 1, 0)).max() <= 1
    assert any("window is unusable" in note for note in image.notes)


SYNTAXES = (
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_every_lossless_syntax_gives_the_same_picture(syntax: str, bits: int) -> None:
    stored = chest_values(64, 48, bits)
    plain = seen(chest_film(stored, bits_stored=bits, photometric="MONOCHROME1"))
    if syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
        ds = chest_film(stored, bits_stored=bits, photometric="MONOCHROME1")
        ds.compress(syntax, generate_instance_uid=False)
    else:
        ds = chest_film(stored, bits_stored=bits, photometric="MONOCHROME1", syntax=syntax)
    assert (seen(ds) == plain).all()


@pytest.mark.parametrize("option", ["+e1", "+el", "+eb", "+ee"])
def test_jpeg_as_dcmtk_writes_and_reads_it(tmp_path: Path, option: str) -> None:
    source, packed, unpacked = (tmp_path / f"{step}.dcm" for step in ("film", "jpeg", "plain"))
    source.write_bytes(file_bytes(chest_film(bits_stored=8 if option == "+eb" else 12)))
    subprocess.run([require_tool("dcmcjpeg"), option, source, packed], check=True)
    subprocess.run([require_tool("dcmdjpeg"), packed, unpacked], check=True)
    ours = display_pixels(read_image(packed)).array.astype(int)
    assert np.abs(ours - display_pixels(read_image(unpacked)).array).max() <= 1


@pytest.mark.parametrize("bits", [6, 7, 8, 12])
@pytest.mark.parametrize("option", ["+e1", "+el"])
def test_lossless_jpeg_of_any_depth_is_decoded(tmp_path: Path, option: str, bits: int) -> None:
    stored = chest_values(64, 48, bits)
    source, packed = tmp_path / "film.dcm", tmp_path / "jpeg.dcm"
    source.write_bytes(file_bytes(chest_film(stored, bits_stored=bits, **window(30, 60))))
    subprocess.run([require_tool("dcmcjpeg"), option, source, packed], check=True)
    # GDCM ends the process if the declared bits are fewer than those of the compressed image.
    assert (
        display_pixels(read_image(packed)).array == display_pixels(read_image(source)).array
    ).all()


@pytest.mark.parametrize(
    ("syntax", "name", "mean_error"),
    [
        (HTJ2KLossless, "htj2k_lossless", 0.0),
        (HTJ2KLosslessRPCL, "htj2k_lossless", 0.0),
        # 12 of 4095 values is what OpenJPH's own decoder gives for this file.
        (HTJ2K, "htj2k_lossy", 255 * 12 / 4095),
    ],
)
def test_high_throughput_jpeg_2000_is_decoded(syntax: str, name: str, mean_error: float) -> None:
    # Encoded by OpenJPH 0.26.3 from `chest_values()`, lossless in RPCL order.
    stream = (Path(__file__).parent / "codestreams" / f"{name}.j2c").read_bytes()
    full = window(2048, 4096)
    ds = chest_film(**full)
    ds.PixelData = encapsulate([stream])
    ds["PixelData"].VR = "OB"
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    error = np.abs(seen(ds).astype(int) - seen(chest_film(**full)))
    assert error.mean() <= mean_error + 0.1 * (mean_error > 0)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("function", ["LINEAR", "SIGMOID"])
def test_dcmtk_renders_the_same_window(tmp_path: Path, photometric: str, function: str) -> None:
    ds = chest_film(photometric=photometric, **window(1800, 2500, function))
    source, picture = tmp_path / "film.dcm", tmp_path / "film.pgm"
    source.write_bytes(file_bytes(ds))
    subprocess.run([require_tool("dcmj2pnm"), "+Wi", "1", "+op", source, picture], check=True)
    theirs = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE)
    assert theirs is not None
    assert np.abs(seen(ds).astype(int) - theirs).max() <= 1


def test_colour_is_shown_by_its_luma() -> None:
    red, green, blue = (np.full((8, 8), level) for level in (200, 100, 50))
    ds = chest_film(np.stack([red, green, blue], -1), bits_stored=8, photometric="RGB")
    assert abs(int(seen(ds)[0, 0]) - (0.299 * 200 + 0.587 * 100 + 0.114 * 50)) <= 1
    ybr = chest_film(
        np.stack([red, np.full((8, 8), 128), np.full((8, 8), 128)], -1),
        bits_stored=8,
        photometric="YBR_FULL",
    )
    assert abs(int(seen(ybr)[0, 0]) - 200) <= 1


def test_a_palette_is_looked_up() -> None:
    ds = chest_film(chest_values(16, 16, 8), bits_stored=8, photometric="PALETTE COLOR")
    ramp = (np.arange(256) * 257)[::-1].astype("<u2").tobytes()
    for colour in ("Red", "Green", "Blue"):
        ds.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [256, 0, 16])
        ds.add_new(f"{colour}PaletteColorLookupTableData", "OW", ramp)
    assert np.abs(seen(ds) - (255.0 - chest_values(16, 16, 8))).max() <= 1


def test_bits_above_and_below_the_stored_ones_are_dropped() -> None:
    stored = chest_values(16, 16, 12)
    shifted = chest_film((stored << 4) | 0x7, bits_stored=12)
    shifted.HighBit = 15
    overlay = chest_film(stored | 0xF000, bits_stored=12)
    wanted = seen(chest_film(stored))
    assert (seen(shifted) == wanted).all()
    assert (seen(overlay) == wanted).all()
    signed = chest_film((stored - 2048) & 0x0FFF | 0x5000, bits_stored=12)
    signed.PixelRepresentation = 1
    assert (seen(signed) == wanted).all()


def test_bits_above_the_stored_ones_are_dropped_from_compressed_pixels_too() -> None:
    stored = chest_values(64, 48, 12)
    film = chest_film(stored | 0xA000, bits_stored=16)
    film.compress(RLELossless, generate_instance_uid=False)
    film.BitsStored, film.HighBit = 12, 11
    assert (seen(film) == seen(chest_film(stored))).all()


def test_overlay_planes_are_not_drawn() -> None:
    film = chest_film()
    plain = seen(film)
    film.add_new(0x60000010, "US", film.Rows)
    film.add_new(0x60000011, "US", film.Columns)
    film.add_new(0x60000040, "CS", "G")
    film.add_new(0x60000050, "SS", [1, 1])
    film.add_new(0x60000100, "US", 1)
    film.add_new(0x60000102, "US", 0)
    film.add_new(0x60003000, "OW", b"\xff" * (film.Rows * film.Columns // 8))
    assert (seen(film) == plain).all()


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"Rows": 60000, "Columns": 60000}, "above the limit"),
        ({"Rows": 0}, "declares 0 x"),
        ({"Rows": 4000}, "cannot be decoded"),
        ({"BitsStored": 17}, "17 bits"),
        ({"PhotometricInterpretation": "CMYK"}, "CMYK"),
        ({"NumberOfFrames": 3}, "3 frames"),
        ({"SamplesPerPixel": 3}, "3 samples"),
    ],
)
def test_a_bad_layout_is_refused_in_one_line(attributes: dict[str, Any], message: str) -> None:
    ds = chest_film()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    with pytest.raises(UndecodablePixelsError, match=message) as caught:
        display_pixels(ImageHeader.of(ds))
    assert "\n" not in str(caught.value)
    assert not caught.value.retryable


def test_absent_pixels_and_layout_are_named() -> None:
    no_pixels, no_rows = chest_film(), chest_film()
    del no_pixels.PixelData
    del no_rows.Rows
    with pytest.raises(UndecodablePixelsError, match="no Pixel Data"):
        display_pixels(ImageHeader.of(no_pixels))
    with pytest.raises(UndecodablePixelsError, match="no usable Rows"):
        display_pixels(ImageHeader.of(no_rows))


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless], ids=lambda uid: uid.name)
def test_a_compressed_image_of_another_size_than_declared_is_refused(syntax: str) -> None:
    ds = chest_film(chest_values(400, 400, 12))
    ds.compress(syntax, generate_instance_uid=False)
    ds.Rows = ds.Columns = 128
    with pytest.raises(UndecodablePixelsError, match="compressed image is 400 x 400"):
        display_pixels(ImageHeader.of(ds))


def test_a_compressed_image_of_other_components_than_declared_is_refused() -> None:
    grey = chest_values(64, 48, 8)
    film = chest_film(np.stack([grey] * 3, -1), bits_stored=8, photometric="RGB")
    film.compress(JPEG2000Lossless, generate_instance_uid=False)
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, "MONOCHROME2"
    with pytest.raises(UndecodablePixelsError, match="has 3 components, the header says 1"):
        display_pixels(ImageHeader.of(film))


@pytest.mark.parametrize("declared", [6, 12, 16])
def test_a_compressed_image_of_another_depth_than_declared_does_not_end_the_process(
    tmp_path: Path, declared: int
) -> None:
    source, packed = tmp_path / "film.dcm", tmp_path / "jpeg.dcm"
    source.write_bytes(file_bytes(chest_film(bits_stored=8)))
    subprocess.run([require_tool("dcmcjpeg"), "+e1", source, packed], check=True)
    ds = read_dataset(packed)
    assert ds.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    ds.BitsAllocated = 8 if declared < 8 else 16
    ds.BitsStored, ds.HighBit = declared, declared - 1
    notes = display_pixels(ImageHeader.of(ds)).notes
    assert any("8 bits per sample" in note for note in notes) is (declared > 8)
    ds.BitsAllocated = 8
    ds.BitsStored, ds.HighBit = 8, 7
    assert display_pixels(ImageHeader.of(ds)).array.max() == 255


@pytest.mark.parametrize("option", ["+e1", "+ee", "+eb"])
def test_damage_before_a_jpeg_scan_does_not_end_the_process(tmp_path: Path, option: str) -> None:
    source, packed = tmp_path / "film.dcm", tmp_path / "jpeg.dcm"
    source.write_bytes(file_bytes(chest_film(chest_values(64, 48, 12))))
    subprocess.run([require_tool("dcmcjpeg"), option, source, packed], check=True)
    ds = read_dataset(packed)
    frame = get_frame(ds.PixelData, 0, number_of_frames=1)
    for at in range(2, frame.index(b"\xff\xda") + 10):
        for value in (0x00, 0x05, 0xFF):
            ds.PixelData = encapsulate([frame[:at] + bytes([value]) + frame[at + 1 :]])
            with contextlib.suppress(UndecodablePixelsError):
                display_pixels(ImageHeader.of(ds))


@pytest.mark.timeout(5)
@pytest.mark.parametrize("cut", [40, 400])
@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_truncated_compressed_pixels_raise_only_our_error(syntax: str, cut: int) -> None:
    ds = chest_film()
    ds.compress(syntax, generate_instance_uid=False)
    ds.PixelData = ds.PixelData[:cut]
    with pytest.raises(UndecodablePixelsError):
        display_pixels(ImageHeader.of(ds))


def test_the_layout_of_a_codestream_is_read_from_its_header() -> None:
    assert read_jpeg(b"") is None
    assert read_jpeg(b"\xff\xd8\xff\xda\0\0") is None
    start = b"\xff\xd8\xff\xe0\0\4ab\xff\xff\xc3\0\x0b\x0c"
    frame, scan = b"\1\2\3\4\1\1\x11\0", b"\xff\xda\0\x08"
    assert read_jpeg(start + frame + scan) == Codestream(0x102, 0x304, 1, 12)
    assert read_jpeg(start + frame) is None
    assert read_jpeg(start + frame + b"stray" + scan) is None
    jfif, adobe = b"\xff\xe0\0\x09JFIF\0\1\2", b"\xff\xee\0\x0eAdobe\0\0\0\0\0\0\1"
    assert read_jpeg(b"\xff\xd8" + jfif + adobe + start[2:] + frame + scan) is not None
    for unknown in (jfif.replace(b"\1\2", b"\xe5\2"), adobe.replace(b"\0\1", b"\0\x05")):
        assert read_jpeg(b"\xff\xd8" + unknown + start[2:] + frame + scan) is None
    assert read_j2k(b"\xff\x4f\xff\x51") is None
    film = chest_film(chest_values(80, 60, 12))
    film.compress(JPEG2000Lossless, generate_instance_uid=False)
    assert read_j2k(film.PixelData) == Codestream(80, 60, 1, 12)


def test_the_callers_dataset_stays_as_it_was() -> None:
    ds = chest_film(photometric="MONOCHROME1", **window(2000, 1000))
    before = ds.to_json()
    display_pixels(ImageHeader.of(ds))
    assert ds.to_json() == before


def test_damaged_real_files_raise_only_named_errors(data_folder: Path) -> None:
    real = data_folder / "dicom" / "real"
    for number, readable in (
        ("01", True),
        ("03", True),
        ("04", True),
        ("13", False),
        ("15", False),
    ):
        ds = read_dataset(next(real.glob(f"{number}_*")))
        if readable:
            assert display_pixels(ImageHeader.of(ds)).array.std() > 20
        else:
            with pytest.raises(UndecodablePixelsError):
                display_pixels(ImageHeader.of(ds))
