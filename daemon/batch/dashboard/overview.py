"""The report in numbers, and the films that the page lists."""

import math
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr_model.findings import LABELS
from daemon.batch.csv_report import HEADER, Row, State
from daemon.batch.dashboard.films import ListedFilm, listed
from dicom_io.gate.reasons import Reason

MOST_FILMS = 20_000
"""Films of the list; the report has all."""
_EXAMPLES = 50
"""Files listed per reason; the report lists all."""

_AGES = (
    (18, "under 18"),
    (40, "18 to 39"),
    (60, "40 to 59"),
    (80, "60 to 79"),
    (math.inf, "80 and over"),
)
_SEXES = {"F": "female", "M": "male", "O": "other"}
_VIEWS = ("PA", "AP")
NOT_STATED = "not stated"
_OTHER = "other"
# PS3.5 6.2: three digits and D, W, M or Y.
_AGE = re.compile(r"(\d{1,3})([DWMY])")
_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}


@dataclass(frozen=True, slots=True)
class ReasonGroup:
    """The files refused for one reason: their number, and the first as (name, detail)."""

    reason: Reason
    count: int
    examples: tuple[tuple[str, str], ...]

    @property
    def unnamed(self) -> int:
        """Number of files beyond `examples`."""
        return self.count - len(self.examples)


@dataclass(frozen=True, slots=True, eq=False)
class Overview:
    """The report in numbers. Arrays have a row per analysed image and a column per label."""

    probabilities: NDArray[np.float32]
    present: NDArray[np.uint8]
    refused: int
    unreadable: int
    unsupported: int
    reasons: tuple[ReasonGroup, ...]
    mix: Mapping[str, tuple[tuple[str, int], ...]]
    """Analysed images by view, sex and age, where one header states them."""
    films: tuple[ListedFilm, ...]

    @classmethod
    def of(cls, rows: Iterable[Row], folder: Path | None = None) -> "Overview":
        """Count the rows one at a time; a report of a million images need not fit in memory.

        Pictures of the films are listed if they are in `folder`.
        """
        mix = _Mix()
        films: list[ListedFilm] = []
        probabilities, present = array("f"), array("B")
        states: dict[State, int] = defaultdict(int)
        counts: dict[Reason, int] = defaultdict(int)
        examples: dict[Reason, list[tuple[str, str]]] = defaultdict(list)
        for row in rows:
            states[row.state] += 1
            if row.reason is None:
                probabilities.extend(row.probabilities)
                present.extend(label in row.present for label in LABELS)
                mix.add(row.header)
                if len(films) < MOST_FILMS:
                    films.append(listed(row, folder))
                continue
            counts[row.reason] += 1
            if len(examples[row.reason]) < _EXAMPLES:
                examples[row.reason].append((row.image_id, row.detail))
        groups = [ReasonGroup(reason, n, tuple(examples[reason])) for reason, n in counts.items()]
        return cls(
            np.array(probabilities, dtype=np.float32).reshape(-1, len(LABELS)),
            np.array(present, dtype=np.uint8).reshape(-1, len(LABELS)),
            states[State.REFUSED],
            states[State.UNREADABLE],
            states[State.UNSUPPORTED],
            tuple(sorted(groups, key=lambda group: (-group.count, group.reason))),
            mix.counted(),
            tuple(films),
        )

    @property
    def analysed(self) -> int:
        """Number of images with probabilities."""
        return len(self.present)

    @property
    def with_findings(self) -> int:
        """Number of images with at least one finding."""
        return int(self.present.any(axis=1).sum())

    def co_occurrence(self) -> NDArray[np.int64]:
        """Return the number of images with both of two findings, shape (14, 14)."""
        table = self.present.astype(np.float32)
        return np.asarray(np.rint(table.T @ table), dtype=np.int64)


@dataclass(slots=True)
class _Mix:
    """Numbers of analysed images by their headers."""

    views: Counter[str] = field(default_factory=Counter)
    sexes: Counter[str] = field(default_factory=Counter)
    ages: Counter[str] = field(default_factory=Counter)

    def add(self, header: Sequence[str]) -> None:
        """Count an image by its attributes in the order of `HEADER`."""
        view, sex, age = header or ("",) * len(HEADER)
        self.views[_view(view)] += 1
        self.sexes[_SEXES.get(sex.upper(), NOT_STATED)] += 1
        self.ages[_age(age)] += 1

    def counted(self) -> Mapping[str, tuple[tuple[str, int], ...]]:
        """Return the groups of each attribute that at least one header states."""
        orders = {
            "View": (self.views, (*_VIEWS, _OTHER)),
            "Sex": (self.sexes, tuple(_SEXES.values())),
            "Age in years": (self.ages, tuple(name for _, name in _AGES)),
        }
        return {
            attribute: tuple((name, counts[name]) for name in (*names, NOT_STATED) if counts[name])
            for attribute, (counts, names) in orders.items()
            if any(counts[name] for name in names)
        }


def _view(text: str) -> str:
    view = text.strip().upper()
    return view if view in _VIEWS else _OTHER if view else NOT_STATED


def _age(text: str) -> str:
    stated = _AGE.fullmatch(text.strip().upper())
    if stated is None:
        return NOT_STATED
    years = int(stated[1]) * _YEARS[stated[2]]
    return next(name for end, name in _AGES if years < end)
