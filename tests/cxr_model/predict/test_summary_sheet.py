"""The summary sheet shows the findings, the bars and the maps of a prediction."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from cxr_model.errors import ImageError
from cxr_model.findings import LABELS
from cxr_model.predict.prediction import Finding, Prediction
from cxr_model.predict.summary_sheet import HEIGHT, WIDTH, Captions, draw_summary
from cxr_model.predict.transform import Geometry

CAPTIONS = Captions(
    "series 1, image 2, PA", "cxrd-starter 1, sha256 0123456789ab", "specificity 0.9"
)
SCALES = dict.fromkeys(LABELS, 1.0)

# Areas of the sheet.
TILES = (slice(132, 838), slice(32, 540))
LIST = (slice(162, 838), slice(568, WIDTH))
AMBER = np.array([255, 176, 0])


def prediction(
    probabilities: Mapping[str, float], rows: int = 300, cols: int = 240, threshold: float = 0.3
) -> Prediction:
    """Return these probabilities, 0.1 for other labels, and maps hot in the top left quarter."""
    findings = tuple(
        Finding(label, 0.0, probabilities.get(label, 0.1), threshold) for label in LABELS
    )
    maps = np.zeros((len(LABELS), 8, 8), dtype=np.float32)
    maps[:, 1:4, 2:4] = 1.0
    return Prediction(findings, maps, Geometry.fit(rows, cols, 64))


def film(rows: int = 300, cols: int = 240) -> np.ndarray:
    return np.full((rows, cols), 90, dtype=np.uint8)


def sheet(shown: Prediction, image: np.ndarray | None = None) -> np.ndarray:
    return draw_summary(film() if image is None else image, shown, SCALES, CAPTIONS)


def amber_rows(rgb: np.ndarray) -> list[bool]:
    """Return per row of the list True if it has pixels in the colour of a finding."""
    amber = (rgb[LIST] == AMBER).all(axis=2).any(axis=1)
    return [bool(row.any()) for row in np.array_split(amber, len(LABELS))]


def bar_lengths(rgb: np.ndarray) -> list[int]:
    """Return per row of the list the filled pixels of the bar."""
    middles = np.linspace(162, 838, 2 * len(LABELS) + 1)[1::2].astype(int)
    unfilled = np.array([88, 92, 100])
    return [int((rgb[y + 6, 880:1056] != unfilled).any(axis=1).sum()) for y in middles]


@pytest.mark.parametrize("shape", [(300, 240), (64, 200), (3000, 2500)])
def test_a_sheet_has_its_own_size_whatever_the_film(shape: tuple[int, int]) -> None:
    rgb = sheet(prediction({"Mass": 0.9}, *shape), film(*shape))
    assert rgb.shape == (HEIGHT, WIDTH, 3)
    assert rgb.dtype == np.uint8


def test_the_findings_are_marked_and_come_first() -> None:
    rgb = sheet(prediction({"Hernia": 0.5, "Mass": 0.9, "Edema": 0.3}))
    assert amber_rows(rgb) == [True] * 3 + [False] * 11


def test_without_findings_nothing_is_marked() -> None:
    assert amber_rows(sheet(prediction({}))) == [False] * 14


def test_bars_pass_the_middle_exactly_for_findings() -> None:
    lengths = bar_lengths(sheet(prediction({"Mass": 0.9, "Edema": 0.3, "Nodule": 0.2})))
    middle = 88
    assert lengths[0] > lengths[1] >= middle
    assert all(length < middle for length in lengths[2:])
    order = [label for label in LABELS if label not in {"Mass", "Edema"}]
    nodule = lengths[2 + order.index("Nodule")]
    assert nodule > 1.5 * lengths[2]


def test_the_same_bar_means_the_same_odds_over_each_threshold() -> None:
    # Half the odds of the threshold: a third of the bar of 176 pixels.
    low = bar_lengths(sheet(prediction({"Mass": 1 / 49}, threshold=0.04)))
    high = bar_lengths(sheet(prediction({"Mass": 2 / 3}, threshold=0.8)))
    mass = LABELS.index("Mass")
    assert low[0] == max(low)
    absent = [label for label in LABELS if label != "Mass"]
    assert high[mass] == pytest.approx(59, abs=3)
    # At the low threshold every other label, at 0.1, is a finding and comes first.
    assert low[len(absent)] == pytest.approx(59, abs=3)


def coloured(rgb: np.ndarray) -> np.ndarray:
    spread = np.ptp(rgb[TILES].astype(int), axis=2) > 40
    return np.asarray(spread)


@pytest.mark.parametrize(("positive", "tiles"), [(1, 1), (2, 2), (3, 3), (4, 4), (9, 4)])
def test_the_film_is_shown_under_each_of_the_strongest_maps(positive: int, tiles: int) -> None:
    shown = prediction({label: 0.9 - 0.01 * i for i, label in enumerate(LABELS[:positive])})
    heat = coloured(sheet(shown))
    down = np.diff(np.concatenate([[0], heat.any(axis=1).astype(int)]))
    across = np.diff(np.concatenate([[0], heat.any(axis=0).astype(int)]))
    rows, columns = int((down == 1).sum()), int((across == 1).sum())
    assert (rows, columns) == {1: (1, 1), 2: (2, 1), 3: (2, 2), 4: (2, 2)}[tiles]


def test_without_findings_the_film_has_no_colour() -> None:
    rgb = sheet(prediction({}))
    assert not coloured(rgb).any()
    assert (rgb[TILES] == 90).all(axis=2).sum() > 100_000


def test_the_map_is_in_its_place() -> None:
    heat = coloured(sheet(prediction({"Mass": 0.9})))
    shown = (sheet(prediction({}))[TILES] == 90).all(axis=2)
    rows, cols = np.nonzero(shown)
    middle_row, middle_col = (rows.min() + rows.max()) / 2, (cols.min() + cols.max()) / 2
    y, x = np.nonzero(heat)
    assert y.max() < middle_row + 40
    assert x.max() < middle_col + 40


def test_a_finding_without_a_scale_is_shown_without_its_map() -> None:
    shown = prediction({"Mass": 0.9})
    others = {label: 1.0 for label in LABELS if label != "Mass"}
    captions = replace(CAPTIONS, notes={"Mass": "no map"})
    withheld = draw_summary(film(), shown, others, captions)
    left = slice(32, 540)
    assert not coloured(withheld)[:600].any()
    assert (withheld[:, left] == AMBER).all(axis=2)[700:838].any()
    assert not (sheet(shown)[:, left] == AMBER).all(axis=2)[700:838].any()


def test_every_line_stays_on_the_page() -> None:
    long = Captions("series 123456789, image 123456789, AP", "m" * 120, "o" * 200)
    rgb = draw_summary(film(), prediction({"Pleural_Thickening": 0.9}), SCALES, long)
    assert (rgb[:, -8:][70:] == 0).all()
    longest = (rgb[900:] != 0).any(axis=2).any(axis=0)
    assert longest[: WIDTH // 2].any()


def test_the_same_prediction_gives_the_same_sheet() -> None:
    shown = prediction({"Mass": 0.9})
    np.testing.assert_array_equal(sheet(shown), sheet(shown))


def test_a_prediction_of_another_film_is_refused() -> None:
    with pytest.raises(ImageError, match="another image"):
        sheet(prediction({}), film(240, 300))
    with pytest.raises(ImageError, match="greyscale"):
        sheet(prediction({}), np.zeros((300, 240, 3), np.uint8))
