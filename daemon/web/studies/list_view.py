"""The rows of the list of studies, for the page and for programs."""

import re
from dataclasses import dataclass
from datetime import date, datetime

from daemon.words.findings import title_of
from daemon.words.reasons import Advice, advice_on
from storage.records import StudyState
from storage.search.records import StudyPage, StudyRow
from storage.status import ImageMark

STATE_WORDS = {
    StudyState.WAITING: "waiting for analysis",
    StudyState.ANALYSED: "analysed, report not due yet",
    StudyState.REPORTED: "reported",
    StudyState.NOT_ANALYSED: "not analysed",
    StudyState.HELD: "held: in doubt",
    StudyState.PARKED: "parked: needs an operator",
}
STATE_LEVELS = {
    StudyState.WAITING: "",
    StudyState.ANALYSED: "",
    StudyState.REPORTED: "good",
    StudyState.NOT_ANALYSED: "warn",
    StudyState.HELD: "bad",
    StudyState.PARKED: "bad",
}
SEXES = {"M": "male", "F": "female", "O": "other"}
_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})")


@dataclass(frozen=True, slots=True)
class PresentFinding:
    """A finding that is present on a film of the study, with the highest of its probabilities."""

    label: str
    probability: float

    @property
    def title(self) -> str:
        """Name of the finding for people."""
        return title_of(self.label)


@dataclass(frozen=True, slots=True)
class StudyLine:
    """A study in the list. `patient_name` is None unless names are shown.

    `age` is in years on the study date; None if either date is unknown.
    """

    study_instance_uid: str
    source: str
    study_date: str
    accession_number: str
    patient_id: str
    patient_name: str | None
    sex: str
    age: int | None
    modality: str
    senders: tuple[str, ...]
    films: int
    analysed: int
    findings: tuple[PresentFinding, ...]
    state: StudyState
    reasons: tuple[Advice, ...]
    mark: ImageMark
    received_at: datetime
    last_received_at: datetime

    @property
    def state_words(self) -> str:
        """The state for people."""
        return STATE_WORDS[self.state]

    @property
    def level(self) -> str:
        """The class of the state's tag."""
        return STATE_LEVELS[self.state]


@dataclass(frozen=True, slots=True)
class StudyList:
    """A part of the list: its studies, the place of the first, and the number of all.

    With `more` there are more than `total`.
    """

    total: int
    more: bool
    offset: int
    studies: tuple[StudyLine, ...]


def line_of(row: StudyRow, *, with_name: bool) -> StudyLine:
    """Return a row of the store as a line of the list."""
    return StudyLine(
        study_instance_uid=row.key.study_instance_uid,
        source=row.key.source,
        study_date=row.study_date,
        accession_number=row.accession_number,
        patient_id=row.patient_id,
        patient_name=row.patient_name if with_name else None,
        sex=SEXES.get(row.sex, row.sex),
        age=age_in_years(row.birth_date, row.study_date),
        modality=row.modality,
        senders=row.senders,
        films=row.films,
        analysed=row.analysed,
        findings=tuple(PresentFinding(label, probability) for label, probability in row.positives),
        state=row.state,
        reasons=tuple(advice_on(reason) for reason in row.reasons),
        mark=row.mark,
        received_at=row.first_received_at,
        last_received_at=row.last_received_at,
    )


def list_of(page: StudyPage, offset: int, *, with_names: bool) -> StudyList:
    """Return a page of rows as a list."""
    lines = tuple(line_of(row, with_name=with_names) for row in page.rows)
    return StudyList(page.total, page.more, offset, lines)


def day_of(value: str) -> date | None:
    """Return the day of a DA value (YYYYMMDD); None if it is none."""
    match = _DATE.fullmatch(value.strip())
    try:
        return date(*map(int, match.groups())) if match else None
    except ValueError:
        return None


def age_in_years(birth_date: str, on_date: str) -> int | None:
    """Return the whole years between two DA values; None if one is unknown or they are reversed."""
    born, day = day_of(birth_date), day_of(on_date)
    if born is None or day is None or day < born:
        return None
    return day.year - born.year - ((day.month, day.day) < (born.month, born.day))
