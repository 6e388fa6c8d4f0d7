"""The viewer's scripts: windows as PS3.3 C.11.2.1.2 defines them, and pixels where they belong."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.analyse.reader.look import Look, LookKind, look_at
from daemon.analyse.reader.look_messages import plain_facts
from dicom_io.read.grey_scale import Window
from dicom_io.read.orientation import Pose
from dicom_io.read.viewing.stored import StoredImage
from tests.builders.images.films import chest_film, chest_values, file_bytes
from tests.daemon.web.films.scripts import run_script

WINDOWS = [
    (function, centre, width)
    for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID")
    for centre, width in ((2048, 4096), (0.5, 1), (100, 2), (-100.5, 333.3), (3000, 1e5), (2048, 1))
]
GREY_LEVELS = """
const { FUNCTIONS, greyLevels, imageValues, rounded } = await load("window_level.js");
const bytes = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
answer(values.map(({ grey, shown, inverted }) => {
  const levels = grey.levels && bytes(grey.levels);
  return [...greyLevels(grey, imageValues(grey), { levels, ...shown }, inverted)];
}));
"""


def grey(low: int, high: int, **changes: Any) -> dict[str, Any]:
    """What the node says of pixels from `low` to `high`."""
    plain = {
        "low": low,
        "high": high,
        "offset": 0,
        "step": 1,
        "slope": 1,
        "intercept": 0,
        "modality": None,
        "padding": None,
        "inverted": False,
    }
    return {**plain, **changes}


def wanted(values: NDArray[Any], window: Window, *, inverted: bool) -> list[int]:
    """The grey levels of the analysis."""
    share = window(values)
    levels = np.rint((1 - share if inverted else share) * 255).astype(int)
    return [int(level) for level in levels]


def test_windows_give_the_grey_levels_of_the_analysis(tmp_path: Path) -> None:
    cases: list[dict[str, Any]] = []
    expected: list[list[int]] = []
    for function, centre, width in WINDOWS:
        for inverted in (False, True):
            scale = grey(-300, 4095, slope=1.5, intercept=-20, inverted=inverted)
            shown = {"name": function, "centre": centre, "width": width}
            cases.append({"grey": scale, "shown": shown, "inverted": False})
            values = np.arange(-300, 4096) * 1.5 - 20
            window = Window(centre, width, function)
            expected.append(wanted(values, window, inverted=inverted))
    got = run_script(GREY_LEVELS, cases, tmp_path)
    for case, found, right in zip(cases, got, expected, strict=True):
        different = np.abs(np.subtract(found, right))
        # The exponential functions of the two languages may differ in the last bit.
        assert different.max() <= (1 if case["shown"]["name"] == "SIGMOID" else 0), case
        assert (different > 0).sum() <= 2


def test_padding_offset_and_steps_are_followed(tmp_path: Path) -> None:
    scale = grey(0, 99, offset=70_000, step=3, padding=[0, 4])
    shown = {"name": "LINEAR", "centre": 70_150, "width": 300}
    plain, turned = run_script(
        GREY_LEVELS,
        [{"grey": scale, "shown": shown, "inverted": inverted} for inverted in (False, True)],
        tmp_path,
    )
    values = 70_000 + 3 * np.arange(100.0)
    assert plain[5:] == wanted(values, Window(70_150, 300, "LINEAR"), inverted=False)[5:]
    assert turned[5:] == wanted(values, Window(70_150, 300, "LINEAR"), inverted=True)[5:]
    assert plain[:5] == turned[:5] == [0] * 5


@pytest.mark.parametrize(
    "attributes",
    [
        {"WindowCenter": 1800, "WindowWidth": 900},
        {"WindowCenter": 1800, "WindowWidth": 900, "photometric": "MONOCHROME1"},
        {"WindowCenter": 1800, "WindowWidth": 900, "VOILUTFunction": "LINEAR_EXACT"},
        {"PixelPaddingValue": 0, "RescaleSlope": "2", "RescaleIntercept": "-1000"},
    ],
    ids=str,
)
def test_the_window_of_the_picture_is_the_table_of_the_picture(
    attributes: dict[str, Any], tmp_path: Path
) -> None:
    image = look_at(file_bytes(chest_film(chest_values(), **attributes)), Look(LookKind.PIXELS))
    assert isinstance(image, StoredImage)
    said = plain_facts(image.facts)["grey"]
    facts = image.facts.grey
    assert facts is not None
    cases = [{"grey": said, "shown": {}, "inverted": False}]
    if facts.analysed is not None:
        one = facts.analysed
        shown = {"name": one.function, "centre": one.centre, "width": one.width, "levels": None}
        cases.append({"grey": said, "shown": shown, "inverted": False})
    occurring = np.unique(image.pixels.astype(int)) - facts.low
    for levels in run_script(GREY_LEVELS, cases, tmp_path):
        assert (np.array(levels)[occurring] == facts.levels[occurring]).all()
    assert base64.b64decode(said["levels"]) == facts.levels.tobytes()


DRAWN = """
const { FilmView } = await load("film_view.js");
answer(values.map(({ facts, numbers, width, height, scale, turns }) => {
  const view = new FilmView(facts);
  view.resize(width, height);
  for (const turn of turns) {
    view[turn[0]](turn[1]);
  }
  if (scale) {
    view.scaleTo(scale);
  }
  const pixels = new Uint32Array(width * height);
  const planes = facts.kind === "rgb" ? 3 : 1;
  const opaque = (level) => (0xff000000 | level * 0x010101) >>> 0;
  const colours = Uint32Array.from({ length: 256 }, (_, level) => opaque(level));
  const levels = [{ columns: facts.columns, rows: facts.rows, numbers: Uint8Array.from(numbers) }];
  view.draw(pixels, { levels, planes }, 0, colours, 0xff000000);
  const places = [[0, 0], [facts.columns, 0], [2.5, 1.25]].map(
    (place) => view.toStored(...view.toCanvas(...place)));
  return { pixels: [...pixels], places };
}));
"""
POSES = [Pose(t, c, r) for t in (False, True) for c in (False, True) for r in (False, True)]


def facts_of(rows: int, columns: int, pose: Pose, kind: str = "uint8") -> dict[str, Any]:
    said = {
        "transposed": pose.transposed,
        "columns_reversed": pose.columns_reversed,
        "rows_reversed": pose.rows_reversed,
        "aspect": pose.aspect,
    }
    return {"rows": rows, "columns": columns, "pose": said, "kind": kind}


def test_the_canvas_shows_the_film_upright_and_turned(tmp_path: Path) -> None:
    film = np.arange(12 * 9, dtype=np.uint8).reshape(12, 9)
    turns: list[tuple[list[list[Any]], Any]] = [
        ([], lambda upright: upright),
        ([["turn", True]], lambda upright: np.rot90(upright, -1)),
        ([["turn", False]], lambda upright: np.rot90(upright)),
        ([["flip", False]], lambda upright: upright[:, ::-1]),
        ([["flip", True], ["turn", True]], lambda upright: np.rot90(upright[::-1], -1)),
    ]
    cases: list[dict[str, Any]] = []
    expected: list[NDArray[np.uint8]] = []
    for pose in POSES:
        for done, change in turns:
            shown = change(pose.to_display(film))
            height, width = (3 * side for side in shown.shape)
            case = {"facts": facts_of(12, 9, pose), "numbers": film.ravel().tolist()}
            cases.append({**case, "width": width, "height": height, "scale": 3, "turns": done})
            expected.append(np.repeat(np.repeat(shown, 3, axis=0), 3, axis=1))
    for got, right in zip(run_script(DRAWN, cases, tmp_path), expected, strict=True):
        levels = np.array(got["pixels"], dtype=np.uint64) & 0xFF
        assert (levels.reshape(right.shape) == right).all()
        np.testing.assert_allclose(got["places"], [[0.0, 0.0], [9.0, 0.0], [2.5, 1.25]], atol=1e-9)


def test_long_pixels_and_colours_are_drawn(tmp_path: Path) -> None:
    colours = np.arange(4 * 6 * 3).reshape(4, 6, 3)
    cases = [
        {
            "facts": facts_of(4, 6, Pose(aspect=2.0), "rgb"),
            "numbers": colours.ravel().tolist(),
            "width": 6,
            "height": 8,
            "scale": 1,
            "turns": [],
        }
    ]
    (got,) = run_script(DRAWN, cases, tmp_path)
    pixels = np.array(got["pixels"], dtype=np.uint32).reshape(8, 6)
    shown = np.stack([pixels & 0xFF, pixels >> 8 & 0xFF, pixels >> 16 & 0xFF], axis=-1)
    assert (shown == np.repeat(colours, 2, axis=0)).all()


def test_smaller_images_hold_the_means(tmp_path: Path) -> None:
    numbers = np.random.default_rng(1).integers(0, 60_000, (600, 511))
    script = """
const { pyramidOf } = await load("stored_pixels.js");
const { levels } = pyramidOf({ facts: values.facts, numbers: Uint16Array.from(values.numbers) });
answer(levels.map(({ rows, columns, numbers }) => [rows, columns, [...numbers]]));
"""
    values = {
        "facts": {"rows": 600, "columns": 511, "kind": "uint16"},
        "numbers": numbers.ravel().tolist(),
    }
    levels = run_script(script, values, tmp_path)
    assert [level[:2] for level in levels] == [[600, 511], [300, 255], [150, 127]]
    halves = numbers[:, :510].reshape(300, 2, 255, 2).sum(axis=(1, 3))
    assert (np.reshape(levels[1][2], (300, 255)) == (halves + 2) // 4).all()
