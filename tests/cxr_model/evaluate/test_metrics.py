"""Metrics agree with their definitions, and their intervals with a plain bootstrap."""

import time

import numpy as np
import pytest

from cxr_model.evaluate import metrics
from cxr_model.evaluate.bootstrap import Resampling, bootstrap, interval


def sample(n: int = 3000, *, seed: int = 0, decimals: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities and outcomes drawn from them; few decimals make ties."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.6, 5.0, n).round(decimals)
    return p, (rng.random(n) < p).astype(float)


@pytest.mark.parametrize("decimals", [8, 2, 1])
def test_metrics_agree_with_their_definitions(decimals: int) -> None:
    p, y = sample(decimals=decimals)
    p = np.clip(p, 1e-6, 1 - 1e-6)
    margin = p[y == 1][:, None] - p[y == 0]
    pairs = (margin > 0).mean() + (margin == 0).mean() / 2
    assert metrics.auc(p, y) == pytest.approx(pairs, abs=1e-9)
    area = recall_before = 0.0
    for threshold in sorted(set(p), reverse=True):
        recall, precision = y[p >= threshold].sum() / y.sum(), y[p >= threshold].mean()
        area += (recall - recall_before) * precision
        recall_before = recall
    assert metrics.average_precision(p, y) == pytest.approx(area, abs=1e-9)
    assert metrics.brier(p, y) == pytest.approx(np.square(p - y).sum() / len(p), abs=1e-9)
    assert metrics.nll(p, y) == pytest.approx(-np.log(np.where(y == 1, p, 1 - p)).mean(), abs=1e-9)


def test_a_certain_and_wrong_probability_has_a_finite_likelihood() -> None:
    p, y = np.array([0.0, 1.0, 1.0, 0.0]), np.array([1.0, 0.0, 1.0, 0.0])
    assert metrics.nll(p, y) == pytest.approx(-np.log(1e-15) / 2, rel=1e-3)
    assert metrics.nll_terms(p, y).mean() == pytest.approx(metrics.nll(p, y), abs=1e-9)


def test_ece_of_hand_made_bins() -> None:
    p = np.array([0.1, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 0.9])
    y = np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    assert metrics.ece_mass(p, y, bins=2) == pytest.approx((0.15 + 0.1) / 2)
    assert metrics.ece_width(p, y, bins=10) == pytest.approx((0.15 + 0.1) / 2)
    assert metrics.ece_mass(p, y, bins=1) == pytest.approx(0.625 - 0.5)


def test_equal_mass_bins_are_equal_and_keep_equal_probabilities_together() -> None:
    p = np.random.default_rng(0).permutation(np.linspace(0, 1, 103))
    assert sorted(np.bincount(metrics.mass_bins(p, 10))) == [10] * 7 + [11] * 3
    tied = p.round(1)
    which = metrics.mass_bins(tied, 7)
    assert all(len(set(which[tied == value])) == 1 for value in set(tied))


def test_the_constant_predictor_has_no_error_and_no_skill() -> None:
    _, y = sample()
    p = np.full_like(y, y.mean())
    assert metrics.ece_mass(p, y) == pytest.approx(0.0, abs=1e-12)
    assert metrics.brier_skill(p, y) == pytest.approx(0.0, abs=1e-12)
    assert metrics.auc(p, y) == 0.5
    assert metrics.no_skill(p, y)


def test_right_probabilities_have_skill_and_sit_at_the_noise_floor() -> None:
    p, y = sample(20_000)
    assert not metrics.no_skill(p, y)
    floor = metrics.noise_floor(p)
    assert 0.4 * floor < metrics.ece_mass(p, y) < 2 * floor
    assert metrics.ece_debiased(p, y) < 0.01
    wrong = np.clip(p * 2, 0, 1)
    assert metrics.ece_mass(wrong, y) > 5 * floor
    assert metrics.ece_debiased(wrong, y) > 0.05


def test_the_noise_floor_falls_with_the_root_of_n() -> None:
    p, _ = sample(16_000)
    assert metrics.noise_floor(p[:4000]) / metrics.noise_floor(p) == pytest.approx(2.0, rel=0.15)


def test_sensitivity_and_specificity_count_the_threshold_as_positive() -> None:
    p = np.array([0.1, 0.3, 0.3, 0.8])
    y = np.array([0.0, 0.0, 1.0, 1.0])
    assert metrics.sensitivity(p, y, 0.3) == 1.0
    assert metrics.specificity(p, y, 0.3) == 0.5


def test_without_positives_a_metric_is_undefined() -> None:
    p, y = np.array([0.1, 0.2]), np.zeros(2)
    for function in (metrics.auc, metrics.average_precision, metrics.brier_skill):
        assert np.isnan(function(p, y))
    assert np.isnan(metrics.sensitivity(p, y, 0.5))
    assert metrics.no_skill(p, y)


@pytest.mark.parametrize("decimals", [8, 1])
def test_each_resample_is_the_metric_of_the_rows_drawn(decimals: int) -> None:
    p, y = sample(400, decimals=decimals)
    patients = np.array([str(i // 4) for i in range(400)], dtype=object)
    resampling = Resampling.of(patients, resamples=60, seed=1)
    drawn = bootstrap(p, y, resampling, threshold=0.1)
    for i in (0, 49, 50, 59):
        rows = np.repeat(np.arange(400), resampling.counts[i][resampling.rows])
        q, t = p[rows], y[rows]
        for name in ("auc", "average_precision", "brier", "brier_skill", "nll", "ece_width"):
            assert drawn[name][i] == pytest.approx(getattr(metrics, name)(q, t), abs=1e-9), name
        for name in ("sensitivity", "specificity"):
            assert drawn[name][i] == pytest.approx(getattr(metrics, name)(q, t, 0.1), abs=1e-9)


def test_patients_are_drawn_whole_so_intervals_widen_with_their_images() -> None:
    p, y = sample(600)
    repeated = np.repeat(p, 8), np.repeat(y, 8)
    patients = np.repeat(np.array([str(i) for i in range(600)], dtype=object), 8)
    images = np.array([str(i) for i in range(4800)], dtype=object)
    by_patient = interval(bootstrap(*repeated, Resampling.of(patients, resamples=300))["auc"])
    by_image = interval(bootstrap(*repeated, Resampling.of(images, resamples=300))["auc"])
    width = by_patient.high - by_patient.low
    assert width > 2 * (by_image.high - by_image.low)
    assert by_patient.low < metrics.auc(*repeated) < by_patient.high


def test_an_interval_of_undefined_values_is_undefined() -> None:
    assert np.isnan(interval(np.array([np.nan, np.nan])).low)


def test_the_bootstrap_is_fast() -> None:
    p, y = sample(11_000)
    patients = np.array([str(i // 3) for i in range(11_000)], dtype=object)
    start = time.process_time()
    bootstrap(p, y, Resampling.of(patients, resamples=100))
    # 14 labels of 1000 resamples at this speed take 210 s of a slow core, 30 s of a common one.
    assert time.process_time() - start < 1.5
