"""Numbers of a finding as text: never a probability without its threshold.

A probability says little alone: 0.012 may exceed a threshold of 0.008. Findings are ranked by their
odds over those at the threshold, which compares rare findings with frequent ones.
"""

import math

NOT_CALIBRATED = "the probabilities are not calibrated"
"""Note on every film if the slope of the card's probabilities is unknown or differs from 1."""

_MOST_DECIMALS = 6
_NEAREST = 1e-6


def odds_over_threshold(probability: float, threshold: float) -> float:
    """Return the odds of `probability` divided by the odds of `threshold`.

    Both are kept 1e-6 away from 0 and 1.
    """
    p, t = (min(max(value, _NEAREST), 1 - _NEAREST) for value in (probability, threshold))
    return p / (1 - p) * (1 - t) / t


def probability_text(probability: float) -> str:
    """Return a probability with two decimals, or with two figures where it is near 0 or 1."""
    rest = min(probability, 1 - probability)
    decimals = 1 - math.floor(math.log10(rest)) if rest > 0 else 0
    return f"{probability:.{min(max(decimals, 2), _MOST_DECIMALS)}f}"


def odds_text(probability: float, threshold: float) -> str:
    """Return a sentence part: ``8.0 times the odds of its threshold 0.17``."""
    times = odds_over_threshold(probability, threshold)
    number = f"{times:.1f}" if times < 10 else f"{times:.0f}"
    if times >= 1000:
        number = "over 1000"
    return f"{number} times the odds of its threshold {probability_text(threshold)}"
