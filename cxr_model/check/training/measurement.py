"""Figures of a picture check on held-out pictures, with exact 95 % intervals."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_model.calibrate.call_rates import rate
from cxr_model.check.appearance import Appearance, View
from cxr_model.check.picture_check import PictureCheck
from cxr_model.check.training.examples import Example
from cxr_model.check.training.variation import varied

Grey = NDArray[np.uint8]

INTERVALS = (
    "95 %, exact (Clopper and Pearson), for the effective number of pictures, because pictures of "
    "a patient are alike"
)
_TIMED = 20
_TIMED_SIDE = 2500


@dataclass(frozen=True, slots=True)
class Figure:
    """A share of the pictures of a set, `share`, with its interval."""

    name: str
    set: str
    pictures: int
    groups: int
    share: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        """Return the figure as the card has it."""
        return {
            "figure": self.name,
            "set": self.set,
            "pictures": self.pictures,
            "groups": self.groups,
            "share": round(self.share, 4),
            "share_95": [round(self.low, 4), round(self.high, 4)],
        }


def measure(
    check: PictureCheck, examples: Sequence[Example], pictures: Sequence[Grey], seed: int
) -> list[Figure]:
    """Return the figures of held-out pictures, per source of frontal films and per other kind."""
    sets: dict[tuple[View, str], list[int]] = {}
    for index, example in enumerate(examples):
        name = example.source if example.view is View.FRONTAL else example.kind
        sets.setdefault((example.view, name), []).append(index)
    figures = []
    for (view, name), members in sorted(sets.items()):
        films = [pictures[i] for i in members]
        groups = np.unique([examples[i].group for i in members], return_inverse=True)[1]
        if view is View.FRONTAL:
            figures += _of_frontals(check, name, films, groups, np.random.default_rng(seed))
        else:
            seen = [check.examine(film) for film in films]
            figures.append(_figure("accepted as frontal", name, _accepted(seen), groups))
            if view is View.LATERAL:
                hits = [a.view is View.LATERAL for a in seen]
                figures.append(_figure("called lateral", name, hits, groups))
    return figures


def _of_frontals(
    check: PictureCheck,
    name: str,
    films: Sequence[Grey],
    groups: NDArray[np.int64],
    rng: np.random.Generator,
) -> list[Figure]:
    plain = [check.examine(film) for film in films]
    changed = [check.examine(varied(film, rng)) for film in films]
    mirror = [check.examine(np.fliplr(film)) for film in films]
    negative = [check.examine(np.asarray(255 - film, dtype=np.uint8)) for film in films]
    turned = [
        (quarters, check.examine(np.rot90(film, -quarters)))
        for film in films
        for quarters in (1, 2, 3)
    ]
    results: Mapping[str, Iterable[bool]] = {
        "refused": (a.view is not View.FRONTAL for a in plain),
        "refused when cropped, tilted, windowed, rimmed, labelled": (
            a.view is not View.FRONTAL for a in changed
        ),
        "altered": (_altered(a) for a in plain),
        "altered when varied": (_altered(a) for a in changed),
        "mirrored: false notes": (a.mirrored for a in plain),
        "mirrored: found": (a.mirrored for a in mirror),
        "inverted: right": (a.inverted and a.turned == 0 for a in negative),
        "inverted: certain": (a.inverted and a.inverted_certain for a in negative),
        "turned: right": (a.turned == 90 * quarters for quarters, a in turned),
        "turned: certain": (
            a.turned == 90 * quarters and a.turned_certain for quarters, a in turned
        ),
    }
    return [
        _figure(figure, name, hits, np.repeat(groups, 3) if "turned" in figure else groups)
        for figure, hits in results.items()
    ]


def _accepted(seen: Iterable[Appearance]) -> list[bool]:
    return [a.view is View.FRONTAL for a in seen]


def _altered(seen: Appearance) -> bool:
    """Return True if the picture alone would be turned or inverted."""
    is_turned = seen.turned != 0 and seen.turned_certain
    return is_turned or (seen.inverted and seen.inverted_certain)


def _figure(name: str, set_: str, hits: Iterable[bool], groups: NDArray[np.int64]) -> Figure:
    found = np.array(list(hits), dtype=np.bool_)
    share = rate(found, groups)
    patients = len(np.unique(groups))
    return Figure(name, set_, found.size, patients, share.value, share.low, share.high)


def milliseconds(check: PictureCheck, clock: Callable[[], float] = time.process_time) -> float:
    """Return the CPU time of one film of 2,500 x 2,500 pixels."""
    film = np.random.default_rng(0).integers(0, 256, (_TIMED_SIDE, _TIMED_SIDE)).astype(np.uint8)
    check.examine(film)
    start = clock()
    for _ in range(_TIMED):
        check.examine(film)
    return (clock() - start) / _TIMED * 1000


def figure_rows(figures: Iterable[Figure]) -> list[list[str]]:
    """Return the figures as the rows of a table, the heading first."""
    return [
        ["figure", "set", "pictures", "share", "95 %"],
        *(
            [f.name, f.set, str(f.pictures), f"{f.share:.2%}", f"{f.low:.2%} to {f.high:.2%}"]
            for f in figures
        ),
    ]
