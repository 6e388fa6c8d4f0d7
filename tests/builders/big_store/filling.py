"""Fills a store with very many studies: films, findings, objects, deliveries, jobs, audit rows."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Table, text

from storage.audit.chain import EMPTY_HEAD, row_hash
from storage.audit.records import AuditKind, subject_of
from storage.audit.trail import timestamp
from storage.records import InstanceState, JobKind, JobState, ObjectKind, StudyStatus
from storage.store import Store
from storage.summaries.keep import fill
from storage.tables.database import open_database
from storage.tables.schema import (
    audit_events,
    deliveries,
    findings,
    instances,
    jobs,
    objects,
    studies,
)
from tests.builders.big_store.bulk import insert_rows, settle_numbers
from tests.builders.big_store.studies import Film, Study, draw_studies

THRESHOLD = 0.5
DESTINATIONS = ("pacs", "archive")
STUDIES_AT_ONCE = 5_000
_ORDER: tuple[Table, ...] = (
    instances,
    findings,
    objects,
    jobs,
    studies,
    deliveries,
    audit_events,
)
_MODEL = {"model_name": "starter", "model_version": "1", "model_sha256": "cd" * 32}


def build(database_url: str, count: int, until: datetime | None = None) -> None:
    """Create a store of `count` studies received in the two years before `until`.

    About 1.5 films a study with 14 findings each, and objects with deliveries for nearly a third of
    the studies. The same `count` makes the same studies; `until` is now, by default, so that pages
    of today have work of today. No file is in the spool.
    """
    until = until or datetime.now(UTC)
    Store.open(database_url, migrate=True).close()
    with open_database(database_url) as database:
        writer = _Writer()
        with database.writing() as connection:
            for study in draw_studies(count, until):
                writer.add(study)
                if study.number % STUDIES_AT_ONCE == 0:
                    for table in _ORDER:
                        insert_rows(connection, table, writer.taken(table))
            for table in _ORDER:
                insert_rows(connection, table, writer.taken(table))
            settle_numbers(connection, _ORDER)
            fill(connection)
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as plain:
            plain.execute(text("ANALYZE"))


class _Writer:
    """The rows of studies, numbered one after the other."""

    def __init__(self) -> None:
        self._rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._last = defaultdict[str, int](int)
        self._head = EMPTY_HEAD.hash

    def taken(self, table: Table) -> list[dict[str, Any]]:
        """Return the rows of a table that were added since the last call."""
        return self._rows.pop(table.name, [])

    def add(self, study: Study) -> None:
        """Add the rows of a study."""
        place = {"source": study.source, "study_instance_uid": study.uid}
        moments = _moments(study.received_at)
        numbers = [self._add_film(study, film, next(moments), place) for film in study.films]
        at = next(moments) + timedelta(minutes=5)
        state = JobState.QUEUED if study.fate in ("waiting", "analysed") else JobState.DONE
        if study.fate == "held":
            state = JobState.PARKED
        self._job(JobKind.REPORT, f"{study.uid}@{study.source}", state, at)
        status = {
            "reported": StudyStatus.REPORTED,
            "parked": StudyStatus.REPORTED,
            "not_analysed": StudyStatus.NO_ELIGIBLE_IMAGE,
            "held": StudyStatus.HELD,
        }.get(study.fate)
        if status is None:
            return
        detail = ""
        if status is StudyStatus.HELD:
            detail = "TWO_PATIENTS: the study holds films of 2 patients"
            self._audit(AuditKind.STUDY_HELD, at, study, outcome="failure", detail="TWO_PATIENTS")
        else:
            self._audit(AuditKind.STUDY_REPORTED, at, study, detail=f"{status}, 2 delivery(ies)")
        self._row(studies, **place, status=status, detail=detail, updated_at=at)
        if study.has_objects:
            self._add_objects(study, numbers, at, place)

    def _add_film(self, study: Study, film: Film, at: datetime, place: dict[str, str]) -> int:
        number = self._number(instances)
        uid = f"{study.uid}.{number}"
        state = InstanceState.RECEIVED
        if film.reason is not None:
            state = InstanceState.NOT_ANALYSED
        elif film.findings:
            state = InstanceState.ANALYSED
        analysed_at = at + timedelta(seconds=4) if state is not InstanceState.RECEIVED else None
        self._row(
            instances,
            **place,
            **(_MODEL if film.findings else {}),
            id=number,
            sop_instance_uid=uid,
            revision=1,
            sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            series_instance_uid=f"{study.uid}.0",
            patient_id=film.patient.patient_id,
            accession_number=study.accession_number,
            study_date=f"{study.received_at:%Y%m%d}",
            modality=study.modality,
            calling_ae_title=study.sender,
            spool_path=f"received/{number % 256:02x}/{number}.dcm",
            size=8_000_000,
            sha256=hashlib.sha256(uid.encode()).hexdigest(),
            received_at=at,
            state=state,
            reason=film.reason,
            detail="" if film.reason else None,
            notes=["no PixelSpacing"] if number % 7 == 0 else [],
            analysed_at=analysed_at,
            issuer_of_patient_id="",
            patient_name=film.patient.name,
            patient_birth_date=film.patient.birth_date,
            patient_sex=film.patient.sex,
            view_position=film.view,
            priority=0,
        )
        for position, (label, probability) in enumerate(film.findings):
            self._row(
                findings,
                instance_id=number,
                position=position,
                label=label,
                logit=probability * 6 - 3,
                probability=probability,
                threshold=THRESHOLD,
                present=probability > THRESHOLD,
            )
        done = JobState.DONE if analysed_at else JobState.QUEUED
        if study.fate == "analysis_parked" and not analysed_at:
            done = JobState.PARKED
        job = self._job(JobKind.ANALYSE, str(number), done, analysed_at or at)
        self._audit(AuditKind.INSTANCE_RECEIVED, at, study, uid, actor=study.sender)
        if done is JobState.PARKED:
            self._audit(AuditKind.JOB_PARKED, at, None, outcome="failure", job=job)
        elif analysed_at:
            kind = AuditKind.INSTANCE_ANALYSED if film.findings else AuditKind.INSTANCE_NOT_ANALYSED
            self._audit(kind, analysed_at, study, uid, actor="analyst")
        return number

    def _add_objects(
        self, study: Study, numbers: list[int], at: datetime, place: dict[str, str]
    ) -> None:
        made: list[tuple[ObjectKind, int | None, str | None]] = [(ObjectKind.REPORT, None, None)]
        for number, film in zip(numbers, study.films, strict=True):
            called = [label for label, probability in film.findings if probability > THRESHOLD]
            made += [(ObjectKind.HEATMAP, number, label) for label in called]
        for kind, instance_id, label in made:
            object_number = self._number(objects)
            uid = f"2.25.{10**20 + object_number}"
            self._row(
                objects,
                **place,
                id=object_number,
                sop_instance_uid=uid,
                sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
                kind=kind,
                instance_id=instance_id,
                label=label,
                spool_path=f"objects/{uid}",
                size=20_000,
                sha256="ab" * 32,
                created_at=at,
                standing="valid",
                form="",
            )
            for destination in DESTINATIONS:
                self._add_delivery(study, uid, destination, at + timedelta(seconds=2))

    def _add_delivery(self, study: Study, uid: str, destination: str, at: datetime) -> None:
        is_parked = study.fate == "parked" and destination == "pacs"
        state = JobState.PARKED if is_parked else JobState.DONE
        job = self._job(JobKind.DELIVER, f"{uid}@{destination}", state, at, destination)
        self._row(
            deliveries,
            sop_instance_uid=uid,
            destination=destination,
            job_id=job,
            delivered_at=None if is_parked else at,
            dimse_status=None if is_parked else 0,
            committed_at=at + timedelta(minutes=1)
            if destination == "archive" and study.number % 10 == 0
            else None,
        )
        kind = AuditKind.JOB_PARKED if is_parked else AuditKind.OBJECT_DELIVERED
        outcome = "failure" if is_parked else "success"
        named = job if is_parked else None
        self._audit(kind, at, study, actor=destination, outcome=outcome, job=named, object=uid)

    def _job(
        self, kind: JobKind, subject: str, state: JobState, at: datetime, lane: str | None = None
    ) -> int:
        number = self._number(jobs)
        self._row(
            jobs,
            id=number,
            kind=kind,
            subject=subject,
            lane=lane,
            state=state,
            attempts=0 if state is JobState.QUEUED else 1,
            generation=1,
            priority=0,
            claims=0 if state is JobState.QUEUED else 1,
            not_before=at,
            last_error="the peer answered 0xA900" if state is JobState.PARKED else None,
            created_at=at,
            updated_at=at,
        )
        return number

    def _audit(
        self,
        kind: AuditKind,
        at: datetime,
        study: Study | None,
        instance: str | None = None,
        *,
        actor: str = "",
        outcome: str = "success",
        detail: str = "",
        job: int | None = None,
        **names: object,
    ) -> None:
        number = self._number(audit_events)
        place = {"study": study.uid, "source": study.source} if study else {}
        cells = {
            "recorded_at": timestamp(at),
            "kind": kind,
            "outcome": outcome,
            "actor": actor,
            "host": "10.0.0.5" if kind is AuditKind.INSTANCE_RECEIVED else "",
            "subject": subject_of(job=job, **place, instance=instance, **names),
            "detail": detail,
        }
        previous = self._head
        self._head = row_hash(previous, number, *cells.values())
        self._row(audit_events, number=number, **cells, previous_hash=previous, hash=self._head)

    def _number(self, table: Table) -> int:
        self._last[table.name] += 1
        return self._last[table.name]

    def _row(self, table: Table, **cells: Any) -> None:
        self._rows[table.name].append(cells)


def _moments(first: datetime) -> Iterator[datetime]:
    """Yield times a few seconds apart."""
    while True:
        yield first
        first += timedelta(seconds=7)
