"""Pooling: the labels of a network share slope, curvature and offset as far as they agree."""

import numpy as np
import pytest

from cxr_model.calibrate.fitting import Prior, fit_beta, fit_platt
from cxr_model.calibrate.pooling import Common, Evidence, pool, shared_priors
from cxr_model.predict.curves import sigmoid

LABELS, FILMS = 12, 3000


def network(
    slopes: np.ndarray, offsets: np.ndarray, *, prevalence: float = -1.5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return logits and outcomes (films, labels) of a network with these errors, and patients."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(prevalence, 1.5, (FILMS, len(slopes)))
    centre = logits.mean(axis=0)
    true = slopes * (logits - centre) + centre + offsets
    y = (rng.random(logits.shape) < sigmoid(true)).astype(float)
    return logits, y, (np.arange(FILMS) // 3).astype(str).astype(object)


def evidence(logits: np.ndarray, y: np.ndarray, patients: np.ndarray) -> list[Evidence]:
    return [Evidence.of(logits[:, i], y[:, i], patients) for i in range(logits.shape[1])]


def test_the_common_values_of_equal_labels_are_found() -> None:
    common = pool(evidence(*network(np.full(LABELS, 0.7), np.zeros(LABELS))))
    slope, curvature, offset = common.mean
    assert slope == pytest.approx(0.7, abs=0.03)
    assert curvature == pytest.approx(0.0, abs=0.15)
    assert offset == 0
    assert common.variance[0] < 0.03**2


def test_different_labels_have_a_large_spread() -> None:
    spread = np.linspace(-1, 1, LABELS)
    common = pool(evidence(*network(0.9 + 0.5 * spread, 2.0 * spread)))
    assert np.sqrt(common.variance[0]) == pytest.approx(0.5 * spread.std(), rel=0.3)
    assert np.sqrt(common.variance[2]) == pytest.approx(2.0 * spread.std(), rel=0.3)


def test_a_rare_label_learns_from_the_others() -> None:
    logits, y, patients = network(np.full(LABELS, 0.6), np.zeros(LABELS))
    rare = np.flatnonzero(y[:, 0] > 0)
    y[rare[8:], 0] = 0
    prior = shared_priors(logits, y, patients)[0].pooled
    alone, pooled = fit_platt(logits[:, 0], y[:, 0]), fit_platt(logits[:, 0], y[:, 0], prior=prior)
    assert abs(pooled.slope - 0.6) < 0.05
    assert abs(pooled.slope - 0.6) < abs(alone.slope - 0.6)


def test_a_common_slope_is_that_of_all_labels_and_leaves_the_offset_free() -> None:
    offsets = np.linspace(-1, 1, LABELS)
    logits, y, patients = network(np.full(LABELS, 0.6), offsets)
    curves = [
        fit_platt(logits[:, i], y[:, i], prior=priors.common)
        for i, priors in enumerate(shared_priors(logits, y, patients))
    ]
    slopes = np.array([curve.slope for curve in curves])
    np.testing.assert_allclose(slopes, slopes[0], atol=1e-3)
    assert slopes[0] == pytest.approx(0.6, abs=0.03)
    found = [float(curve.apply(-1.5)) + 1.5 for curve in curves]
    np.testing.assert_allclose(found, offsets, atol=0.2)


def test_films_of_one_patient_count_as_one() -> None:
    logits, y, patients = network(np.array([1.0]), np.array([0.0]))
    thrice = [np.repeat(part, 3, axis=0) for part in (logits, y, patients)]
    (once,), (copied,) = evidence(logits, y, patients), evidence(*thrice)
    np.testing.assert_allclose(copied.estimate, once.estimate, atol=0.02)
    assert copied.inflation == pytest.approx(3 * once.inflation, rel=0.1)
    np.testing.assert_allclose(copied.variance, once.variance, rtol=0.15)


def test_a_firm_prior_is_the_curve_itself() -> None:
    logits, y, patients = network(np.array([1.0]), np.array([0.0]))
    (label,) = evidence(logits, y, patients)
    firm = Common(np.array([0.8, 0.3, -0.2]), np.full(3, 1e-9))
    curve = fit_beta(logits[:, 0], y[:, 0], prior=label.prior(firm))
    assert curve.a - curve.b == pytest.approx(0.3, abs=1e-3)
    at_centre = float(curve.apply(label.centre))
    assert at_centre - label.centre == pytest.approx(
        -0.2 + 0.3 * (curvature(label.centre) - label.curve_mean), abs=1e-3
    )
    platt = fit_platt(logits[:, 0], y[:, 0], prior=label.prior(firm))
    assert platt.slope == pytest.approx(0.8, abs=0.15)


def curvature(logit: float) -> float:
    return -float(np.logaddexp(0, logit) + np.logaddexp(0, -logit)) / 2


def test_labels_without_outcomes_keep_the_networks_probability() -> None:
    logits, y, patients = network(np.full(3, 0.5), np.zeros(3))
    y[:] = 0
    y[:4] = 1
    for priors in shared_priors(logits, y, patients):
        prior = priors.pooled
        assert isinstance(prior, Prior)
        np.testing.assert_allclose(prior.mean, [1.0, 1.0, 0.0], atol=1e-9)


def test_a_constant_label_does_not_affect_the_common_values() -> None:
    logits, y, patients = network(np.full(LABELS, 0.7), np.zeros(LABELS))
    expected = pool(evidence(logits[:, 1:], y[:, 1:], patients))
    logits[:, 0] = -2.0
    labels = evidence(logits, y, patients)
    assert not labels[0].is_informative
    found = pool([label for label in labels if label.is_informative])
    np.testing.assert_array_equal(found.mean, expected.mean)
    curve = fit_beta(logits[:, 0], y[:, 0], prior=labels[0].prior(found))
    assert sigmoid(curve.apply([-2.0]))[0] == pytest.approx(y[:, 0].mean(), abs=0.2)
