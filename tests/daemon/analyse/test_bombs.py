"""Compressed images that claim more than they hold, or lie about where it is."""

import struct
from collections.abc import Iterator

import numpy as np
import pytest
from pydicom.encaps import encapsulate, generate_fragments
from pydicom.uid import JPEG2000Lossless, RLELossless

from daemon.analyse.reader.decoder_pool import DecoderLimits, DecoderPool
from daemon.analyse.reader.film import Film, Refusal
from dicom_io.gate.reasons import Reason
from tests.builders.images.films import chest_film, chest_values, file_bytes
from tests.builders.made_checks import PLAIN

SIDE = 400
VALUES = chest_values(SIDE, SIDE)
SIZ_FIELDS = {"width": 8, "height": 12, "left": 16, "top": 20, "tile_width": 24, "tile_height": 28}
"""From the start of a JPEG 2000 codestream (ITU-T T.800 A.5.1)."""
RUN_OF_128 = bytes([0x81, 0x00])
ITEM, END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0" + bytes(4)


def compressed(syntax: str, plugin: str) -> bytes:
    film = chest_film(VALUES)
    film.compress(syntax, encoding_plugin=plugin)
    fragments = generate_fragments(film.PixelData)
    next(fragments)
    return b"".join(fragments)


J2K = compressed(JPEG2000Lossless, "pylibjpeg")


def j2k(**fields: int) -> bytes:
    """The compressed film with other numbers in its header."""
    frame = bytearray(J2K)
    for name, value in fields.items():
        struct.pack_into(">I", frame, SIZ_FIELDS[name], value)
    return bytes(frame)


def rle(*offsets: int, runs: int) -> bytes:
    """Segments that begin at the offsets, and as many runs of 128 zeros (PS3.5 G)."""
    head = [len(offsets), *offsets]
    return struct.pack("<16L", *head, *[0] * (16 - len(head))) + RUN_OF_128 * runs


def film_of(pixel_data: bytes, syntax: str = JPEG2000Lossless, side: int = SIDE) -> bytes:
    film = chest_film(VALUES, syntax=syntax)
    film.Rows = film.Columns = side
    film.PixelData = pixel_data
    film["PixelData"].is_undefined_length = True
    return file_bytes(film)


def items(*values: bytes) -> bytes:
    return b"".join(ITEM + struct.pack("<L", len(value)) + value for value in values) + END


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    opened = DecoderPool(PLAIN, DecoderLimits(seconds=30, memory_mb=1024))
    opened.warm_up()
    yield opened
    outcome = opened.read(film_of(encapsulate([J2K])))
    assert isinstance(outcome, Film)


@pytest.mark.parametrize(
    ("frame", "side", "reason"),
    [
        (j2k(width=60_000, height=60_000), 60_000, Reason.UNDECODABLE_PIXELS),
        (j2k(width=9_000, height=9_000), SIDE, Reason.UNDECODABLE_PIXELS),
        (j2k(tile_width=1, tile_height=1), SIDE, Reason.UNDECODABLE_PIXELS),
        (
            j2k(width=2**32 - 1, height=2**32 - 1, left=2**32 - 401, top=2**32 - 401),
            SIDE,
            Reason.UNDECODABLE_PIXELS,
        ),
        (
            j2k(width=2_000, height=2_000, tile_width=20, tile_height=20),
            2_000,
            Reason.BLANK_IMAGE,
        ),
    ],
    ids=["pixels", "pixels undeclared", "tiles", "far origin", "empty tiles"],
)
def test_a_jpeg_2000_image_that_claims_more_than_it_holds_is_refused_with_a_reason(
    pool: DecoderPool, frame: bytes, side: int, reason: Reason
) -> None:
    outcome = pool.read(film_of(encapsulate([frame]), side=side))
    assert isinstance(outcome, Refusal)
    assert outcome.reason is reason
    assert "NoneType" not in outcome.detail


@pytest.mark.parametrize(
    ("frame", "side", "reason"),
    [
        (rle(64, 64 + 800_000, runs=800_000), SIDE, Reason.BLANK_IMAGE),
        (rle(64, 64 + 8_000, runs=8_000), 9_999, Reason.UNDECODABLE_PIXELS),
        (rle(64, 2**32 - 16, runs=4_000), SIDE, Reason.UNDECODABLE_PIXELS),
        (rle(64, 64, runs=800_000), SIDE, Reason.UNDECODABLE_PIXELS),
        (struct.pack("<16L", *[2**32 - 1] * 16), SIDE, Reason.UNDECODABLE_PIXELS),
    ],
    ids=["too much", "too little", "segment outside", "one segment twice", "segments"],
)
def test_an_rle_image_that_claims_more_than_it_holds_is_refused_with_a_reason(
    pool: DecoderPool, frame: bytes, side: int, reason: Reason
) -> None:
    outcome = pool.read(film_of(encapsulate([frame]), RLELossless, side))
    assert isinstance(outcome, Refusal)
    assert outcome.reason is reason


@pytest.mark.parametrize(
    "table",
    [
        b"",
        struct.pack("<L", 2**31 - 256),
        struct.pack("<L", 3),
        struct.pack("<2L", 4_000, 0),
        struct.pack("<50000L", *range(0, 400_000, 8)),
        b"\0\0",
    ],
    ids=["none", "outside", "within an item", "backwards", "many", "half an offset"],
)
def test_the_only_frame_is_decoded_with_any_offset_table(pool: DecoderPool, table: bytes) -> None:
    fragments = [J2K[:1000], *[b""] * 1000, J2K[1000:] + b"\0" * (len(J2K) % 2)]
    outcome = pool.read(film_of(items(table, *fragments)))
    whole = pool.read(film_of(encapsulate([J2K])))
    assert isinstance(outcome, Film)
    assert isinstance(whole, Film)
    assert np.array_equal(outcome.picture, whole.picture)


@pytest.mark.parametrize(
    ("offsets", "lengths"),
    [((0,), (10,)), ((2**62,), (2**62,)), (range(10_000), [9] * 10_000)],
    ids=["too short", "outside", "many"],
)
def test_the_only_frame_is_decoded_with_any_extended_offset_table(
    pool: DecoderPool, offsets: list[int], lengths: list[int]
) -> None:
    film = chest_film(
        VALUES,
        syntax=JPEG2000Lossless,
        ExtendedOffsetTable=struct.pack(f"<{len(offsets)}Q", *offsets),
        ExtendedOffsetTableLengths=struct.pack(f"<{len(lengths)}Q", *lengths),
    )
    film.PixelData = encapsulate([J2K], has_bot=False)
    film["PixelData"].is_undefined_length = True
    assert isinstance(pool.read(file_bytes(film)), Film)


def test_a_million_fragments_are_refused(pool: DecoderPool) -> None:
    outcome = pool.read(film_of(items(b"", *[b"\0\0"] * 1_000_000)))
    assert isinstance(outcome, Refusal)
    assert outcome.reason is Reason.UNREADABLE_OBJECT


def test_pixel_data_without_a_fragment_is_refused(pool: DecoderPool) -> None:
    for pixel_data in (items(b""), items(b"", b"")):
        outcome = pool.read(film_of(pixel_data))
        assert isinstance(outcome, Refusal)
        assert outcome.reason is Reason.UNDECODABLE_PIXELS
