"""The value objects of the list of studies."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from storage.records import StudyKey, StudyState
from storage.summaries.folding import SEPARATOR

VALUE_SEPARATOR = "\\"
"""Between the values of a cell, as in DICOM (PS3.5 6.2): neither an AE title nor a code has it."""


@dataclass(frozen=True, slots=True)
class StudySummary:
    """The row of a study in the list of studies, as it is stored.

    The patient and the order are those of the film that came last. `modality` and `senders` are
    joined by VALUE_SEPARATOR; `reasons` and `positives` are JSON. The `…_key` cells are folded
    texts of all films of the study, one a line.
    """

    patient_id: str
    patient_name: str
    patient_sex: str
    patient_birth_date: str
    accession_number: str
    study_date: str
    modality: str
    senders: str
    films: int
    analysed: int
    first_received_at: datetime
    last_received_at: datetime
    state: StudyState
    reasons: str
    positives: str
    mark: str
    patient_key: str
    name_key: str
    accession_key: str


Summaries = Mapping[StudyKey, StudySummary]


def joined(values: Sequence[str]) -> str:
    """Return the distinct values in order, joined as a cell."""
    return VALUE_SEPARATOR.join(sorted({value for value in values if value}))


def lines(values: Sequence[str]) -> str:
    """Return the distinct folded values of all films as the lines of a key."""
    return SEPARATOR.join(dict.fromkeys(value for value in values if value))


def ranked(found: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    """Return findings as a cell has them, the most probable first, with six decimal places."""
    rounded = [(label, round(probability, 6)) for label, probability in found]
    return sorted(rounded, key=lambda one: (-one[1], one[0]))


def as_json(values: Sequence[object]) -> str:
    """Return values as a JSON cell without spaces, in which a label can be searched for."""
    return json.dumps(values, separators=(",", ":"), ensure_ascii=False)
