"""Bins of reliability, and their file in a bundle."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from cxr_model.errors import BundleError
from cxr_model.evaluate.metrics import reliability_bins
from cxr_model.files.reliability_file import (
    RELIABILITY_FILE,
    Reliability,
    ReliabilityBin,
    read_reliability,
    write_reliability,
)
from cxr_model.findings import LABELS
from cxr_model.predict.bundle import STARTER, Bundle

CARD = "ab" * 32
BINS = (ReliabilityBin(0.1, 0.0, 0.0, 0.2, 10), ReliabilityBin(0.6, 0.5, 0.3, 0.7, 10))
MEASURED = Reliability("held_out", 20, 19, {"Mass": BINS, "Hernia": ()})


def test_bins_have_equal_numbers_and_hold_the_share() -> None:
    p = np.linspace(0.005, 0.995, 100)
    y = (np.arange(100) % 10 < np.arange(100) // 10).astype(float)
    bins = reliability_bins(p, y)
    assert [one.films for one in bins] == [10] * 10
    assert [one.rate for one in bins] == pytest.approx([n / 10 for n in range(10)])
    assert [one.mean for one in bins] == pytest.approx([0.05 + n / 10 for n in range(10)], abs=1e-3)
    assert all(0 <= one.low <= one.rate <= one.high <= 1 for one in bins)
    # Wilson's interval of 5 of 10, by hand: (0.2366, 0.7634).
    assert (bins[5].low, bins[5].high) == pytest.approx((0.2366, 0.7634), abs=1e-4)


def test_the_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_reliability(tmp_path, CARD) is None
    write_reliability(tmp_path, CARD, MEASURED)
    assert read_reliability(tmp_path, CARD) == MEASURED
    with pytest.raises(BundleError, match="measured with another card"):
        read_reliability(tmp_path, "cd" * 32)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("cxrd-reliability/1", "other/1"),
        ('"Mass"', '"<script>"'),
        ("0.6", "1.6"),
        ("0.6", '"x"'),
        (", 10]", "]"),
        (", 10]", ", 0]"),
        ('"films": 20', '"films": null'),
        ("{", "["),
        ('"part"', '"other"'),
    ],
)
def test_a_malformed_file_is_refused_in_one_line(tmp_path: Path, old: str, new: str) -> None:
    write_reliability(tmp_path, CARD, MEASURED)
    path = tmp_path / RELIABILITY_FILE
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(BundleError) as refused:
        read_reliability(tmp_path, CARD)
    assert "\n" not in str(refused.value)


def test_the_starter_has_the_bins_of_its_held_out_films() -> None:
    bundle = Bundle.load(STARTER)
    found = read_reliability(STARTER, bundle.sha256)
    assert found is not None
    held_out = bundle.card.metrics["held_out"]
    assert (found.part, found.films, found.patients) == (
        "held_out",
        held_out["images"],
        held_out["patients"],
    )
    assert tuple(found.labels) == LABELS
    for label, bins in found.labels.items():
        positives = sum(one.rate * one.films for one in bins)
        assert positives == pytest.approx(held_out["labels"][label]["positives"], abs=0.01)
        assert sum(one.films for one in bins) == found.films
        assert dataclasses.astuple(bins[0])[0] < dataclasses.astuple(bins[-1])[0]
