"""Numbers of a finding as text: never a probability without its threshold.

A probability says little alone: 0.012 may exceed a threshold of 0.008. Findings are ranked by their
odds over those at the threshold, which compares rare findings with frequent ones.
"""

import math
import operator
from collections.abc import Iterable
from functools import lru_cache
from typing import Protocol

_MOST_DECIMALS = 6
_NEAREST = 1e-6
_first = operator.itemgetter(0)


class Finding(Protocol):
    """The result for one label; probability and threshold are calibrated."""

    @property
    def label(self) -> str:
        """Name of the finding."""

    @property
    def probability(self) -> float:
        """Probability of the finding, 0 to 1."""

    @property
    def threshold(self) -> float:
        """Probability from which the finding is called present."""

    @property
    def present(self) -> bool:
        """True if the finding is called present."""


def summary(findings: Iterable[Finding]) -> str:
    """Return the findings present, the one furthest above its threshold first; else nothing.

    ``Effusion 0.62 (8.0 times the odds of its threshold 0.17); Mass 0.31 (…)``.
    """
    present = [
        ranked(finding.label, finding.probability, finding.threshold)
        for finding in findings
        if finding.present
    ]
    return summary_of(present)


def summary_of(present: Iterable[tuple[float, str]]) -> str:
    """Return the texts of `ranked`, the finding furthest above its threshold first."""
    return "; ".join([text for _, text in sorted(present, key=_first)])


@lru_cache(maxsize=4096)
def ranked(label: str, probability: float, threshold: float) -> tuple[float, str]:
    """Return the rank of a finding that is present, the lowest first, and its text."""
    times = odds_over_threshold(probability, threshold)
    text = f"{label} {probability_text(probability)} ({_odds_text(times, threshold)})"
    return -times, text


def odds_over_threshold(probability: float, threshold: float) -> float:
    """Return the odds of `probability` divided by the odds of `threshold`.

    Both are kept 1e-6 away from 0 and 1.
    """
    p = min(max(probability, _NEAREST), 1 - _NEAREST)
    t = min(max(threshold, _NEAREST), 1 - _NEAREST)
    return p / (1 - p) * (1 - t) / t


def probability_text(probability: float) -> str:
    """Return a probability with two decimals, or with two figures where it is near 0 or 1."""
    rest = min(probability, 1 - probability)
    if rest >= 0.1:
        return f"{probability:.2f}"
    decimals = 1 - math.floor(math.log10(rest)) if rest > 0 else 0
    return f"{probability:.{min(max(decimals, 2), _MOST_DECIMALS)}f}"


def odds_text(probability: float, threshold: float) -> str:
    """Return a sentence part: ``8.0 times the odds of its threshold 0.17``."""
    return _odds_text(odds_over_threshold(probability, threshold), threshold)


def _odds_text(times: float, threshold: float) -> str:
    number = f"{times:.1f}" if times < 10 else f"{times:.0f}"
    if times >= 1000:
        number = "over 1000"
    return f"{number} times the odds of its threshold {_threshold_text(threshold)}"


_threshold_text = lru_cache(maxsize=256)(probability_text)
"""A model has a threshold for each label, which many findings share."""
