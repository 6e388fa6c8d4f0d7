"""Messages about patients, followed in the films, their studies, and what is made of them.

A message is one transaction: what it tells, the rows of its films, the list of studies, their
reports and the audit trail. Only a patient with very many studies takes several, each of some
studies, so that receptions do not wait: what the message tells is recorded with the first, and a
message that was cut off goes on when it comes again, or at the next start.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, tuple_, update

from storage.audit.records import AuditEntry, AuditKind, subject_of
from storage.audit.trail import append_all
from storage.errors import NoPatientError, PatientMessageError
from storage.images.holds import follow_patient
from storage.patients.films import FilmIdentity, load_films, record_identities
from storage.patients.identity import (
    KnownPatient,
    PatientKey,
    differences,
    edges_of,
    is_contradicted,
    key_of,
    present,
)
from storage.patients.patient import is_placeholder, is_same_patient
from storage.patients.records import Applied, ChangeKind, ChangeOutcome, PatientChange
from storage.patients.registry import learn_edges, load_family
from storage.queue.transitions import lock_source, lock_studies
from storage.records import StudyKey
from storage.summaries.keep import summarise
from storage.tables.database import Database
from storage.tables.exchange.patients import patient_messages, study_changes

STUDIES_AT_ONCE = 50
FILMS_AT_ONCE = 500
"""Studies of one transaction, and their films; a larger study is one alone."""
KEPT = timedelta(days=30)
"""How long a message is remembered."""
_FORGOTTEN_AT_ONCE = 200
_PAUSE_SECONDS = 0.05
_DIGITS = 16
"""Digits of the SHA-256 of a message that name it in the audit trail."""


_Films = Mapping[StudyKey, Sequence[tuple[FilmIdentity, FilmIdentity]]]
"""The films that change, before and after, by study."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a message that is done: its result if it was the last one, and the rest."""

    applied: Applied | None
    rest: Sequence[StudyKey]


class Patients:
    """The changes of patients by messages of a registration system."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        studies_at_once: int = STUDIES_AT_ONCE,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        """Change at most `studies_at_once` studies in one transaction."""
        self._pause = pause
        self._database = database
        self._now = clock
        self._studies_at_once = studies_at_once

    def apply(self, change: PatientChange) -> Applied:
        """Follow a message in the store, durably; the sender may be answered then.

        The same message again has no effect. A message that is older than one applied before
        does not undo that one. The studies whose films change are reported again.

        Raises NoPatientError, PatientMessageError if the control ID of the message was that of
        another message of the sender, StorageError.
        """
        _check(change)
        with self._database.writing() as connection:
            now = self._now()
            _lock_sources(connection, change.sources)
            row = _message(connection, change.sender, change.control_id)
            if row is not None and row.sha256 != change.sha256:
                raise PatientMessageError(
                    f"message {change.control_id} of {change.sender} was applied before with"
                    " another content: a sender must give each message its own control ID (MSH-10)"
                )
            if row is not None and row.finished_at is not None:
                return Applied(ChangeOutcome.REPEATED, row.films, row.studies)
            if row is None:
                _forget(connection, now)
                row = _learn(connection, change, now)
            part = _change_some(connection, row, None, self._studies_at_once, now)
        return part.applied or self._finish(change.sender, change.control_id, part.rest)

    def resume(self) -> int:
        """Finish the messages that were cut off; return their number. Raises StorageError."""
        unfinished = select(patient_messages.c.sender, patient_messages.c.control_id).where(
            patient_messages.c.finished_at.is_(None)
        )
        with self._database.reading() as connection:
            names = connection.execute(unfinished).all()
        for sender, control_id in names:
            self._finish(sender, control_id)
        return len(names)

    def _finish(
        self, sender: str, control_id: str, rest: Sequence[StudyKey] | None = None
    ) -> Applied:
        """Change the studies `rest` of a message, or all that are left."""
        while True:
            # Receptions that wait go first: the lock of a file is not given in turn.
            self._pause(_PAUSE_SECONDS)
            with self._database.writing() as connection:
                row = _message(connection, sender, control_id)
                if row is None:
                    return Applied(ChangeOutcome.REPEATED)
                _lock_sources(connection, [source for source, _, _ in row.named])
                row = _message(connection, sender, control_id)
                if row is None or row.finished_at is not None:
                    # Another process has finished it meanwhile.
                    outcome = ChangeOutcome(row.outcome) if row else ChangeOutcome.REPEATED
                    return Applied(outcome, row.films if row else 0, row.studies if row else 0)
                part = _change_some(connection, row, rest, self._studies_at_once, self._now())
            if part.applied is not None:
                return part.applied
            rest = part.rest


def _check(change: PatientChange) -> None:
    numbers = [change.patient_id]
    if change.kind is ChangeKind.MERGE:
        numbers.append(change.prior_patient_id)
    for number in numbers:
        if is_placeholder(number):
            raise NoPatientError(
                f"message {change.control_id} of {change.sender} names no patient: a Patient ID is"
                " missing, or stands for an unknown one"
            )


def _lock_sources(connection: Connection, sources: Sequence[str]) -> None:
    """Let no film come meanwhile: it would not see what the message tells."""
    for source in sorted(set(sources)):
        lock_source(connection, source, shared=False)


def _message(connection: Connection, sender: str, control_id: str) -> Row[Any] | None:
    return connection.execute(
        select(patient_messages).where(
            patient_messages.c.sender == sender, patient_messages.c.control_id == control_id
        )
    ).one_or_none()


def _forget(connection: Connection, now: datetime) -> None:
    """Delete some of the messages that no sender repeats any more."""
    key = (patient_messages.c.sender, patient_messages.c.control_id)
    old = select(*key).where(patient_messages.c.finished_at < now - KEPT).limit(_FORGOTTEN_AT_ONCE)
    connection.execute(delete(patient_messages).where(tuple_(*key).in_(old)))


def _learn(connection: Connection, change: PatientChange, now: datetime) -> Row[Any]:
    """Record the message and what it tells; return its row."""
    edges = list(edges_of(change))
    # A sender whose clock is fast would else prevent all later changes.
    at = min(change.event_time, now)
    named = {
        source: learn_edges(connection, source, edges, at) for source in sorted(set(change.sources))
    }
    return connection.execute(
        insert(patient_messages)
        .values(
            sender=change.sender,
            control_id=change.control_id,
            sha256=change.sha256,
            event=change.event,
            host=change.host,
            received_at=now,
            named=[
                [source, key.patient_id, key.issuer]
                for source, numbers in named.items()
                for key in sorted(numbers)
            ],
            films=0,
            studies=0,
        )
        .returning(patient_messages)
    ).one()


def _change_some(
    connection: Connection,
    row: Row[Any],
    among: Sequence[StudyKey] | None,
    most: int,
    now: datetime,
) -> _Part:
    """Change some studies of a message, `among` these or all."""
    some = among[:most] if among is not None else None
    work, has_films = _work(connection, row.named, some)
    found = sorted(work, key=lambda key: key.subject)
    chosen = found[: _fitting([len(work[key]) for key in found], most)]
    rest = [*found[len(chosen) :], *(among or ())[most:]]
    lock_studies(connection, chosen)
    entries: list[AuditEntry] = []
    changed = {key: _change_study(connection, row, key, work, entries, now) for key in chosen}
    films = row.films + sum(changed.values())
    studies = row.studies + sum(count > 0 for count in changed.values())
    summarise(connection, [key for key, count in changed.items() if count])
    values: dict[str, Any] = {"films": films, "studies": studies}
    applied = None
    if not rest:
        outcome = ChangeOutcome.UNCHANGED if has_films else ChangeOutcome.UNKNOWN_PATIENT
        if films:
            outcome = ChangeOutcome.APPLIED
        values |= {"outcome": outcome.value, "finished_at": now}
        applied = Applied(outcome, films, studies)
        entries.append(_entry(row, f"{outcome}: {films} film(s), {studies} study(ies)"))
    connection.execute(
        update(patient_messages)
        .where(
            patient_messages.c.sender == row.sender,
            patient_messages.c.control_id == row.control_id,
        )
        .values(values)
    )
    append_all(connection, entries, now)
    return _Part(applied, rest)


def _fitting(films: Sequence[int], most: int) -> int:
    """Return the number of studies of one transaction, from the numbers of their films."""
    together = 0
    for place, count in enumerate(films[:most]):
        together += count
        if together > FILMS_AT_ONCE and place:
            return place
    return min(len(films), most)


def _work(
    connection: Connection, named: Sequence[Sequence[str]], among: Sequence[StudyKey] | None
) -> tuple[_Films, bool]:
    """Return the films that say something else than is known of their patient.

    The other value is True if the patient has films. `among` limits both to some studies.
    """
    keys: dict[str, set[PatientKey]] = defaultdict(set)
    for source, patient_id, issuer in named:
        keys[source].add(PatientKey(patient_id, issuer))
    studies: dict[StudyKey, list[tuple[FilmIdentity, FilmIdentity]]] = defaultdict(list)
    has_films = False
    for source, of_source in keys.items():
        known = load_family(connection, source, of_source)
        uids = None
        if among is not None:
            uids = [key.study_instance_uid for key in among if key.source == source]
        films = [
            film
            for film in load_films(connection, source, {key.patient_id for key in known}, uids)
            if key_of(film.received) in known
        ]
        has_films = has_films or bool(films)
        for film, after in _changed(known, films):
            studies[StudyKey(source, film.study_instance_uid)].append((film, after))
    return studies, has_films


def _changed(
    known: Mapping[PatientKey, KnownPatient], films: Sequence[FilmIdentity]
) -> Sequence[tuple[FilmIdentity, FilmIdentity]]:
    """Return the films that change, with their new identities."""
    together: dict[tuple[str, PatientKey], list[FilmIdentity]] = defaultdict(list)
    for film in films:
        together[film.study_instance_uid, key_of(film.received)].append(film)
    changed = []
    for film in films:
        others = together[film.study_instance_uid, key_of(film.received)]
        contradicts = _contradicts(known, film, others)
        now = present(known, film.received, contradicts=contradicts)
        if now != film.now or contradicts != film.contradicts:
            changed.append((film, replace(film, now=now, contradicts=contradicts)))
    return changed


def _contradicts(
    known: Mapping[PatientKey, KnownPatient], film: FilmIdentity, others: Sequence[FilmIdentity]
) -> bool:
    """Return True if the message does not explain the name and birth date of a film.

    A message that names a new name and a new birth date explains the films of its patient. It does
    not explain that a study holds films of two persons under one number.
    """
    if film.contradicts:
        return True
    # What earlier messages explained needs no other explanation.
    so_far = replace(film.received, name=film.now.name, birth_date=film.now.birth_date)
    if not is_contradicted(known, so_far):
        return False
    return any(not is_same_patient(film.received, other.received) for other in others)


def _change_study(
    connection: Connection,
    message: Row[Any],
    key: StudyKey,
    work: _Films,
    entries: list[AuditEntry],
    now: datetime,
) -> int:
    """Write the identities of the films of a study; return the number of films that changed."""
    fields: dict[str, None] = {}
    count = 0
    record_identities(connection, [after for _, after in work[key]])
    for film, after in work[key]:
        words = differences(film.now, after.now)
        fields |= dict.fromkeys(words)
        count += bool(words)
    if not count:
        return 0
    detail = ", ".join(fields)
    connection.execute(
        insert(study_changes).values(
            source=key.source,
            study_instance_uid=key.study_instance_uid,
            changed_at=now,
            event=message.event,
            sender=message.sender,
            host=message.host,
            detail=detail,
        )
    )
    entries.append(
        _entry(
            message,
            f"{detail} of {count} film(s)",
            study=key.study_instance_uid,
            source=key.source,
        )
    )
    follow_patient(connection, key, f"the patient was changed by {message.event}", entries, now)
    return count


def _entry(message: Row[Any], detail: str, **named: str) -> AuditEntry:
    return AuditEntry(
        AuditKind.PATIENT_CHANGED,
        actor=message.sender,
        host=message.host,
        subject=subject_of(message=message.sha256[:_DIGITS], **named),
        detail=f"{message.event}, {detail}",
    )
