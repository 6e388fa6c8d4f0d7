"""Objects built to exhaust the parser are refused before they are parsed to the end."""

import struct
import zlib

import pytest
from pydicom import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from dicom_io.errors import NotDicomError
from dicom_io.objects.source_header import carry_over, copy_decoded
from dicom_io.read import bounded_parser as parsing
from dicom_io.read.bounded_parser import refuse_oversized_sequences
from dicom_io.read.header import items, numbers, read_dataset, read_header, text
from dicom_io.read.image_header import read_image_header
from tests.builders.images.films import chest_film, data_set_bytes, file_bytes
from tests.builders.images.mutations import elements

ENDLESS = 0xFFFFFFFF
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
OPEN_ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, ENDLESS)
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)

# Tags before and after the identifying attributes.
EARLY, LATE = (0x0008, 0x1140), (0x0040, 0x0275)


def element(tag: tuple[int, int], vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """Return an element with a length field of four bytes."""
    declared = len(value) if length is None else length
    return struct.pack("<HH2sHI", *tag, vr, 0, declared) + value


def film_with(extra: bytes) -> bytes:
    """Return a film with an extra element in ascending order."""
    film = file_bytes(chest_film())
    parts = list(elements(data_set_bytes(film), ExplicitVRLittleEndian))
    tag = struct.unpack_from("<HH", extra)
    at = next(i for i, part in enumerate(parts) if struct.unpack_from("<HH", part) >= tag)
    return film[: -sum(map(len, parts))] + b"".join([*parts[:at], extra, *parts[at:]])


MANY_ITEMS = ITEM * 1_000_000 + SEQUENCE_END
DEEP = (OPEN_ITEM + element(EARLY, b"SQ", b"", ENDLESS)) * 10_000
MANY = "a million items"
BOMBS = {
    MANY: (b"SQ", MANY_ITEMS, ENDLESS, "too many elements and sequence items"),
    "10,000 levels": (b"SQ", DEEP, ENDLESS, "nested far too deep"),
    "no end": (b"SQ", ITEM * 3, ENDLESS, "cannot be parsed"),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(MANY, marks=pytest.mark.slow), *(name for name in BOMBS if name != MANY)],
)
def test_the_listener_identifies_an_object_with_a_bomb_after_its_identification(name: str) -> None:
    vr, value, length, reason = BOMBS[name]
    bomb = film_with(element(LATE, vr, value, length))
    assert read_header(bomb).sop_class_uid
    with pytest.raises(NotDicomError, match=reason):
        read_dataset(bomb)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_before_the_identification_is_refused(name: str) -> None:
    vr, value, length, reason = BOMBS[name]
    with pytest.raises(NotDicomError, match=reason):
        read_header(film_with(element(EARLY, vr, value, length)))


def test_a_long_sequence_of_defined_length_is_skipped() -> None:
    film = film_with(element(EARLY, b"SQ", ITEM * 1_000_000))
    assert read_header(film).modality == "CR"
    ds = read_dataset(film)
    assert items(ds, "ReferencedImageSequence") == ()


def test_an_oversized_character_set_is_refused_before_it_is_split() -> None:
    bomb = film_with(element((0x0008, 0x0005), b"UT", b"\\" * 20_000_000))
    for read in (read_header, read_dataset):
        with pytest.raises(NotDicomError, match="SpecificCharacterSet"):
            read(bomb)


def test_a_large_private_value_is_skipped_and_left_out() -> None:
    film = film_with(element((0x0019, 0x1010), b"UN", bytes(5_000_000)))
    assert read_header(film).modality == "CR"
    assert (0x0019, 0x1010) in read_dataset(film)
    head = read_image_header(film).dataset
    assert (0x0019, 0x1010) not in head
    assert "PixelData" not in head
    assert head.Rows == 200


def test_a_header_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "MAX_HEADER_BYTES", 1 << 20)
    film = film_with(element((0x0019, 0x1010), b"UN", bytes(2_000_000)))
    assert read_header(film).modality == "CR"
    with pytest.raises(NotDicomError, match="header is larger than 1 MiB"):
        read_image_header(film)


def test_only_the_start_of_a_deflated_object_is_inflated_for_its_header(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    film = file_bytes(chest_film(syntax=DeflatedExplicitVRLittleEndian))
    start = film[: -len(data_set_bytes(film))]
    plain = zlib.decompress(data_set_bytes(film), -zlib.MAX_WBITS)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = start + packer.compress(plain + bytes(30_000_000)) + packer.flush()
    monkeypatch.setattr(parsing, "MAX_HEADER_BYTES", 1 << 20)
    monkeypatch.setattr(parsing, "MAX_INFLATED_BYTES", 10 << 20)
    assert read_header(bomb).modality == "CR"
    assert read_image_header(bomb).rows == 200
    with pytest.raises(NotDicomError, match="unpacks to more than 10 MiB"):
        read_dataset(bomb)


def test_a_deflated_object_without_file_meta_length_is_refused() -> None:
    film = bytearray(file_bytes(chest_film(syntax=DeflatedExplicitVRLittleEndian)))
    film[132:136] = b"\x02\x00\x09\x00"
    with pytest.raises(NotDicomError, match="no sound File Meta Information"):
        read_dataset(bytes(film))


def nested(depth: int) -> Dataset:
    ds = Dataset()
    for _ in range(depth):
        outer = Dataset()
        outer.ContentSequence = [ds]
        ds = outer
    return ds


def test_depth_elements_and_bytes_of_sequences_are_limited() -> None:
    refuse_oversized_sequences(nested(parsing.MAX_DEPTH - 1))
    with pytest.raises(NotDicomError, match="nested more than 32 deep"):
        refuse_oversized_sequences(nested(parsing.MAX_DEPTH + 1))
    many = Dataset()
    many.ContentSequence = [Dataset() for _ in range(parsing.MAX_IN_SEQUENCES + 1)]
    with pytest.raises(NotDicomError, match="more than 5000 elements"):
        refuse_oversized_sequences(many)
    long = film_with(
        element(
            LATE,
            b"SQ",
            b"".join(
                (
                    struct.pack("<HHI", 0xFFFE, 0xE000, 5_000_012),
                    element((0x40, 9), b"UT", bytes(5_000_000)),
                )
            ),
        )
    )
    with pytest.raises(NotDicomError, match="take more than 4 MiB"):
        refuse_oversized_sequences(read_dataset(long))


def test_a_value_too_long_for_any_text_counts_as_absent() -> None:
    ds = read_dataset(film_with(element((0x0010, 0x1000), b"UT", b"A" * 50_000)))
    assert text(ds, "OtherPatientIDs") == ""
    target = Dataset()
    carry_over(ds, target, "OtherPatientIDs")
    assert target[0x00101000].value in (None, "")
    many = read_dataset(film_with(element((0x0018, 0x1622), b"UT", b"1\\" * 600_000)))
    assert numbers(many, "ShutterOverlayGroup") == ()


def test_a_value_of_an_unknown_vr_is_copied_empty() -> None:
    ds = read_dataset(film_with(struct.pack("<HH2sH", 0x0010, 0x1000, b"ZZ", 2) + b"12"))
    target = Dataset()
    copy_decoded(ds, target, "OtherPatientIDs")
    assert target[0x00101000].value in (None, "")
