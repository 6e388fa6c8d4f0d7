"""The list of films: each with its thumbnail, its findings and their heatmaps."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cxr_model.findings import LABELS
from daemon.batch.csv_report import Row
from daemon.batch.thumbnails import thumbnail_name

FIRST_FILMS = 50
"""Films that stand in the page itself, for a browser that runs no script."""
_PLACES = {label: place for place, label in enumerate(LABELS)}
_DIGITS = 1000


@dataclass(frozen=True, slots=True)
class ListedFilm:
    """A film of the list.

    `findings` are places in `LABELS` in the order of the summary. `heatmaps` are the paths of their
    heatmaps, of which the thumbnail shows the same number after the film; both may be empty.
    """

    name: str
    probabilities: tuple[float, ...]
    findings: tuple[int, ...]
    thumbnail: str
    heatmaps: tuple[str, ...]

    def excess(self, thresholds: Mapping[str, float]) -> float:
        """Return the logarithm of the largest odds in units of the odds of its threshold."""
        return max(
            _log_odds(p) - _log_odds(thresholds[label])
            for label, p in zip(LABELS, self.probabilities, strict=True)
        )


def listed(row: Row, folder: Path | None) -> ListedFilm:
    """Return the film of an analysed row, with the pictures that are in `folder`."""
    path = thumbnail_name(row.image_id)
    has_pictures = folder is not None and (folder / path).is_file()
    return ListedFilm(
        row.image_id,
        row.probabilities,
        tuple(_PLACES[label] for label in row.ranked),
        path if has_pictures else "",
        row.heatmaps if has_pictures else (),
    )


def ordered(films: Iterable[ListedFilm], thresholds: Mapping[str, float]) -> list[ListedFilm]:
    """Return the films, that with the finding furthest above its threshold first."""
    return sorted(films, key=lambda film: (-film.excess(thresholds), film.name))


@dataclass(frozen=True, slots=True)
class Picture:
    """A tile of a thumbnail: its place in the file, its words, a link to the large picture."""

    place: int
    words: str
    link: str


@dataclass(frozen=True, slots=True)
class FilmView:
    """A film as the template shows it; `others` are findings without a heatmap."""

    name: str
    source: str
    pictures: tuple[Picture, ...]
    others: tuple[str, ...]
    highest: str
    """The finding nearest to its threshold, of a film without a finding."""


def film_view(film: ListedFilm, thresholds: Mapping[str, float]) -> FilmView:
    """Return a film with its words."""
    words = {LABELS[place]: _words(place, film.probabilities[place]) for place in film.findings}
    drawn = [label_of(path) for path in film.heatmaps]
    pictures = [Picture(0, "film", "")] if film.thumbnail else []
    pictures += [
        Picture(place, words.pop(label, label), quote(path))
        for place, (label, path) in enumerate(zip(drawn, film.heatmaps, strict=True), start=1)
    ]
    highest = ""
    if not film.findings:
        nearest = max(
            range(len(LABELS)),
            key=lambda i: _log_odds(film.probabilities[i]) - _log_odds(thresholds[LABELS[i]]),
        )
        highest = _words(nearest, film.probabilities[nearest])
    return FilmView(
        film.name, quote(film.thumbnail), tuple(pictures), tuple(words.values()), highest
    )


def films_data(films: Sequence[ListedFilm], thresholds: Mapping[str, float]) -> dict[str, Any]:
    """Return the films for the script, short: see `films.js`.

    A film is a list: name, thumbnail, start of the paths of its heatmaps, places of their findings,
    places of the other findings, 14 probabilities in thousandths.
    """
    return {
        "labels": LABELS,
        "thresholds": [thresholds[label] for label in LABELS],
        "films": [_data(film) for film in films],
    }


def label_of(heatmap: str) -> str:
    """Return the label of a heatmap's path."""
    return heatmap.removesuffix(".png").rpartition(".")[2]


def _data(film: ListedFilm) -> list[Any]:
    drawn = [_PLACES[label_of(path)] for path in film.heatmaps]
    start = film.heatmaps[0].removesuffix(f"{LABELS[drawn[0]]}.png") if drawn else ""
    others = [place for place in film.findings if place not in drawn]
    return [
        *(film.name, film.thumbnail, start, drawn, others),
        [round(_DIGITS * p) for p in film.probabilities],
    ]


def _words(place: int, probability: float) -> str:
    return f"{LABELS[place].replace('_', ' ')} {probability:.2f}"


def _log_odds(p: float) -> float:
    inside = min(max(p, 1e-7), 1 - 1e-7)
    return math.log(inside / (1 - inside))
