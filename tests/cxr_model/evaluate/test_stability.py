"""Stability of the calls under small changes to the films."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from cxr_model.data.chestxray14 import Record
from cxr_model.engine.choice import open_predictor
from cxr_model.evaluate.score_films import score_films
from cxr_model.evaluate.stability import (
    CHANGES,
    measure_stability,
    stability_card,
    write_stability,
)
from cxr_model.evaluate.text import stability_text
from cxr_model.findings import LABELS
from cxr_model.predict.bundle import Bundle
from cxr_model.predict.transform import InputSpec, network_input
from tests.builders.made_models import random_bundle

SHAPES = [(200, 200), (250, 200), (160, 200), (7, 90), (1, 1)]


def film(rows: int, cols: int) -> npt.NDArray[np.uint8]:
    noise = np.random.default_rng(1).normal(0, 1, (rows, cols))
    smooth = cv2.GaussianBlur(noise, (0, 0), 6)
    return np.asarray(np.clip(120 + 400 * smooth, 20, 235), dtype=np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_takes_and_gives_a_film(name: str, shape: tuple[int, int]) -> None:
    before = film(*shape)
    kept = before.copy()
    after = CHANGES[name](before)
    assert after.dtype == np.uint8
    assert after.ndim == 2
    assert after.size
    np.testing.assert_array_equal(before, kept)
    if name not in ("half_size", "letterbox_4_5"):
        assert after.shape == shape
    if min(shape) > 100:
        assert after.shape != shape or (after != before).any()


@pytest.mark.parametrize("shape", SHAPES[:3])
def test_a_letterbox_neither_scales_nor_cuts(shape: tuple[int, int]) -> None:
    before = film(*shape)
    after = CHANGES["letterbox_4_5"](before)
    assert min(after.shape) / max(after.shape) == pytest.approx(0.8, abs=0.01)
    rows, cols = np.nonzero(after)
    inside = after[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]
    np.testing.assert_array_equal(inside, before)
    # Whatever the shape, the film becomes a fifth smaller in the square of the network.
    _, geometry = network_input(before, InputSpec(64))
    _, boxed = network_input(after, InputSpec(64))
    content = max(geometry.height, geometry.width) * max(shape) / max(after.shape)
    assert max(boxed.height, boxed.width) == 64
    assert content == pytest.approx(0.8 * 64, abs=1)


def test_changes_do_as_their_names_say() -> None:
    before = film(200, 200)
    np.testing.assert_array_equal(CHANGES["shift_2"](before)[4:, 4:], before[:-4, :-4])
    rim = CHANGES["rim_5"](before)
    assert not rim[:10].any()
    assert not rim[:, -10:].any()
    np.testing.assert_array_equal(rim[10:-10, 10:-10], before[10:-10, 10:-10])
    window = CHANGES["window_1_99"](before)
    assert (window.min(), window.max()) == (0, 255)
    assert CHANGES["half_size"](before).shape == (100, 100)
    difference = np.abs(CHANGES["jpeg_50"](before).astype(int) - before)
    assert 0 < difference.mean() < 5


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, pd.DataFrame]:
    """Return a random bundle whose thresholds are medians, and its stability on twelve films."""
    folder = tmp_path_factory.mktemp("films")
    records = []
    for number in range(12):
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), np.roll(film(80, 80), 7 * number, axis=1))
        records.append(Record(path, path.name, str(number // 2), (0.0,) * len(LABELS)))
    bundle = random_bundle()
    scored = score_films(open_predictor(bundle, device="cpu"), records, progress=False)
    medians = np.median(scored.calibrated.probabilities, axis=0)
    thresholds = dict(zip(LABELS, medians.tolist(), strict=True))
    bundle = bundle.with_card(replace(bundle.card, thresholds=thresholds))
    table = measure_stability(
        open_predictor(bundle, device="cpu"),
        records,
        scored.calibrated,
        resamples=50,
        progress=False,
    )
    return bundle, table


def test_calls_are_counted_before_and_after(measured: tuple[Bundle, pd.DataFrame]) -> None:
    _, table = measured
    assert list(table["change"]) == list(CHANGES)
    assert set(table["films"]) == {12}
    assert set(table["patients"]) == {6}
    assert table["calls"].nunique() == 1
    assert table["calls"][0] >= 6 * len(LABELS)
    for row in table.to_dict("records"):
        assert row["calls_after"] == row["calls"] + row["appeared"] - row["vanished"]
        assert row["share"] == (row["appeared"] + row["vanished"]) / row["calls"]
        assert row["share_low"] <= row["share"] <= row["share_high"]
        assert row["mean_change_low"] <= row["mean_change"] <= row["max_change"]
    shares = table.set_index("change")["share"].to_dict()
    assert max(shares.values()) > 0
    assert shares["jpeg_50"] < shares["letterbox_4_5"]


def test_the_table_is_written_shown_and_put_on_a_card(
    measured: tuple[Bundle, pd.DataFrame], tmp_path: Path
) -> None:
    _, table = measured
    write_stability(table, tmp_path / "new" / "m_stability.csv")
    assert len(pd.read_csv(tmp_path / "new" / "m_stability.csv")) == len(CHANGES)
    assert stability_text(table).count("\n") == len(CHANGES)
    card = stability_card(table)
    assert list(card) == list(CHANGES)
    assert card["rim_5"]["share"] == pytest.approx(table["share"][5], abs=1e-4)
    json.dumps(card, allow_nan=False)


def test_a_bundle_without_calls_has_no_share(measured: tuple[Bundle, pd.DataFrame]) -> None:
    _, table = measured
    none = table.assign(calls=0, share=np.nan, share_low=np.nan, share_high=np.nan)
    assert stability_card(none)["rim_5"]["share"] is None
    assert " - (- to -)" in stability_text(none)
