"""Stability of the calls: the share that small changes to a film make appear or vanish.

A call is a finding at or above its threshold. None of the changes alters what a radiologist reads.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm import tqdm

from cxr_model.data.chestxray14 import Record
from cxr_model.data.predictions import Predictions
from cxr_model.evaluate.bootstrap import RESAMPLES, Interval, Resampling, interval
from cxr_model.evaluate.score_films import read_film
from cxr_model.predict.predictor import BATCH, Predictor

Image = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.float64]

_JPEG_QUALITY = 50
_SHIFT, _DEGREES, _RIM = 0.02, 3.0, 0.05
_PERCENTILES = (1.0, 99.0)
_LETTERBOX = 5 / 4


def _jpeg(film: Image) -> Image:
    written, data = cv2.imencode(".jpg", film, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not written:
        raise ValueError(f"a film of {film.shape} cannot be written as JPEG")
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)


def _half(film: Image) -> Image:
    rows, cols = (max(1, round(side / 2)) for side in film.shape)
    return np.asarray(cv2.resize(film, (cols, rows), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _shift(film: Image) -> Image:
    rows, cols = film.shape
    down, right = round(_SHIFT * rows), round(_SHIFT * cols)
    moved = np.zeros_like(film)
    moved[down:, right:] = film[: rows - down, : cols - right]
    return moved


def _rotate(film: Image) -> Image:
    rows, cols = film.shape
    matrix = cv2.getRotationMatrix2D(((cols - 1) / 2, (rows - 1) / 2), _DEGREES, 1.0)
    return np.asarray(cv2.warpAffine(film, matrix, (cols, rows)), dtype=np.uint8)


def _window(film: Image) -> Image:
    low, high = np.percentile(film, _PERCENTILES)
    stretched = (film.astype(np.float64) - low) * (255 / max(high - low, 1.0))
    return np.asarray(np.round(np.clip(stretched, 0, 255)), dtype=np.uint8)


def _rim(film: Image) -> Image:
    rows, cols = film.shape
    top, left = round(_RIM * rows), round(_RIM * cols)
    rimmed = np.zeros_like(film)
    inside = slice(top, rows - top), slice(left, cols - left)
    rimmed[inside] = film[inside]
    return rimmed


def _letterbox(film: Image) -> Image:
    rows, cols = film.shape
    if cols >= rows:
        height, width = round(cols * _LETTERBOX), cols
    else:
        height, width = rows, round(rows * _LETTERBOX)
    frame = np.zeros((height, width), dtype=np.uint8)
    top, left = (height - rows) // 2, (width - cols) // 2
    frame[top : top + rows, left : left + cols] = film
    return frame


#: The changes by name. Each takes a film, uint8 (rows, cols), and returns another.
#:
#: `jpeg_50` saves it as JPEG of quality 50; `half_size` halves rows and columns; `shift_2` moves it
#: right and down by 2 % of its sides; `rotate_3` turns it by 3 degrees; `window_1_99` stretches the
#: 1st to 99th percentile of the grey values; `rim_5` blackens 5 % of each side; `letterbox_4_5`
#: lays it, neither scaled nor cut, into a black 4:5 frame as wide as its longer side.
CHANGES: Mapping[str, Callable[[Image], Image]] = {
    "jpeg_50": _jpeg,
    "half_size": _half,
    "shift_2": _shift,
    "rotate_3": _rotate,
    "window_1_99": _window,
    "rim_5": _rim,
    "letterbox_4_5": _letterbox,
}


def measure_stability(
    predictor: Predictor,
    records: Sequence[Record],
    before: Predictions,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Predict every film after each change and compare the calls; return a row per change.

    `before` are the calibrated predictions of the same films, unchanged. `changed` counts the
    calls that `appeared` or `vanished`; `share` is `changed` per call before and `growth` the
    number of calls after per call before. `mean_change` and `max_change` are of the probabilities.
    Intervals are 95 %, over patients. Raises ImageError for a film that cannot be read.
    """
    thresholds = np.asarray([predictor.bundle.card.thresholds[name] for name in before.labels])
    after: dict[str, list[Numbers]] = {name: [] for name in CHANGES}
    with tqdm(total=len(records), unit="film", desc="stability", disable=not progress) as bar:
        for start in range(0, len(records), BATCH):
            films = [read_film(record) for record in records[start : start + BATCH]]
            for name, change in CHANGES.items():
                found = predictor.predict([change(film) for film in films])
                after[name] += [np.asarray([f.probability for f in p.findings]) for p in found]
            bar.update(len(films))
    resampling = Resampling.of(before.patients, resamples=resamples, seed=seed)
    rows = [
        {"change": name, **_compare(before.probabilities, np.stack(found), thresholds, resampling)}
        for name, found in after.items()
    ]
    return pd.DataFrame(rows)


def stability_card(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return the main columns of `measure_stability` per change, for a card."""
    return {
        str(row["change"]): {
            "films": int(row["films"]),
            "calls": int(row["calls"]),
            "calls_after": int(row["calls_after"]),
            "changed": int(row["changed"]),
            "share": _number(row["share"]),
            "share_95": [_number(row["share_low"]), _number(row["share_high"])],
            "mean_change": _number(row["mean_change"]),
            "max_change": _number(row["max_change"]),
        }
        for row in table.to_dict("records")
    }


def write_stability(table: pd.DataFrame, path: Path) -> None:
    """Write the output of `measure_stability` as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, float_format="%.6f")


def _compare(
    before: Numbers, after: Numbers, thresholds: Numbers, resampling: Resampling
) -> dict[str, Any]:
    """Compare probabilities (n, 14) of the same films, unchanged and changed."""
    called, calls = before >= thresholds, after >= thresholds
    appeared, vanished = (calls & ~called).sum(axis=1), (called & ~calls).sum(axis=1)
    difference = np.abs(after - before)
    per_film = np.stack(
        [called.sum(axis=1), calls.sum(axis=1), appeared + vanished, difference.mean(axis=1)]
    ).astype(np.float64)
    films = np.arange(before.shape[0])
    drawn = np.concatenate([weights @ per_film.T for weights in resampling.chunks(films)])
    sizes = np.concatenate([weights.sum(axis=1) for weights in resampling.chunks(films)])
    n_before, n_after, n_changed, _ = per_film.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = interval(drawn[:, 2] / drawn[:, 0])
        growth = interval(drawn[:, 1] / drawn[:, 0])
        means = interval(drawn[:, 3] / sizes)
        share, ratio = n_changed / n_before, n_after / n_before
    return {
        "films": len(films),
        "patients": resampling.counts.shape[1],
        "calls": int(n_before),
        "calls_after": int(n_after),
        "appeared": int(appeared.sum()),
        "vanished": int(vanished.sum()),
        "changed": int(n_changed),
        **_bounded("share", share, shares),
        "calls_per_film": n_before / len(films),
        "calls_per_film_after": n_after / len(films),
        **_bounded("growth", ratio, growth),
        **_bounded("mean_change", difference.mean(), means),
        "max_change": float(difference.max()),
    }


def _bounded(name: str, value: float, bounds: Interval) -> dict[str, float]:
    return {name: float(value), f"{name}_low": bounds.low, f"{name}_high": bounds.high}


def _number(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
