"""Thresholds of a picture check, chosen on films of patients that did not train it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cxr_model.check.card import Thresholds
from cxr_model.check.picture_check import Probabilities

#: The rules, as a card names them.
RULES = {
    "frontal": "half way, in log odds, between the threshold that refuses 1 % of the frontal films "
    "of the worst source and the one that accepts 1 % of the other pictures; the first alone if it "
    "is the lower one; from 0.5 to 0.95",
    "mirrored": "the lowest, from 0.5, with at most 0.5 % false notes on all films and their "
    "variations",
    "turned_certain, mirrored_certain, inverted_certain": "one unit of log odds above the most "
    "certain wrong answer on the films and their variations, and at least 0.98",
}

_REFUSED, _ACCEPTED, _FALSE_NOTES = 0.01, 0.01, 0.005
_HIGHEST, _LOWEST = 0.95, 0.5
_CERTAIN, _MARGIN, _MOST_CERTAIN = 0.98, 1.0, 0.99999
# Sources with fewer films cannot measure such shares and are joined.
_FEWEST = 50


def choose(
    films: Sequence[Probabilities],
    sources: Sequence[str],
    variations: Sequence[Sequence[Probabilities]],
    others: Sequence[Probabilities],
) -> Thresholds:
    """Return thresholds for upright, correctly shown frontal films.

    `films` (n) are as they are, `variations` (n) the same films varied, `sources` (n) theirs;
    `others` are pictures that are no frontal film, if there are any.
    """
    frontal = np.array([p.views[0] for p in films])
    shown = [[film, *others] for film, others in zip(films, variations, strict=True)]
    mirrored = np.array([[p.mirrored for p in row] for row in shown])
    turned = np.array([p.turns[1:].max() for row in shown for p in row])
    inverted = np.array([p.inverted for row in shown for p in row])
    groups = _groups(sources)
    kept = min(float(np.quantile(frontal[group], _REFUSED)) for group in groups)
    return Thresholds(
        frontal=min(max(_between(kept, others), _LOWEST), _HIGHEST),
        turned_certain=_above(turned),
        mirrored=max(_LOWEST, float(np.quantile(mirrored, 1 - _FALSE_NOTES))),
        mirrored_certain=_above(mirrored.ravel()),
        inverted_certain=_above(inverted),
    )


def _groups(sources: Sequence[str]) -> list[NDArray[np.int64]]:
    names, numbers, sizes = np.unique(list(sources), return_inverse=True, return_counts=True)
    small = sizes < _FEWEST
    groups = [np.flatnonzero(numbers == i) for i in range(len(names)) if not small[i]]
    rest = np.flatnonzero(small[numbers])
    return [*groups, rest] if rest.size else groups


def _between(kept: float, others: Sequence[Probabilities]) -> float:
    """Return the threshold between frontal films, kept above `kept`, and `others` below."""
    accepted = np.quantile([p.views[0] for p in others], 1 - _ACCEPTED) if others else kept
    low, high = np.clip([min(accepted, kept), kept], 1e-6, 1 - 1e-6)
    odds = np.log(low / (1 - low)) + np.log(high / (1 - high))
    return float(1.0 / (1.0 + np.exp(-odds / 2)))


def _above(wrong: NDArray[np.float64]) -> float:
    """Return a threshold above every probability of a wrong answer."""
    most = min(max(_CERTAIN, float(wrong.max())), _MOST_CERTAIN)
    odds = np.log(most / (1 - most)) + (_MARGIN if wrong.max() > _CERTAIN else 0.0)
    return float(min(_MOST_CERTAIN, 1.0 / (1.0 + np.exp(-odds))))
