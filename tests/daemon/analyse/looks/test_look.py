"""Files looked at without analysis: the same picture, colours, stored values, and safe messages."""

import json
import mmap
import multiprocessing
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.analyse.reader.decoder_pool import DecoderLimits, DecoderPool
from daemon.analyse.reader.film import Film, Refusal, Wanted
from daemon.analyse.reader.film_reader import FilmReader
from daemon.analyse.reader.look import Look, LookKind, Picture, look_at
from daemon.analyse.reader.look_messages import (
    LOOK_BYTES,
    Looked,
    StoredPixels,
    receive_look,
    send_look,
)
from daemon.analyse.reader.shared_pages import SharedPages
from dicom_io.gate.reasons import Reason
from dicom_io.read.viewing.stored import NamedWindow, StoredImage
from tests.builders.images.films import chest_film, chest_values, file_bytes
from tests.builders.made_checks import PLAIN, KnowingCheck

UPRIGHT = Look(LookKind.PICTURE)
PIXELS = Look(LookKind.PIXELS)
TURNED = file_bytes(chest_film(PatientOrientation=["F", "R"], WindowCenter=1800, WindowWidth=1500))
COLOURS = np.dstack([chest_values(90, 70, 8), chest_values(90, 70, 8)[::-1], np.full((90, 70), 9)])


def seen(data: bytes, look: Look = UPRIGHT) -> Picture:
    picture = look_at(data, look)
    assert isinstance(picture, Picture)
    return picture


def stored(data: bytes, look: Look = PIXELS) -> StoredImage:
    image = look_at(data, look)
    assert isinstance(image, StoredImage)
    return image


@pytest.mark.parametrize("side", [None, 120])
def test_the_picture_is_that_of_the_pipeline(side: int | None) -> None:
    film = PLAIN.read(TURNED, wanted=Wanted(side))
    assert isinstance(film, Film)
    picture = seen(TURNED, Look(LookKind.PICTURE, side))
    assert (picture.pixels == film.pose.to_display(film.picture)).all()
    lying = seen(TURNED, Look(LookKind.AS_STORED, side))
    assert (lying.pixels == film.picture).all()


@pytest.mark.parametrize(("turned", "inverted"), [(90, False), (180, True), (270, True)])
def test_what_the_picture_check_put_right_is_put_right_here(turned: int, inverted: bool) -> None:
    right = chest_values(200, 160, 8)
    lies = np.rot90(255 - right if inverted else right, -turned // 90)
    data = file_bytes(chest_film(np.ascontiguousarray(lies), bits_stored=8))
    reader = FilmReader(KnowingCheck(right.astype(np.uint8)), PLAIN.spec)
    film = reader.read(data)
    assert isinstance(film, Film)
    look = Look(LookKind.PICTURE, None, turned, inverted)
    assert (seen(data, look).pixels == film.pose.to_display(film.picture)).all()
    facts = stored(data, Look(LookKind.PIXELS, None, turned, inverted)).facts
    assert facts.pose == film.pose
    assert facts.grey is not None
    assert facts.grey.inverted == inverted


def test_a_film_that_the_gate_refuses_is_shown() -> None:
    data = file_bytes(chest_film(ViewPosition="LL", BodyPartExamined="HAND"))
    assert isinstance(PLAIN.read(data), Refusal)
    assert seen(data).pixels.shape == (200, 160)


@pytest.mark.parametrize("side", [None, 45])
def test_a_picture_in_colour_keeps_its_colours(side: int | None) -> None:
    data = file_bytes(chest_film(COLOURS, bits_stored=8, photometric="RGB"))
    picture = seen(data, Look(LookKind.PICTURE, side))
    assert picture.pixels.shape == ((90, 70, 3) if side is None else (45, 35, 3))
    if side is None:
        assert (picture.pixels == COLOURS).all()
        image = stored(data)
        assert image.facts.kind == "rgb"
        assert image.facts.grey is None
        assert (image.pixels == COLOURS).all()


def test_what_cannot_be_read_is_refused_with_its_reason() -> None:
    for data, reason in (
        (b"no DICOM", Reason.UNREADABLE_OBJECT),
        (file_bytes(chest_film())[:-4000], Reason.UNDECODABLE_PIXELS),
    ):
        refusal = look_at(data, UPRIGHT)
        assert isinstance(refusal, Refusal)
        assert refusal.reason is reason


def shown_by(image: StoredImage) -> NDArray[np.uint8]:
    """Return the picture that a viewer makes of the pixels by the table of grey levels."""
    grey = image.facts.grey
    assert grey is not None
    return np.asarray(grey.levels[image.pixels.astype(int) - grey.low])


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"photometric": "MONOCHROME1"},
        {"WindowCenter": 1800, "WindowWidth": 900},
        {"WindowCenter": 1800, "WindowWidth": 900, "VOILUTFunction": "SIGMOID"},
        {
            "RescaleSlope": "0.5",
            "RescaleIntercept": "-100",
            "WindowCenter": 800,
            "WindowWidth": 700,
        },
        {"PixelPaddingValue": 0},
    ],
    ids=str,
)
def test_the_table_of_grey_levels_shows_the_same_picture(attributes: dict[str, Any]) -> None:
    values = chest_values()
    values[:20] = 0
    data = file_bytes(chest_film(values, **attributes))
    image = stored(data)
    assert image.facts.kind == "uint16"
    assert (image.pixels == values).all()
    assert (shown_by(image) == seen(data, Look(LookKind.AS_STORED)).pixels).all()


def test_numbers_that_do_not_occur_have_the_grey_level_between_their_neighbours() -> None:
    values = chest_values() // 64 * 64
    for inverted in (False, True):
        look = Look(LookKind.PIXELS, inverted=inverted)
        grey = stored(file_bytes(chest_film(values, WindowCenter=2048, WindowWidth=4096)), look)
        assert grey.facts.grey is not None
        steps = np.diff(grey.facts.grey.levels.astype(int))
        assert (steps >= 0).all() or (steps <= 0).all()
        assert np.abs(steps).max() == 1


def test_the_facts_are_those_of_the_header() -> None:
    data = file_bytes(
        chest_film(
            chest_values() - 2048,
            signed=True,
            photometric="MONOCHROME1",
            RescaleSlope="2",
            RescaleIntercept="-10",
            RescaleType="US",
            WindowCenter=["1200", "3000"],
            WindowWidth=["2000", "500"],
            WindowCenterWidthExplanation=["NORMAL", "HARD"],
            PixelSpacing=None,
            ImagerPixelSpacing=["0.2", "0.15"],
            PixelPaddingValue=-2048,
        )
    )
    facts = stored(data).facts
    assert (facts.rows, facts.columns, facts.kind, facts.bits) == (200, 160, "int16", 12)
    assert (facts.spacing, facts.measured_by) == ((0.2, 0.15), "ImagerPixelSpacing")
    grey = facts.grey
    assert grey is not None
    assert (grey.slope, grey.intercept, grey.unit, grey.inverted) == (2, -10, "US", True)
    assert grey.windows == (
        NamedWindow("NORMAL", 1200, 2000, "LINEAR"),
        NamedWindow("HARD", 3000, 500, "LINEAR"),
    )
    assert grey.analysed == NamedWindow("As analysed", 1200, 2000, "LINEAR")
    assert (grey.low, grey.high, grey.offset, grey.step) == (-2048, 2047, 0, 1)
    assert grey.padding == (-2048, -2048)
    assert grey.full == (-2047 * 2 - 10, 2047 * 2 - 10)
    assert grey.full[0] < grey.auto[0] < grey.auto[1] < grey.full[1]


def test_values_of_more_than_16_bits_are_shown_in_steps() -> None:
    values = chest_values(bits=18) + 1000
    data = file_bytes(chest_film(values, bits_stored=20, bits_allocated=32))
    image = stored(data)
    grey = image.facts.grey
    assert grey is not None
    assert image.facts.kind == "uint16"
    shown = image.pixels.astype(np.int64) * grey.step + grey.offset
    assert np.abs(shown - values).max() < grey.step
    assert any("are shown as one" in note for note in image.facts.notes)


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    opened = DecoderPool(None, DecoderLimits(seconds=20))
    yield opened
    opened.end_idle()


def test_a_reader_process_without_a_model_gives_what_a_local_call_gives(pool: DecoderPool) -> None:
    look = Look(LookKind.PICTURE, 100)
    there = pool.look(TURNED, look)
    assert isinstance(there, Picture)
    assert (there.pixels == seen(TURNED, look).pixels).all()
    colour = pool.look(file_bytes(chest_film(COLOURS, bits_stored=8, photometric="RGB")), UPRIGHT)
    assert isinstance(colour, Picture)
    assert (colour.pixels == COLOURS).all()
    pixels = pool.look(TURNED, PIXELS)
    assert isinstance(pixels, StoredPixels)
    here = stored(TURNED)
    assert pixels.pages.chunk(LOOK_BYTES, 0) == here.pixels.tobytes()
    assert pixels.facts.pose == here.facts.pose
    pixels.pages.close()
    assert look_at(b"none", UPRIGHT) == pool.look(b"none", UPRIGHT)
    refusal = pool.read(TURNED)
    assert isinstance(refusal, Refusal)
    assert refusal.detail == "reading the image ended in an unexpected TypeError"
    assert pool.end_idle() == 1
    assert isinstance(pool.look(TURNED, UPRIGHT), Picture)


def passed_on(
    look: Look, data: bytes = TURNED, change: Callable[[dict[str, Any]], object] = lambda _: None
) -> Looked:
    """Return what is received of an outcome whose message is changed on the way."""
    pages = SharedPages(LOOK_BYTES)
    ours, theirs = multiprocessing.Pipe()
    with mmap.mmap(pages.descriptor, 0) as mapped, memoryview(mapped) as view:
        send_look(theirs, look_at(data, look), view)
    answer = json.loads(ours.recv_bytes())
    change(answer)
    theirs.send_bytes(json.dumps(answer).encode())
    try:
        return receive_look(ours, pages, look)
    finally:
        pages.close()


NAN = float("nan")
WINDOW = {"name": "a", "centre": 1, "width": 2, "function": "LINEAR"}


@pytest.mark.parametrize(
    ("wish", "changed"),
    [
        (UPRIGHT, {"planes": [4]}),
        (UPRIGHT, {"planes": [3, 3]}),
        (UPRIGHT, {"rows": 0}),
        (UPRIGHT, {"rows": 60000, "columns": 60000}),
        (UPRIGHT, {"rows": 9000, "columns": 9000, "planes": [3]}),
        (Look(LookKind.PICTURE, 100), {"rows": 101}),
        (PIXELS, {"kind": "int64"}),
        (PIXELS, {"kind": "rgb"}),
        (PIXELS, {"spacing": [NAN, 1]}),
        (PIXELS, {"measured_by": "<b>"}),
        (PIXELS, {"bits": 99}),
        (PIXELS, {"photometric": "x" * 65}),
        (PIXELS, {"grey": {"high": 10**6}}),
        (PIXELS, {"grey": {"low": NAN}}),
        (PIXELS, {"grey": {"levels": "AAAA"}}),
        (PIXELS, {"grey": {"levels": 4}}),
        (PIXELS, {"grey": {"windows": [{**WINDOW, "function": "CUBIC"}]}}),
        (PIXELS, {"grey": {"slope": float("inf")}}),
        (PIXELS, {"grey": {"windows": [{**WINDOW, "width": NAN}]}}),
        (PIXELS, {"grey": {"windows": [WINDOW] * 20}}),
        (PIXELS, {"grey": {"padding": [5, 10**9]}}),
        (PIXELS, {"grey": {"auto": [1]}}),
        (PIXELS, {"grey": {"inverted": 1}}),
        (PIXELS, {"grey": {"modality": "AAAA"}}),
    ],
    ids=str,
)
def test_an_impossible_outcome_is_refused(wish: Look, changed: dict[str, Any]) -> None:
    def change(answer: dict[str, Any]) -> None:
        for name, value in changed.items():
            answer[name] = answer[name] | value if isinstance(value, dict) else value

    with pytest.raises((ValueError, TypeError, KeyError)):
        passed_on(wish, change=change)


def test_what_is_right_is_passed_on() -> None:
    assert isinstance(passed_on(UPRIGHT), Picture)
    pixels = passed_on(PIXELS)
    assert isinstance(pixels, StoredPixels)
    pixels.pages.close()


def test_pixels_that_the_reader_cut_off_are_none() -> None:
    pages = SharedPages(100)
    with pytest.raises(EOFError):
        pages.copy(101, 0)
    pages.close()
