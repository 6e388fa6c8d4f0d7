"""Thresholds at a specificity, and the scales of heatmaps."""

import numpy as np
import pytest

from cxr_model.calibrate.operating_point import map_scales, mean_film, thresholds_at_specificity
from cxr_model.findings import LABELS


def test_the_threshold_is_the_lowest_of_its_specificity() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random((200, 14))
    targets = (rng.random((200, 14)) < 0.3).astype(np.float64)
    thresholds = thresholds_at_specificity(probabilities, targets, 0.95)
    for i, label in enumerate(LABELS):
        negatives = np.sort(probabilities[targets[:, i] == 0, i])
        assert (negatives < thresholds[label]).mean() >= 0.95
        next_lower = negatives[negatives < thresholds[label]][-1]
        assert (negatives < next_lower).mean() < 0.95


def test_equal_negatives_stay_absent() -> None:
    thresholds = thresholds_at_specificity(np.full((9, 14), 0.2), np.zeros((9, 14)), 0.9)
    assert set(thresholds.values()) == {0.6}


def test_a_label_without_negatives_gets_one_half() -> None:
    thresholds = thresholds_at_specificity(np.full((9, 14), 0.9), np.ones((9, 14)), 0.9)
    assert set(thresholds.values()) == {0.5}


def test_map_scales_follow_the_rising_cells_only() -> None:
    maps = np.full((4, 14, 5, 5), -3.0, np.float32)
    maps[:, 1] = np.linspace(-1, 2, 100, dtype=np.float32).reshape(4, 5, 5)
    scales = map_scales(maps)
    assert scales["Cardiomegaly"] == pytest.approx(1.97, abs=0.01)
    assert 0 < scales["Mass"] < 0.1


def test_the_mean_film_is_symmetrical() -> None:
    maps = np.zeros((2, 14, 1, 3), np.float32)
    maps[:, 0] = [[[1, 2, 9]], [[3, 4, 1]]]
    np.testing.assert_allclose(mean_film(maps)[0], [[3.5, 3, 3.5]])
