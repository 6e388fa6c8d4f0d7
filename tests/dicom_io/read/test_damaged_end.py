"""Objects whose pixels are whole although the bytes around their end are damaged."""

import subprocess
import tempfile
from functools import cache
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_fragments
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from daemon.analyse.reader.film import Refusal
from daemon.analyse.reader.gate_and_decode import DecodedFilm, gate_and_decode
from dicom_io.errors import NotDicomError
from dicom_io.gate.reasons import Reason
from dicom_io.gate.rules import Rules
from dicom_io.read.header import read_dataset
from tests.builders.images.films import chest_film, chest_values, file_bytes
from tests.tools.installed import require_tool

NATIVE = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
# Transfer syntaxes by the option of dcmtk's encoder, or by the UID that pydicom encodes.
JPEG = ("+eb", "+ee", "+e1")
OTHERS = (JPEGLSLossless, JPEG2000Lossless, RLELossless)
END = b"\xfe\xff\xdd\xe0\0\0\0\0"
NOISE = np.random.default_rng(5)
VALUES = np.clip(chest_values(256, 200) + NOISE.integers(-30, 30, (256, 200)), 0, 4095)
RANDOM = NOISE.bytes(3000)


@cache
def packed(form: str) -> tuple[bytes, bytes]:
    """Return the bytes of a film up to the fragments, and its only frame, without padding."""
    ds = chest_film(VALUES, WindowCenter=2048, WindowWidth=4096)
    if form in OTHERS:
        ds.compress(form, generate_instance_uid=False)
    else:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "source.dcm", Path(folder) / "packed.dcm"
            source.write_bytes(file_bytes(ds))
            tool = require_tool("dcmcjpeg")
            subprocess.run([tool, form, source, target], check=True)
            ds = dcmread(BytesIO(target.read_bytes()))
    fragments = generate_fragments(ds.PixelData)
    next(fragments)
    frame = b"".join(fragments).rstrip(b"\0")
    ds.PixelData = encapsulate([b"film"])
    ds["PixelData"].is_undefined_length = True
    data = file_bytes(ds)
    return data[: data.rindex(b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff") + 12] + item(b""), frame


def item(value: bytes) -> bytes:
    return b"\xfe\xff\0\xe0" + len(value).to_bytes(4, "little") + value


def compressed(form: str, *fragments: bytes, tail: bytes = END) -> bytes:
    return packed(form)[0] + b"".join(fragments) + tail


def whole(form: str) -> bytes:
    return compressed(form, item(packed(form)[1]))


def native(syntax: str) -> bytes:
    return file_bytes(chest_film(VALUES, syntax=syntax, WindowCenter=2048, WindowWidth=4096))


def film(data: bytes) -> DecodedFilm:
    outcome = gate_and_decode(data, Rules())
    assert isinstance(outcome, DecodedFilm), outcome
    return outcome


def refused(data: bytes) -> Refusal:
    outcome = gate_and_decode(data, Rules())
    assert isinstance(outcome, Refusal)
    assert "neither a SOP Class UID" not in outcome.detail
    return outcome


def same(data: bytes, sound: bytes) -> tuple[str, ...]:
    """Check that both objects show the same film, and return the notes of the damaged one."""
    damaged, wanted = film(data), film(sound)
    assert (damaged.pixels == wanted.pixels).all()
    assert set(wanted.notes) <= set(damaged.notes)
    return tuple(note for note in damaged.notes if note not in wanted.notes)


TAILS = {
    "nothing": (b"", "the pixel data has no sequence delimiter"),
    "NULs": (bytes(8), "NULs stand in the place of the sequence delimiter of the pixel data"),
    "many NULs": (bytes(700), "NULs stand in the place"),
    "few NULs": (bytes(3), "NULs stand in the place"),
    "0xFF": (b"\xff" * 4096, "4096 bytes after the pixel data are not DICOM: ignored"),
    "text": (b"abcde", "5 bytes after the pixel data are not DICOM"),
    "anything": (RANDOM, "3000 bytes after the pixel data are not DICOM"),
    "0xFF after the delimiter": (END + b"\xff" * 4096, "4096 bytes after the pixel data"),
    "NULs after the delimiter": (END + bytes(100), "100 bytes after the pixel data"),
}


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("form", ["+eb", "+e1", RLELossless, JPEG2000Lossless])
def test_fragments_are_read_whatever_follows_them(form: str, tail: str) -> None:
    data, note = TAILS[tail]
    notes = same(compressed(form, item(packed(form)[1]), tail=data), whole(form))
    assert any(note in said for said in notes), notes


@pytest.mark.parametrize("tail", [b"\xff" * 4096, b"\xff" * 8, bytes(64), b"abcde", b"\0", RANDOM])
@pytest.mark.parametrize("syntax", NATIVE)
def test_bytes_after_native_pixels_are_ignored(syntax: str, tail: bytes) -> None:
    sound = native(syntax)
    if syntax == DeflatedExplicitVRLittleEndian:
        # Bytes behind the end of a deflated object do not belong to it.
        assert same(sound + tail, sound) == ()
        return
    [note] = same(sound + tail, sound)
    assert note.startswith(f"{len(tail)} byte")


def test_elements_after_the_pixels_are_no_damage() -> None:
    ds = chest_film()
    ds.add_new(0xFFFCFFFC, "OB", bytes(100))
    assert same(file_bytes(ds), file_bytes(chest_film())) == ()
    assert 0xFFFCFFFC in read_dataset(file_bytes(ds))


def test_elements_made_of_the_bytes_after_the_pixels_are_dropped() -> None:
    element = b"\x28\0\x50\x10DS\x04\0" + b"9999"
    garbage = b"\0\0\0\0UL\x04\0" + bytes(4) + element
    read = read_dataset(file_bytes(chest_film(WindowCenter=2048, WindowWidth=4096)) + garbage)
    assert read.WindowCenter == 2048


@pytest.mark.parametrize("form", JPEG)
def test_odd_fragments_are_joined(form: str) -> None:
    frame = packed(form)[1]
    cut = len(frame) // 3 | 1
    parts = frame[:cut], frame[cut : 2 * cut], frame[2 * cut :]
    assert same(compressed(form, *map(item, parts)), whole(form)) == ()
    uncounted = item(parts[0]) + b"\0"
    assert same(compressed(form, uncounted, *map(item, parts[1:])), whole(form)) == ()
    assert len(same(compressed(form, uncounted, *map(item, parts[1:]), tail=b""), whole(form))) == 1


@pytest.mark.parametrize("form", [*JPEG, JPEGLSLossless, JPEG2000Lossless])
def test_a_missing_end_marker_is_noted(form: str) -> None:
    frame = packed(form)[1].removesuffix(b"\xff\xd9")
    assert len(frame) < len(packed(form)[1])
    half = len(frame) // 2
    for fragments in ([frame], [frame[:half], frame[half:]]):
        for tail in (END, b""):
            notes = same(compressed(form, *map(item, fragments), tail=tail), whole(form))
            assert "the compressed image has no end marker, but no pixel is missing" in notes


@pytest.mark.parametrize("missing", [2, 20, 200, 0.1, 0.5])
@pytest.mark.parametrize("form", [*JPEG, *OTHERS])
def test_missing_pixels_are_never_made_up(form: str, missing: float) -> None:
    frame = packed(form)[1].removesuffix(b"\xff\xd9").rstrip(b"\xff")
    cut = frame[: -int(missing if missing > 1 else missing * len(frame))]
    for data in (
        compressed(form, item(cut)),
        compressed(form, item(cut), tail=b""),
        compressed(form, item(frame)[: len(cut) - len(frame)], tail=b""),
    ):
        assert refused(data).reason is Reason.UNDECODABLE_PIXELS


def test_an_image_cut_at_a_restart_marker_lacks_pixels() -> None:
    frame = with_restarts()
    head = packed("+eb")[0]
    assert film(head + item(frame) + END)
    last = max(frame.rfind(bytes([0xFF, 0xD0 + number])) for number in range(8))
    for end in (last, last + 2):
        outcome = refused(head + item(frame[:end]) + END)
        assert outcome.reason is Reason.UNDECODABLE_PIXELS
        assert "ends before its last pixel" in outcome.detail


def with_restarts() -> bytes:
    """Return the picture as a baseline image with a restart marker after each row of blocks."""
    grey: NDArray[np.uint8] = (VALUES >> 4).astype(np.uint8)
    done, data = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_RST_INTERVAL, 25])
    assert done
    frame = data.tobytes()
    assert b"\xff\xdd\0\4" in frame
    return frame


@pytest.mark.parametrize("tail", [END, b""])
def test_bytes_between_fragments_are_no_picture(tail: bytes) -> None:
    frame = packed("+eb")[1]
    half = len(frame) // 2
    for between in (b"garbage!" * 3, bytes(8), b"\xff" * 100):
        fragments = item(frame[:half]) + between, item(frame[half:])
        outcome = refused(compressed("+eb", *fragments, tail=tail))
        assert "bytes that are no item" in outcome.detail


def test_offsets_alone_are_no_picture() -> None:
    with pytest.raises(NotDicomError, match="no item"):
        read_dataset(compressed("+eb", tail=b""))


@pytest.mark.parametrize("form", ["native", RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize("planes", [None, 7])
def test_colour_without_planar_configuration_is_by_pixel(form: str, planes: int | None) -> None:
    grey = chest_values(256, 200, 8)
    ds = chest_film(np.stack([grey] * 3, -1), bits_stored=8, photometric="RGB")
    if form != "native":
        ds.compress(form, generate_instance_uid=False)
    sound = file_bytes(ds)
    if planes is None:
        del ds.PlanarConfiguration
    else:
        ds.PlanarConfiguration = planes
    [note] = same(file_bytes(ds), sound)
    assert note == f"PlanarConfiguration is {'absent' if planes is None else planes}: taken as 0"
