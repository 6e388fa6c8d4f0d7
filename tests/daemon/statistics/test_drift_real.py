"""Drift of the starter model's own predictions on real films: from PA to AP."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_model.engine.choice import open_predictor
from cxr_model.predict.bundle import Bundle
from daemon.statistics.drift import State, fit_baseline, watch
from tests.daemon.statistics.streams import Stream
from tests.tools.paths import ROOT

pytestmark = pytest.mark.slow

FILMS = 160
"""Films of each view, one per patient: enough to draw streams from, within a minute or two."""
RUNS = 15


@pytest.mark.timeout(900)
def test_a_shift_from_pa_to_ap_is_seen_within_500_films(real_data: Path) -> None:
    pa, ap = (_predicted(real_data, view) for view in ("PA", "AP"))
    delays, false = [], 0
    for run in range(RUNS):
        random = np.random.default_rng(run)
        films, calls, patients = _drawn(pa, 500, random)
        baseline = fit_baseline(films, calls, patients, run)
        for view in (pa, ap):
            later = _drawn(view, 1000, random)
            _, alarms = watch(baseline, State.start(baseline), *later[:2])
            if view is pa:
                false += bool(alarms)
            else:
                delays.append(alarms[0].film + 1 if alarms else 10_000)
    assert np.median(delays) <= 500
    assert false <= 2


def _predicted(data: Path, view: str) -> tuple[Stream, np.ndarray]:
    with (data / "nih" / "labels.csv").open(newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["view"] == view and row["file"].startswith("images256")
        ]
    rows = list({row["patient_id"]: row for row in rows}.values())[:FILMS]
    predictor = open_predictor(Bundle.load(ROOT / "cxr_model" / "starter"), threads=1)
    images = [np.asarray(Image.open(data / "nih" / row["file"]).convert("L")) for row in rows]
    found = [prediction.findings for prediction in predictor.predict(images)]
    probabilities = np.array([[one.probability for one in each] for each in found])
    log_odds = np.log(probabilities / (1 - probabilities)).astype(np.float32)
    calls = np.array([[one.probability >= one.threshold for one in each] for each in found])
    return Stream(log_odds, np.arange(len(rows))), calls


def _drawn(
    view: tuple[Stream, np.ndarray], films: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    chosen = random.integers(len(view[1]), size=films)
    return view[0].log_odds[chosen], view[1][chosen], view[0].patients[chosen]
