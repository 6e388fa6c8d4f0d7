"""The studies of a hospital: patients, senders, dates, findings and fates, by a fixed seed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from cxr_model.findings import LABELS
from dicom_io.gate.reasons import Reason

FIRST_NAMES = ("Jörg", "Jane", "Zoë", "Ōe", "Ivan", "Siân", "太郎", "Ömer", "Anna", "Li")
LAST_NAMES = ("Müller", "O'Neil", "Doe", "Ångström", "Nguyễn", "山田", "Ivanov", "%_x", "Ó Máille")
SOURCES = {
    "north": ("NORTH_CR1", "NORTH_CR2", "NORTH_ICU", "NORTH_ER"),
    "south": ("SOUTH_DX1", "SOUTH_DX2", "SOUTH_WARD"),
    "": ("OLD_PACS",),
    "clinic": ("CLINIC1", "CLINIC2", "MOBILE", "TESTROOM"),
}
REASONS = (
    Reason.LATERAL_VIEW,
    Reason.NOT_CHEST,
    Reason.VIEW_NOT_SAID,
    Reason.PATIENT_TOO_YOUNG,
    Reason.NOT_A_FRONTAL_CHEST,
    Reason.DECODER_FAILED,
)
FATES = {
    "reported": 88.0,
    "not_analysed": 8.0,
    "held": 0.5,
    "parked": 1.5,
    "analysis_parked": 0.5,
    "analysed": 0.5,
    "waiting": 1.0,
}
YEARS = 2
OF_ONE_PATIENT = 3_000
WITH_OBJECTS = 0.3

Finding = tuple[str, float]


@dataclass(frozen=True, slots=True)
class Patient:
    """A patient as the headers of the films name one."""

    patient_id: str
    name: str
    birth_date: str
    sex: str


@dataclass(frozen=True, slots=True)
class Film:
    """A film; `findings` is empty and `reason` set if it is not analysed."""

    view: str | None
    findings: tuple[Finding, ...]
    reason: str | None
    patient: Patient


@dataclass(frozen=True, slots=True)
class Study:
    """A study to be written as rows; `fate` is one of FATES."""

    number: int
    uid: str
    source: str
    sender: str
    modality: str
    accession_number: str
    received_at: datetime
    fate: str
    films: tuple[Film, ...]
    has_objects: bool


def draw_studies(count: int, until: datetime) -> Iterator[Study]:
    """Yield `count` studies of the two years before `until`, oldest first."""
    draw = random.Random(20260301)
    patients = _Patients(draw, count)
    span = timedelta(days=365 * YEARS) / max(count, 1)
    for number in range(1, count + 1):
        source = draw.choices(list(SOURCES), weights=(45, 30, 5, 20))[0]
        fate = draw.choices(list(FATES), weights=list(FATES.values()))[0]
        sender = draw.choice(SOURCES[source])
        patient = patients.next(number)
        films = tuple(
            _film(draw, fate, place, patient, patients)
            for place in range(draw.choices((1, 2, 3), weights=(60, 30, 10))[0])
        )
        yield Study(
            number=number,
            uid=f"1.2.826.0.1.3680043.{draw.randrange(10**9)}.{number}.{draw.randrange(10**6)}",
            source=source,
            sender=sender,
            modality="CR" if "CR" in sender or source == "" else "DX",
            accession_number=f"A{until.year - draw.randrange(3)}{number:08d}",
            received_at=until - span * (count - number + 1) + span * draw.random(),
            fate=fate,
            films=films,
            has_objects=fate in ("reported", "parked") and draw.random() < WITH_OBJECTS,
        )


class _Patients:
    """Patients who come once or a few times, and one who comes every day."""

    def __init__(self, draw: random.Random, count: int) -> None:
        self._draw = draw
        self._frequent = max(1, round(count / min(OF_ONE_PATIENT, max(1, count // 30))))
        self._always = Patient("FREQUENT-1", "Doe^John", "19500101", "M")
        self._known: list[Patient] = []

    def next(self, number: int) -> Patient:
        """Return the patient of a study."""
        if number % self._frequent == 0:
            return self._always
        if self._known and self._draw.random() < 0.4:
            return self._draw.choice(self._known)
        self._known.append(self.another())
        return self._known[-1]

    def another(self) -> Patient:
        """Return a patient who was not here before."""
        draw = self._draw
        name = f"{draw.choice(LAST_NAMES)}^{draw.choice(FIRST_NAMES)}"
        born = f"{draw.randrange(1930, 2009)}{draw.randrange(1, 13):02d}{draw.randrange(1, 29):02d}"
        sex = draw.choices(("F", "M", "O", ""), weights=(48, 48, 1, 3))[0]
        number = f"PID-{draw.randrange(10**8):08d}"
        return Patient(number, name, born if draw.random() < 0.97 else "", sex)


def _film(
    draw: random.Random, fate: str, place: int, patient: Patient, patients: _Patients
) -> Film:
    if fate == "held" and place == 0:
        patient = patients.another()
    view = draw.choices(("PA", "AP", "LL", "", None), weights=(55, 30, 8, 5, 2))[0]
    is_refused = fate == "not_analysed" or (place > 0 and draw.random() < 0.2)
    if is_refused or fate in ("waiting", "analysis_parked"):
        return Film(view, (), draw.choice(REASONS) if is_refused else None, patient)
    # About one finding in ten is called, as in films of a ward.
    findings = tuple((label, round(draw.betavariate(1.2, 4.5), 6)) for label in LABELS)
    return Film(view, findings, None, patient)
