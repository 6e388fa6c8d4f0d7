"""The acknowledging transaction: a received instance and its jobs, or neither.

A purged revision comes back when the same bytes are received again.
"""

import functools
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Executable, Row, Select, func, select, update

from storage.audit.records import AuditEntry, AuditKind, subject_of
from storage.audit.trail import append_all
from storage.errors import StorageError
from storage.images.doubt import is_like_another, is_same_film
from storage.images.holds import review
from storage.images.rejections import rejected_before
from storage.patients.films import COLUMNS, FilmIdentity, present_of_new, record_identities
from storage.patients.identity import KnownPatient, PatientKey
from storage.patients.patient import Patient
from storage.patients.registry import load_lines
from storage.queue.priority import raise_study
from storage.queue.transitions import enqueue, lock_source, lock_studies, reopen
from storage.records import (
    InstanceState,
    JobKind,
    JobState,
    NewInstance,
    Priority,
    Receipt,
    ReceiptOutcome,
    StudyKey,
)
from storage.summaries.counting import NewFilm, add_films
from storage.tables.columns import storable
from storage.tables.database import Database, insert_of, parameter
from storage.tables.schema import instances


@dataclass(frozen=True, slots=True)
class Reception:
    """An instance to record, as `Store.record_instance` takes it."""

    instance: NewInstance
    quiet_time: timedelta
    host: str = ""
    retried: Collection[str] = ()
    identity: FilmIdentity | None = None
    """The identity of the instance, if messages gave it another than its header."""

    @property
    def study(self) -> StudyKey:
        """The study of the instance."""
        return StudyKey(self.instance.source, self.instance.study_instance_uid)


@dataclass(slots=True)
class _Changes:
    """Leftovers for the end of the transaction: audit entries, new films, changed studies."""

    entries: list[AuditEntry] = field(default_factory=list)
    films: list[NewFilm] = field(default_factory=list)
    studies: set[StudyKey] = field(default_factory=set)

    def add(self, other: "_Changes") -> None:
        """Add the changes of another reception."""
        self.entries += other.entries
        self.films += other.films
        self.studies |= other.studies


def record_receptions(
    database: Database, connection: Connection, receptions: Sequence[Reception], now: datetime
) -> list[Receipt | StorageError]:
    """Add instances and their jobs inside a transaction; see `Store.record_instance`.

    Each of several is added in a savepoint: one that fails is left out, and its error is returned.
    Raises the error of a single one, and an error that has ended the transaction.
    All locks are taken first and all audit rows are added last, so that no other transaction waits
    for this one while this one waits for it.
    """
    for source in sorted({reception.instance.source for reception in receptions}):
        lock_source(connection, source, shared=True)
    left = [_earlier_studies(connection, reception.instance) for reception in receptions]
    lock_studies(
        connection,
        (
            study
            for reception, earlier in zip(receptions, left, strict=True)
            for study in (reception.study, *earlier)
        ),
    )
    receptions = _identified(connection, receptions)
    results: list[Receipt | StorageError] = []
    changes = _Changes()
    for reception, earlier in zip(receptions, left, strict=True):
        of_this = _Changes()
        if len(receptions) == 1:
            results.append(_record(connection, reception, earlier, changes, now))
            continue
        try:
            with database.savepoint(connection):
                results.append(_record(connection, reception, earlier, of_this, now))
            changes.add(of_this)
        except StorageError as error:
            if not database.is_in_transaction(connection):
                raise
            results.append(error)
    add_films(connection, changes.films, changes.studies)
    append_all(connection, changes.entries, now)
    return results


def _record(
    connection: Connection,
    reception: Reception,
    left: Collection[StudyKey],
    changes: _Changes,
    now: datetime,
) -> Receipt:
    """Add one instance and its jobs, and to `changes` what the end of the transaction needs."""
    instance, study = reception.instance, reception.study
    known, receipt = _add(connection, instance, now)
    if known is None and reception.identity is not None:
        record_identities(connection, [replace(reception.identity, number=receipt.instance_id)])
    subject = str(receipt.instance_id)
    is_queued = True
    if known is None or known.reason in reception.retried or _awaits_first_analysis(known):
        enqueue(
            connection,
            JobKind.ANALYSE,
            subject,
            now=now,
            not_before=now,
            priority=instance.priority,
        )
    else:
        ended = (JobState.PARKED,)
        is_queued = reopen(connection, JobKind.ANALYSE, subject, now=now, ended=ended)
    priority: int = instance.priority
    if receipt.outcome is not ReceiptOutcome.DUPLICATE:
        due = now + reception.quiet_time
        priority = enqueue(
            connection, JobKind.REPORT, study.subject, now=now, not_before=due, priority=priority
        )
    if priority == Priority.STAT:
        # The report of the study waits for all its films.
        raise_study(connection, study)
    is_new = receipt.outcome is ReceiptOutcome.NEW
    is_held = False
    if receipt.outcome is not ReceiptOutcome.DUPLICATE and not (
        is_new and is_like_another(connection, study, receipt.instance_id)
    ):
        holds = [review(connection, key, changes.entries, now) for key in (study, *left)]
        is_held = any(hold is not None for hold in holds)
    if is_new and not is_held:
        changes.films.append(NewFilm(receipt.instance_id, instance))
    elif is_queued or receipt.outcome is not ReceiptOutcome.DUPLICATE:
        changes.studies |= {study, *left}
    changes.entries.append(_audit_entry(instance, receipt, reception.host))
    return receipt


def _identified(connection: Connection, receptions: Sequence[Reception]) -> list[Reception]:
    """Return the receptions under the present identities of their patients."""
    ids: dict[str, set[str]] = defaultdict(set)
    for reception in receptions:
        ids[reception.instance.source].add(storable(reception.instance.patient_id.strip()))
    known = {source: load_lines(connection, source, of_source) for source, of_source in ids.items()}
    return [
        _under_present_identity(connection, reception, of_source)
        if (of_source := known[reception.instance.source])
        else reception
        for reception in receptions
    ]


def _under_present_identity(
    connection: Connection, reception: Reception, known: Mapping[PatientKey, KnownPatient]
) -> Reception:
    instance = reception.instance
    received = Patient(
        **{field: storable(getattr(instance, column)) for field, column in COLUMNS.items()}
    )
    identity = present_of_new(connection, instance.source, known, received)
    if identity is None:
        return reception
    now = {column: getattr(identity.now, field) for field, column in COLUMNS.items()}
    return replace(reception, instance=replace(instance, **now), identity=identity)


def _earlier_studies(connection: Connection, instance: NewInstance) -> tuple[StudyKey, ...]:
    """Return the other studies of the source that had this instance before."""
    uids = dict.fromkeys(row.study_instance_uid for row in _revisions(connection, instance))
    uids.pop(instance.study_instance_uid, None)
    return tuple(StudyKey(instance.source, uid) for uid in uids)


def _add(
    connection: Connection, instance: NewInstance, now: datetime
) -> tuple[Row[Any] | None, Receipt]:
    """Add a revision, or update the row of the same bytes.

    Returns that row as it was before, if there is one, and the receipt. Repeats after each
    conflict with another transaction.
    """
    while True:
        revisions = _revisions(connection, instance)
        known = next((row for row in revisions if row.sha256 == instance.sha256), None)
        number = max((row.revision for row in revisions), default=0) + 1
        if known is None:
            receipt = _insert_revision(connection, instance, number, now)
        elif is_same_film(connection, known.id):
            receipt = _receive_again(connection, known, instance, now)
        else:
            receipt = _renew(connection, known, instance, now)
        if receipt is not None:
            return known, receipt


def _revisions(connection: Connection, instance: NewInstance) -> Sequence[Row[Any]]:
    """Return all revisions of the instance."""
    named = {"of_source": instance.source, "uid": instance.sop_instance_uid}
    return connection.execute(_REVISIONS, named).all()


_REVISIONS: Select[tuple[Any, ...]] = select(
    instances.c.id,
    instances.c.study_instance_uid,
    instances.c.sha256,
    instances.c.revision,
    instances.c.state,
    instances.c.reason,
    instances.c.purged_at,
).where(
    instances.c.source == parameter(instances.c.source, "of_source"),
    instances.c.sop_instance_uid == parameter(instances.c.sop_instance_uid, "uid"),
)


def _awaits_first_analysis(known: Row[Any]) -> bool:
    """Return True if the revision was purged before its first analysis."""
    return known.purged_at is not None and known.state is InstanceState.RECEIVED


def _receive_again(
    connection: Connection, known: Row[Any], instance: NewInstance, now: datetime
) -> Receipt | None:
    """Restart the retention time of a revision; return None on a conflict.

    A purged revision gets the file just received: its old file may be about to be removed.
    """
    is_purged = known.purged_at is not None
    values: dict[str, Any] = {"received_again_at": now}
    if is_purged:
        values |= {"spool_path": instance.spool_path, "purged_at": None}
    if instance.priority is Priority.STAT and known.state is InstanceState.RECEIVED:
        values["priority"] = int(instance.priority)
    updated = connection.execute(
        update(instances)
        .where(
            instances.c.id == known.id, instances.c.purged_at.is_not_distinct_from(known.purged_at)
        )
        .values(values)
    )
    if updated.rowcount == 0:
        return None
    outcome = ReceiptOutcome.KEPT_AGAIN if is_purged else ReceiptOutcome.DUPLICATE
    return Receipt(outcome, known.id, known.revision)


def _renew(
    connection: Connection, known: Row[Any], instance: NewInstance, now: datetime
) -> Receipt | None:
    """Make a revision the latest again that a later one had put under another patient or study.

    So a sender takes a wrong correction back. Returns None on a conflict.
    """
    receipt = _receive_again(connection, known, instance, now)
    if receipt is None:
        return None
    number = connection.scalar(
        update(instances)
        .where(instances.c.id == known.id)
        .values(revision=_next_revision(instance).scalar_subquery(), set_aside_at=None)
        .returning(instances.c.revision)
    )
    is_duplicate = receipt.outcome is ReceiptOutcome.DUPLICATE
    outcome = ReceiptOutcome.RENEWED if is_duplicate else receipt.outcome
    return Receipt(outcome, known.id, number or known.revision)


def _next_revision(instance: NewInstance) -> Select[tuple[int]]:
    return select(func.coalesce(func.max(instances.c.revision), 0) + 1).where(
        instances.c.source == instance.source,
        instances.c.sop_instance_uid == instance.sop_instance_uid,
    )


def _insert_revision(
    connection: Connection, instance: NewInstance, number: int, now: datetime
) -> Receipt | None:
    """Add this revision; return None if another transaction took its number or its bytes."""
    row = {
        **asdict(instance),
        "revision": number,
        "received_at": now,
        "state": InstanceState.RECEIVED,
        "notes": [],
        "rejected_by": rejected_before(
            connection,
            StudyKey(instance.source, instance.study_instance_uid),
            instance.sop_instance_uid,
        ),
    }
    instance_id = connection.scalar(_insert_new(connection.dialect.name), row)
    if instance_id is None:
        return None
    outcome = ReceiptOutcome.NEW if number == 1 else ReceiptOutcome.REVISION
    return Receipt(outcome, instance_id, number)


@functools.cache
def _insert_new(dialect: str) -> Executable:
    return insert_of(dialect, instances).on_conflict_do_nothing().returning(instances.c.id)


def _audit_entry(instance: NewInstance, receipt: Receipt, host: str) -> AuditEntry:
    stat = ", STAT" if instance.priority is Priority.STAT else ""
    return AuditEntry(
        AuditKind.INSTANCE_RECEIVED,
        actor=instance.calling_ae_title,
        host=host,
        subject=subject_of(
            study=instance.study_instance_uid,
            source=instance.source,
            instance=instance.sop_instance_uid,
            sop_class=instance.sop_class_uid,
        ),
        detail=f"{receipt.outcome}, revision {receipt.revision}, sha256 {instance.sha256}{stat}",
    )
