"""Thresholds lie where few right films are refused, noted or altered."""

import numpy as np

from cxr_model.check.picture_check import Probabilities
from cxr_model.check.training.choosing import choose


def found(frontal: float = 0.99, mirrored: float = 0.01, turned: float = 0.0) -> Probabilities:
    return Probabilities(
        views=np.array([frontal, 1 - frontal, 0.0]),
        turns=np.array([1 - turned, turned, 0.0, 0.0]),
        mirrored=mirrored,
        inverted=0.0,
    )


def test_the_worst_source_limits_the_frontal_threshold() -> None:
    films = [found(0.99)] * 400 + [found(0.7)] * 120
    limits = choose(films, ["good"] * 400 + ["poor"] * 120)
    assert limits.frontal == 0.7
    assert choose(films[:400], ["good"] * 400).frontal == 0.95


def test_small_sources_are_joined() -> None:
    films = [found(0.99)] * 200 + [found(0.6), *[found(0.99)] * 199]
    limits = choose(films, [str(n) for n in range(400)])
    assert limits.frontal > 0.9


def test_false_notes_raise_the_threshold_of_mirrored() -> None:
    films = [found(mirrored=0.01)] * 190 + [found(mirrored=0.8)] * 10
    assert choose(films, ["one"] * 200).mirrored == 0.8
    assert choose(films[:190], ["one"] * 190).mirrored == 0.5


def test_no_wrong_answer_is_certain() -> None:
    sure = choose([found()] * 200, ["one"] * 200)
    unsure = choose([found(turned=0.99), *[found()] * 199], ["one"] * 200)
    assert sure.turned_certain == 0.98
    assert 0.99 < unsure.turned_certain < 1.0
