"""The present identity of a patient, from what messages told of the patient's numbers.

A message may come late, twice or after a later one. What it tells therefore carries the time of its
event, and the later event counts: messages in any order lead to the same identity.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from storage.patients.patient import (
    Patient,
    agree_in_date,
    agree_in_name,
    says_same_date,
    says_same_name,
    says_same_sex,
)
from storage.patients.records import ChangeKind, PatientChange


@dataclass(frozen=True, slots=True, order=True)
class PatientKey:
    """The number of a patient in one source: Patient ID and its issuer, '' for none."""

    patient_id: str
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """A value and the time of the event that told it."""

    value: str
    at: datetime


@dataclass(frozen=True, slots=True)
class KnownPatient:
    """The values that messages told of one number; its films are those of the `heir`, if any."""

    key: PatientKey
    name: Told | None = None
    birth_date: Told | None = None
    sex: Told | None = None
    heir: PatientKey | None = None
    merged_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """The values that one message tells of one number."""

    key: PatientKey
    told: Mapping[str, str] = field(default_factory=dict)
    heir: PatientKey | None = None


def edges_of(change: PatientChange) -> Iterator[Edge]:
    """Yield what a message tells of each number; of the number without issuer, too, if it counts.

    Films without an issuer stay without one. A prior number of another issuer is none of theirs.
    """
    told = {
        name: value
        for name, value in (
            ("name", change.name),
            ("birth_date", change.birth_date),
            ("sex", change.sex),
        )
        if value is not None
    }
    is_merge = change.kind is ChangeKind.MERGE
    key = PatientKey(change.patient_id, change.issuer)
    prior = PatientKey(change.prior_patient_id, change.prior_issuer)
    yield Edge(key, told)
    if is_merge and prior != key:
        yield Edge(prior, heir=key)
    if change.with_unissued and change.issuer:
        unissued = PatientKey(change.patient_id)
        yield Edge(unissued, told)
        if is_merge and prior.issuer == key.issuer and prior != key:
            yield Edge(PatientKey(change.prior_patient_id), heir=unissued)


def learn(known: KnownPatient, edge: Edge, at: datetime) -> KnownPatient:
    """Return what is known of a number after an event at `at`; an older event does not count."""
    for name, value in edge.told.items():
        before: Told | None = getattr(known, name)
        if before is None or before.at <= at:
            changed: dict[str, Any] = {name: Told(value, at)}
            known = replace(known, **changed)
    if edge.heir is not None and (known.merged_at is None or known.merged_at <= at):
        known = replace(known, heir=edge.heir, merged_at=at)
    return known


def line_of(known: Mapping[PatientKey, KnownPatient], key: PatientKey) -> list[PatientKey]:
    """Return the numbers from `key` to the one that counts now, which is the last.

    A was merged into B, and later B into A: the later merge counts, and A is the one.
    """
    walk: list[PatientKey] = []
    while key not in walk:
        walk.append(key)
        heir = known[key].heir if key in known else None
        if heir is None:
            return walk
        key = heir
    ring = walk[walk.index(key) :]
    first = min(ring, key=lambda one: (known[one].merged_at, one))
    return walk[: walk.index(first) + 1]


def present(
    known: Mapping[PatientKey, KnownPatient], received: Patient, *, contradicts: bool = False
) -> Patient:
    """Return the present identity of a film with this identity in its header.

    A value that says the same in other words stays as it is in the header. A film that
    `contradicts` what is known of its number keeps its name, birth date and sex.
    """
    line = line_of(known, key_of(received))
    if not any(key in known for key in line):
        return received
    last = line[-1]
    if len(line) > 1:
        received = replace(received, patient_id=last.patient_id, issuer=last.issuer)
    if contradicts:
        return received
    for name, is_same in _FIELDS:
        told = _told(known, line, name)
        if told is not None and not is_same(getattr(received, name), told.value):
            received = replace(received, **{name: told.value})
    return received


def is_contradicted(known: Mapping[PatientKey, KnownPatient], received: Patient) -> bool:
    """Return True if a film's name and birth date both differ from those told of its number.

    Then the number may be wrong: one of the two alone is a usual correction. What was told of the
    numbers into which it was merged counts as well.
    """
    line = [known[key] for key in line_of(known, key_of(received)) if key in known]
    names = [one.name.value for one in line if one.name is not None]
    dates = [one.birth_date.value for one in line if one.birth_date is not None]
    if not names or not dates:
        return False
    return not any(agree_in_date(received.birth_date, date) for date in dates) and not any(
        agree_in_name(received.name, name) for name in names
    )


def key_of(patient: Patient) -> PatientKey:
    """Return the number of a patient as a header gives it."""
    return PatientKey(patient.patient_id.strip(), patient.issuer.strip())


def identity_key(received: Patient, now: Patient) -> str:
    """Return a name for an identity that is not the one of the header; '' if it is."""
    if received == now:
        return ""
    parts = (now.patient_id, now.issuer, now.name, now.birth_date, now.sex)
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode("utf-8", "replace")
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.hexdigest()[:32]


def differences(one: Patient, other: Patient) -> Sequence[str]:
    """Return the names of the fields that differ, in words."""
    named = (
        ("patient ID", one.patient_id, other.patient_id),
        ("issuer", one.issuer, other.issuer),
        ("name", one.name, other.name),
        ("birth date", one.birth_date, other.birth_date),
        ("sex", one.sex, other.sex),
    )
    return [word for word, first, second in named if first != second]


def _told(
    known: Mapping[PatientKey, KnownPatient], line: Sequence[PatientKey], name: str
) -> Told | None:
    """Return what was told of the number that counts now, else of the last one before it."""
    for key in reversed(line):
        told: Told | None = getattr(known[key], name) if key in known else None
        if told is not None:
            return told
    return None


_FIELDS = (
    ("name", says_same_name),
    ("birth_date", says_same_date),
    ("sex", says_same_sex),
)
