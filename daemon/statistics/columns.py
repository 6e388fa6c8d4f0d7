"""The films of one day as small arrays: about 60 bytes a film."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from cxr_model.findings import LABELS
from daemon.statistics.vocabulary import Names, Vocabulary
from storage.records import InstanceState
from storage.statistics.film_days import FilmDay, FilmRow

STATES = tuple(InstanceState)
VIEWS = ("PA", "AP", "other", "not stated")
SEXES = ("F", "M", "other", "not stated")
AGES = ("0–9", "10–19", "20–29", "30–39", "40–49", "50–59", "60–69", "70–79", "80–89", "90+")
NO_AGE = "not stated"

_MOST_LOG_ODDS = 16.0
_MOST_AGE = 130


@dataclass(frozen=True, slots=True, eq=False)
class DayColumns:
    """Films in the order of their reception; every array has a row per film.

    Attributes:
        state, sender, source, reason, model, view, sex, age: numbers of texts; `age` is a band,
            and `len(AGES)` where it is not stated.
        patient: a number that tells patients apart.
        log_odds: shape (films, 14); NaN where there is no result.
        calls: shape (films, 14), True where the finding is present.
        thresholds: shape (14,), of the day's last result; NaN where there is none.
    """

    state: NDArray[np.uint8]
    sender: NDArray[np.uint16]
    source: NDArray[np.uint16]
    reason: NDArray[np.uint16]
    model: NDArray[np.uint16]
    view: NDArray[np.uint8]
    sex: NDArray[np.uint8]
    age: NDArray[np.uint8]
    patient: NDArray[np.uint32]
    log_odds: NDArray[np.float16]
    calls: NDArray[np.bool_]
    thresholds: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.state)

    @property
    def analysed(self) -> NDArray[np.bool_]:
        """Return True for each film that has a result for all labels."""
        return ~np.isnan(self.log_odds[:, 0])


def columns_of(day: FilmDay, vocabulary: Vocabulary) -> DayColumns:
    """Return the films of a day as arrays."""
    films = day.films
    rows = {film.id: i for i, film in enumerate(films)}
    log_odds = np.full((len(films), len(LABELS)), np.nan, np.float16)
    calls = np.zeros((len(films), len(LABELS)), np.bool_)
    thresholds = np.full(len(LABELS), np.nan, np.float32)
    places = {label: i for i, label in enumerate(LABELS)}
    found = [
        (row, place, *numbers)
        for film, label, *numbers in day.findings
        if (row := rows.get(film)) is not None and (place := places.get(label)) is not None
    ]
    if found:
        films_of, places_of = (np.array([cells[i] for cells in found]) for i in (0, 1))
        probability, threshold = (np.array([cells[i] for cells in found]) for i in (2, 3))
        present = np.array([bool(cells[4]) for cells in found])
        with np.errstate(divide="ignore"):
            odds = np.log(probability) - np.log1p(-probability)
        log_odds[films_of, places_of] = np.clip(odds, -_MOST_LOG_ODDS, _MOST_LOG_ODDS)
        calls[films_of, places_of] = present
        thresholds[places_of] = threshold
    # A model without one of the labels has no figures of all findings.
    log_odds[np.isnan(log_odds).any(axis=1)] = np.nan

    def numbers(texts: Sequence[str], names: Names) -> NDArray[np.uint16]:
        return np.array([names.number(text) for text in texts], np.uint16)

    return DayColumns(
        np.array([STATES.index(InstanceState(film.state)) for film in films], np.uint8),
        numbers([film.sender for film in films], vocabulary.senders),
        numbers([film.source for film in films], vocabulary.sources),
        numbers([film.reason or "" for film in films], vocabulary.reasons),
        numbers([film.model_sha256 or "" for film in films], vocabulary.models),
        np.array([_view(film.view) for film in films], np.uint8),
        np.array([_sex(film.sex) for film in films], np.uint8),
        np.array([_age(film.birth_date, film.study_date) for film in films], np.uint8),
        np.array([_patient(film) for film in films], np.uint32),
        log_odds,
        calls,
        thresholds,
    )


def age_in_years(birth_date: str | None, study_date: str) -> int | None:
    """Return the age on the day of the study, or None where a date is missing or impossible.

    Both are DICOM dates, `19700131`.
    """
    try:
        born, on = (date.fromisoformat((text or "").strip()) for text in (birth_date, study_date))
    except ValueError:
        return None
    age = on.year - born.year - ((on.month, on.day) < (born.month, born.day))
    return age if 0 <= age <= _MOST_AGE else None


def _age(birth_date: str | None, study_date: str) -> int:
    age = age_in_years(birth_date, study_date)
    return len(AGES) if age is None else min(age // 10, len(AGES) - 1)


def _view(text: str | None) -> int:
    """Return the number of a ViewPosition (0018,5101)."""
    return _place((text or "").strip().upper(), VIEWS)


def _sex(text: str | None) -> int:
    """Return the number of a PatientSex (0010,0040)."""
    return _place((text or "").strip().upper(), SEXES)


def _place(text: str, names: tuple[str, ...]) -> int:
    if not text:
        return len(names) - 1
    return names.index(text) if text in names[:-2] else len(names) - 2


def _patient(film: FilmRow) -> int:
    """Return a number for the patient of a source; without a Patient ID each film is its own."""
    key = f"{film.source}\0{film.patient_id}" if film.patient_id else f"\0\0{film.id}"
    return int.from_bytes(blake2b(key.encode("utf-8", "replace"), digest_size=4).digest())
