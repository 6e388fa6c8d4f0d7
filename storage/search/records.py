"""The value objects of the list of studies: a filter, an order, and a page of rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from storage.records import StudyKey, StudyState
from storage.status import ImageMark


class StudySort(StrEnum):
    """The columns by which studies are sorted; studies that are equal keep one order."""

    RECEIVED = "received"  # when the last film came
    FIRST_RECEIVED = "first_received"
    STUDY_DATE = "study_date"
    PATIENT_ID = "patient_id"
    PATIENT_NAME = "patient_name"
    ACCESSION_NUMBER = "accession_number"
    MODALITY = "modality"
    SENDER = "sender"
    SOURCE = "source"
    FILMS = "films"
    STATE = "state"


@dataclass(frozen=True, slots=True)
class StudyFilter:
    """Conditions on studies; an empty text or None is no condition.

    Texts are compared without case, accents and white space at their ends, and match anywhere in a
    value: `%`, `_` and quotes are plain characters. They match if any film of the study
    matches. Names are searched only with `names_searchable`: without it `text` looks at numbers
    alone, and a `patient_name` matches no study.

    Attributes:
        text: in the accession number, Patient ID, Study Instance UID or name.
        accession_number: in the accession number.
        patient_id: in the Patient ID.
        patient_name: words that are all in the name, in any order.
        date_from: first study date.
        date_to: last study date.
        received_from: a film came at or after this time.
        received_to: a film came before this time.
        modality: a modality of its films.
        sender: a calling AE title of its films.
        source: the source, exactly; '' is that of films from before there were sources.
        finding: a label that is present in a film that counts.
        state: the state of the study.
        names_searchable: True if the caller may see names.
    """

    text: str = ""
    accession_number: str = ""
    patient_id: str = ""
    patient_name: str = ""
    date_from: date | None = None
    date_to: date | None = None
    received_from: datetime | None = None
    received_to: datetime | None = None
    modality: str = ""
    sender: str = ""
    source: str | None = None
    finding: str = ""
    state: StudyState | None = None
    names_searchable: bool = False


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A study in the list.

    The patient and the order are those of the film that came last. `films` counts the films that
    belong to the study now, `analysed` those of them with findings. `reasons` are why films are not
    analysed, after the reason of a hold. `positives` are the findings present in films that count,
    each with its highest probability, the most probable first.
    """

    key: StudyKey
    patient_id: str
    patient_name: str
    sex: str
    birth_date: str
    accession_number: str
    study_date: str
    modality: str
    senders: tuple[str, ...]
    films: int
    analysed: int
    first_received_at: datetime
    last_received_at: datetime
    state: StudyState
    reasons: tuple[str, ...]
    positives: tuple[tuple[str, float], ...]
    mark: ImageMark


@dataclass(frozen=True, slots=True)
class StudyPage:
    """Some rows of a list, and the number of all of them; with `more` there are more than that."""

    rows: tuple[StudyRow, ...]
    total: int
    more: bool


@dataclass(frozen=True, slots=True)
class MeasuredStudy:
    """A study in the list, with the highest probability of each label in films that count."""

    row: StudyRow
    probabilities: Mapping[str, float]
