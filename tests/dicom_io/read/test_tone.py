"""Grey scales of headers that do not show the pixels: what is ignored, and what replaces it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import JPEG2000Lossless, RLELossless

from daemon.analyse.reader.film import Refusal
from daemon.analyse.reader.gate_and_decode import DecodedFilm, gate_and_decode
from dicom_io.gate.reasons import Reason
from dicom_io.gate.rules import Rules
from dicom_io.phantom import PhantomFilm, draw
from dicom_io.read.image_header import ImageHeader, read_image
from dicom_io.read.pixels import DisplayImage, display_pixels
from dicom_io.read.tone import DECLARED
from tests.builders.images.films import chest_film, file_bytes, lut_item
from tests.tools.paths import field_case

Values = NDArray[np.int64]

PICTURE = np.asarray(draw(PhantomFilm("P", "S", rows=256, columns=224)), dtype=np.float64)
PICTURE = (PICTURE - PICTURE.min()) / np.ptp(PICTURE)
GREY = np.rint(PICTURE * 255)
RANGE = "shown by the smallest and the largest value"


def stored(bits: int) -> Values:
    """Return the picture over the full range of `bits`."""
    values: Values = np.rint(PICTURE * (2**bits - 1)).astype(np.int64)
    return values


def window(centre: Any, width: Any, **more: Any) -> dict[str, Any]:
    return {"WindowCenter": centre, "WindowWidth": width, **more}


def curve(bits: int) -> Values:
    entries: Values = np.rint((2**bits - 1) * np.arange(4096) / 4095).astype(np.int64)
    return entries


def table(bits: int, first: int = 0, says: int = 16) -> Dataset:
    return lut_item(first, curve(bits), says, as_bytes=True)


def shown(ds: Dataset) -> DisplayImage:
    return display_pixels(read_image(file_bytes(ds)))


def said_short(ds: Dataset, bits: int) -> Dataset:
    ds.BitsStored, ds.HighBit = bits, bits - 1
    return ds


def short_table(bits: int) -> Dataset:
    """Return a LUT that ends at the largest value of so many bits."""
    return lut_item(0, np.arange(2**bits), bits, as_bytes=True)


def cut_table(entries: int) -> Dataset:
    """Return a table that declares 4096 entries of 12 bits and holds fewer."""
    item = lut_item(0, np.arange(4096), 12, as_bytes=True)
    item.LUTData = item.LUTData[: 2 * entries]
    return item


def said_high(ds: Dataset, high_bit: int) -> Dataset:
    ds.HighBit = high_bit
    return ds


def said_signed(ds: Dataset) -> Dataset:
    ds.PixelRepresentation = 1
    return ds


DEGENERATE: dict[str, tuple[Callable[[], Dataset], tuple[str, ...]]] = {
    "LUT says 16 bits for 12": (
        lambda: chest_film(stored(12), VOILUTSequence=[table(12)]),
        ("the VOI LUT says 16 bits and its largest entry is 4095: scaled by the largest entry",),
    ),
    "LUT says 16 bits for 10": (
        lambda: chest_film(stored(12), VOILUTSequence=[table(10)]),
        ("the VOI LUT says 16 bits and its largest entry is 1023: scaled by the largest entry",),
    ),
    "LUT beside the pixels, then another": (
        lambda: chest_film(stored(12), VOILUTSequence=[table(16, 8000), table(16)]),
        ("by VOI LUT 1, pixels from 0 to 4095 differ by 0 of 255", "shown by VOI LUT 2"),
    ),
    "LUT beside the pixels, then a window": (
        lambda: chest_film(stored(12), VOILUTSequence=[table(16, 8000)], **window(2048, 4096)),
        ("by the VOI LUT, pixels", "shown by WindowCenter 2048 and WindowWidth 4096"),
    ),
    "LUT with a quarter of its entries": (
        lambda: chest_film(stored(12), VOILUTSequence=[cut_table(1024)]),
        ("of the pixels lie beyond its 1024 entries of 4096: ignored", RANGE),
    ),
    "modality LUT beside the pixels": (
        lambda: chest_film(stored(12), ModalityLUTSequence=[table(12, 8000)]),
        ("100% of the pixels lie outside the Modality LUT, which covers 8000 to 12095: ignored",),
    ),
    "window below all pixels": (
        lambda: chest_film(stored(15) + 12000, bits_stored=16, **window(3174, 2426)),
        ("by WindowCenter 3174 and WindowWidth 2426, pixels from 12000 to 44767", RANGE),
    ),
    "window above all pixels": (
        lambda: chest_film(stored(12), **window(40000, 300)),
        ("by WindowCenter 40000 and WindowWidth 300", f"{RANGE}, 0 to 4095"),
    ),
    "12-bit window on 16-bit pixels": (
        lambda: chest_film(stored(16), bits_stored=16, **window(2048, 4096)),
        ("by WindowCenter 2048 and WindowWidth 4096", "of the pixels are", RANGE),
    ),
    "16-bit window on 12-bit pixels": (
        lambda: chest_film(stored(12), bits_stored=16, **window(32768, 65536)),
        ("by WindowCenter 32768 and WindowWidth 65536, pixels from 0 to 4095", RANGE),
    ),
    "sigmoid for 12 bits on 16-bit pixels": (
        lambda: chest_film(
            stored(16), bits_stored=16, **window(1000, 900, VOILUTFunction="SIGMOID")
        ),
        ("by WindowCenter 1000 and WindowWidth 900", RANGE),
    ),
    "first of two windows": (
        lambda: chest_film(stored(12), **window([-900, 2048], [300, 4096])),
        ("by WindowCenter -900", "shown by WindowCenter 2048 and WindowWidth 4096"),
    ),
    "8-bit pixels": (
        lambda: chest_film(stored(8), bits_stored=8, **window(2048, 4096)),
        ("by WindowCenter 2048", "shown as 8-bit values are"),
    ),
    "inverse": (
        lambda: chest_film(
            4095 - stored(12), photometric="MONOCHROME1", VOILUTSequence=[table(12)]
        ),
        ("scaled by the largest entry",),
    ),
    "BitsStored 10 of 12": (
        lambda: said_short(chest_film(stored(12)), 10),
        ("BitsStored is 10, the pixels need 12 bits: all bits are read",),
    ),
    "BitsStored 8 of 12": (
        lambda: said_short(chest_film(stored(12)), 8),
        ("BitsStored is 8, the pixels need 12 bits: all bits are read",),
    ),
    "BitsStored 10 of 12 with a window for 10": (
        lambda: said_short(chest_film(stored(12), **window(512, 1024)), 10),
        (
            "BitsStored is 10, the pixels need 12 bits",
            "those above BitsStored, do not differ",
            RANGE,
        ),
    ),
    "BitsStored 11 of 12 with a LUT for 11": (
        lambda: said_short(chest_film(stored(12), VOILUTSequence=[short_table(11)]), 11),
        (
            "BitsStored is 11, the pixels need 12 bits",
            "those above BitsStored, do not differ",
            RANGE,
        ),
    ),
    "HighBit 15 with the pixels below": (
        lambda: said_high(chest_film(stored(12), **window(2048, 4096)), 15),
        ("HighBit is 15, the pixels lie in the lowest 12 bits: read there",),
    ),
    "HighBit below BitsStored": (
        lambda: said_high(chest_film(stored(12), bits_stored=16, **window(2048, 4096)), 11),
        ("HighBit is 11, BitsStored is 16: HighBit is taken as 15",),
    ),
    "HighBit 13 with the pixels below": (
        lambda: said_high(chest_film(stored(12), **window(2048, 4096)), 13),
        ("HighBit is 13, the pixels lie in the lowest 12 bits: read there",),
    ),
    "BitsStored 12 of 13 signed bits": (
        lambda: said_short(chest_film(stored(13) - 4096, bits_stored=16, signed=True), 12),
        ("BitsStored is 12, the pixels need 13 bits: all bits are read",),
    ),
    "signed flag": (
        lambda: said_signed(chest_film(stored(12))),
        ("PixelRepresentation says signed, the pixels are unsigned: read as unsigned",),
    ),
    "signed flag on 16 bits with a window": (
        lambda: said_signed(chest_film(stored(16), bits_stored=16, **window(32768, 65536))),
        ("PixelRepresentation says signed, the pixels are unsigned: read as unsigned",),
    ),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_a_degenerate_grey_scale_is_replaced_and_noted(name: str) -> None:
    make, notes = DEGENERATE[name]
    image = shown(make())
    assert np.abs(image.array - GREY).mean() < 1
    for note in notes:
        assert any(note in said for said in image.notes), image.notes


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_pixels_are_checked_too(syntax: str) -> None:
    film = chest_film(stored(12))
    film.compress(syntax, generate_instance_uid=False)
    assert np.abs(shown(said_short(film, 10)).array - GREY).mean() < 1
    assert np.abs(shown(said_signed(said_short(film, 12))).array - GREY).mean() < 1


def in_border(values: Values, share: float, border: int) -> Values:
    """Return the picture in a frame of one value that takes this share of the image."""
    rows, columns = (round(side / (1 - share) ** 0.5) for side in values.shape)
    framed = np.full((rows, columns), border)
    framed[: values.shape[0], : values.shape[1]] = values
    return framed


SOUND: dict[str, Callable[[], Dataset]] = {
    "window": lambda: chest_film(stored(12), **window(1700, 2800)),
    "narrow window": lambda: chest_film(stored(12), **window(1700, 900)),
    "8 bits": lambda: chest_film(stored(8), bits_stored=8),
    "LUT": lambda: chest_film(stored(12), VOILUTSequence=[table(12, says=12)]),
    "LUT of 16 bits up to 40000": lambda: chest_film(
        stored(12), VOILUTSequence=[lut_item(0, curve(16) * 40000 // 65535, 16, as_bytes=True)]
    ),
    "collimated to a fiftieth": lambda: chest_film(
        in_border(stored(12), 0.98, 0), **window(2048, 4096)
    ),
    "white around": lambda: chest_film(in_border(stored(12), 0.9, 4095), **window(1500, 3000)),
    "negative output to a LUT whose first value is written unsigned": lambda: chest_film(
        stored(12),
        RescaleSlope=1,
        RescaleIntercept=-2048,
        VOILUTSequence=[table(12, first=65536 - 2048, says=12)],
    ),
    "signed": lambda: chest_film(stored(12) - 1024, bits_stored=13, signed=True),
    "signed and far padding": lambda: chest_film(
        in_border(stored(12), 0.3, -32768), bits_stored=16, signed=True, **window(2048, 4096)
    ),
    "overlay in the upper bits": lambda: chest_film(
        stored(12) | np.where(np.indices(PICTURE.shape).sum(0) % 9 < 3, 0x8000, 0),
        **window(2048, 4096),
    ),
    "garbage in the upper bits": lambda: chest_film(stored(12) | 0x5000, **window(2048, 4096)),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_grey_scale_that_shows_the_pixels_is_kept(name: str) -> None:
    header = read_image(file_bytes(SOUND[name]()))
    image = display_pixels(header)
    assert image.tone == DECLARED
    values = SOUND[name]().pixel_array.astype(np.int64)
    if header.layout.bits_stored == 12:
        values &= 0xFFF
    scale = header.grey_scale
    grey, _ = scale.voi(scale.modality(values.astype(np.float64)), np.ones(values.shape, bool))
    assert (image.array == np.rint(grey * 255)).all()


BLANK: dict[str, Values] = {
    "one value": np.full((256, 224), 30000),
    "a little noise": 30000 + np.random.default_rng(1).integers(-3, 4, (256, 224)),
    "noise of a detector": 30000
    + np.rint(np.random.default_rng(1).normal(0, 150, (256, 224))).astype(np.int64),
}


@pytest.mark.parametrize("name", BLANK)
def test_a_blank_film_stays_blank_and_names_the_window(name: str) -> None:
    film = chest_film(BLANK[name], bits_stored=16, **window(3174, 2426))
    outcome = gate_and_decode(file_bytes(film), Rules())
    assert isinstance(outcome, Refusal)
    assert outcome.reason is Reason.BLANK_IMAGE
    assert any("WindowCenter 3174 and WindowWidth 2426" in note for note in outcome.notes)
    assert any("no other tone shows a picture" in note for note in outcome.notes)


def test_padding_and_shutter_take_no_part() -> None:
    values = stored(11)
    values[:, :100] = 4000
    values[:40] = 3000
    film = chest_film(values, **window(-900, 100))
    film.add_new("PixelPaddingValue", "US", 4000)
    film.ShutterShape = "RECTANGULAR"
    film.ShutterLeftVerticalEdge, film.ShutterRightVerticalEdge = 1, values.shape[1]
    film.ShutterUpperHorizontalEdge, film.ShutterLowerHorizontalEdge = 41, values.shape[0]
    inner = values[40:, 100:]
    image = shown(film)
    assert any(f"{RANGE}, {inner.min()} to {inner.max()}" in note for note in image.notes)
    assert (image.array[:40] == 0).all()
    assert (image.array[:, :100] == 0).all()
    wanted = (inner - inner.min()) / np.ptp(inner) * 255
    assert np.abs(image.array[40:, 100:] - wanted).max() <= 1


def test_one_hot_pixel_does_not_darken_the_film() -> None:
    values = stored(12)
    values[0, 0] = 65535
    image = shown(chest_film(values, bits_stored=16))
    assert np.percentile(image.array, 99) - np.percentile(image.array, 1) > 200
    assert any("the range of 98% of the pixels" in note for note in image.notes)


def test_the_callers_dataset_keeps_its_elements() -> None:
    film = said_short(chest_film(stored(12)), 10)
    film.compress(RLELossless, generate_instance_uid=False)
    before = film.to_json()
    display_pixels(ImageHeader.of(film))
    assert film.to_json() == before


FIELD_CASES = {
    "01_agfa_voilut_says16_has12.dcm": "the VOI LUT says 16 bits and its largest entry is 4095",
    "05_window_below_all_pixels.dcm": "WindowCenter 3174 and WindowWidth 2426",
    "05_12bit_window_on_16bit_pixels.dcm": "WindowCenter 2048 and WindowWidth 4096",
    "11_no_sequence_delimiter.dcm": "no sequence delimiter",
    "11_ff_after_pixels.dcm": "4096 bytes after the pixel data",
    "11_jpeg_without_EOI.dcm": "no end marker",
    "14_signed_flag_unsigned_pixels.dcm": "PixelRepresentation says signed",
    "14_rgb_without_planar.dcm": "PlanarConfiguration is absent",
}


@pytest.mark.parametrize("name", FIELD_CASES)
def test_a_film_from_the_field_looks_as_with_a_sound_header(name: str) -> None:
    film = gate_and_decode(field_case(name).read_bytes(), Rules())
    base = display_pixels(read_image(field_case("01_reference_says12_has12.dcm")))
    assert isinstance(film, DecodedFilm)
    assert any(FIELD_CASES[name] in note for note in film.notes)
    assert np.abs(film.pixels.astype(int) - base.array).mean() < 1.5
