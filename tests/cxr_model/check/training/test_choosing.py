"""Thresholds lie where few right films are refused, noted or altered."""

import numpy as np
import pytest

from cxr_model.check.card import Thresholds
from cxr_model.check.picture_check import Probabilities
from cxr_model.check.training.choosing import choose


def found(frontal: float = 0.99, mirrored: float = 0.01, turned: float = 0.0) -> Probabilities:
    return Probabilities(
        views=np.array([frontal, 1 - frontal, 0.0]),
        turns=np.array([1 - turned, turned, 0.0, 0.0]),
        mirrored=mirrored,
        inverted=0.0,
    )


def limits(
    films: list[Probabilities], sources: list[str], others: list[Probabilities] | None = None
) -> Thresholds:
    return choose(films, sources, [[film] for film in films], others or [])


def test_the_worst_source_limits_the_frontal_threshold() -> None:
    films = [found(0.99)] * 400 + [found(0.7)] * 120
    assert limits(films, ["good"] * 400 + ["poor"] * 120).frontal == pytest.approx(0.7)
    assert limits(films[:400], ["good"] * 400).frontal == 0.95


def test_variations_do_not_move_the_frontal_threshold() -> None:
    films = [found(0.9)] * 200
    varied = [[found(0.1)]] * 200
    assert choose(films, ["one"] * 200, varied, []).frontal == pytest.approx(0.9)


def test_the_frontal_threshold_lies_between_frontal_films_and_others() -> None:
    films, sources = [found(0.9)] * 200, ["one"] * 200
    between = limits(films, sources, [found(0.5)] * 100).frontal
    assert between == pytest.approx(0.75)
    assert limits(films, sources, [found(0.95)] * 100).frontal == pytest.approx(0.9)
    assert limits(films, sources, [found(0.01)] * 100).frontal == 0.5


def test_small_sources_are_joined() -> None:
    films = [found(0.6), *[found(0.99)] * 399]
    assert limits(films, [str(n) for n in range(400)]).frontal > 0.9


def test_false_notes_raise_the_threshold_of_mirrored() -> None:
    films = [found(mirrored=0.01)] * 190 + [found(mirrored=0.8)] * 10
    assert limits(films, ["one"] * 200).mirrored == pytest.approx(0.8)
    assert limits(films[:190], ["one"] * 190).mirrored == 0.5


def test_two_films_of_a_small_source_do_not_decide_alone() -> None:
    films = [found(mirrored=0.01)] * 1000 + [found(mirrored=0.9)] * 2
    assert limits(films, ["large"] * 1000 + ["small"] * 2).mirrored == 0.5


def test_no_wrong_answer_is_certain() -> None:
    sure = limits([found()] * 200, ["one"] * 200)
    unsure = limits([found(turned=0.99), *[found()] * 199], ["one"] * 200)
    assert sure.turned_certain == 0.98
    assert 0.99 < unsure.turned_certain < 1.0
