"""Reports on earlier studies of a study's patient; for use inside a transaction."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select

from storage.images.lookup import OBJECT_COLUMNS, reports_by_form
from storage.patients.patient import Patient, is_placeholder, is_same_patient
from storage.records import ObjectKind, ObjectRecord, Standing, StudyKey, StudyResults
from storage.tables.conditions import has_later_revision, of_study
from storage.tables.schema import instances, objects


def load_priors(
    connection: Connection, study: StudyResults, most: int
) -> list[tuple[ObjectRecord, ...]]:
    """Return the last reports on earlier studies of a study's patient, the youngest study first.

    Each is in all its forms, the default form first. An earlier study is one of the same source
    with an earlier study date. It is left out if a film of it is not of the same patient, if a film
    has no Patient ID or date, or if its last report is purged or does not count: it is in doubt,
    rejected or replaced.
    """
    own = [item for item in study.instances if not item.is_rejected]
    patients = [_patient_of(item) for item in own]
    date = min((item.study_date for item in own), default="")
    if not patients or any(is_placeholder(one.patient_id) for one in patients) or not _is_day(date):
        return []
    dated = _dates_of_earlier(connection, study, patients, date)
    found: list[tuple[ObjectRecord, ...]] = []
    for uid in sorted(dated, key=lambda uid: (dated[uid], uid), reverse=True):
        query = (
            select(*OBJECT_COLUMNS)
            .where(
                of_study(objects, StudyKey(study.source, uid)),
                objects.c.kind == ObjectKind.REPORT,
            )
            .order_by(objects.c.id)
        )
        rows = connection.execute(query).mappings()
        *_, last = [[], *reports_by_form([ObjectRecord(**row) for row in rows])]
        if last and all(_counts(report) for report in last):
            found.append(tuple(last))
        if len(found) == most:
            break
    return found


def _dates_of_earlier(
    connection: Connection, study: StudyResults, patients: Sequence[Patient], date: str
) -> dict[str, str]:
    """Return the studies of these patients before a date, with their dates."""
    query = select(
        instances.c.study_instance_uid,
        instances.c.study_date,
        instances.c.patient_id,
        instances.c.issuer_of_patient_id,
        instances.c.patient_name,
        instances.c.patient_birth_date,
        instances.c.patient_sex,
    ).where(
        instances.c.source == study.source,
        instances.c.patient_id.in_({one.patient_id for one in patients}),
        instances.c.study_instance_uid != study.study_instance_uid,
        instances.c.set_aside_at.is_(None),
        ~has_later_revision(),
    )
    dates: dict[str, str] = {}
    unfit: set[str] = set()
    for row in connection.execute(query):
        uid = row.study_instance_uid
        is_same = all(is_same_patient(_patient_of(row), one) for one in patients)
        if not is_same or not _is_day(row.study_date) or row.study_date >= date:
            unfit.add(uid)
        dates[uid] = row.study_date
    return {uid: dates[uid] for uid in dates.keys() - unfit}


def _patient_of(film: Any) -> Patient:
    """Return the present patient of an instance, or of a row with its columns."""
    return Patient(
        film.patient_id,
        film.issuer_of_patient_id or "",
        film.patient_name or "",
        film.patient_birth_date or "",
        film.patient_sex or "",
    )


def _is_day(date: str) -> bool:
    return len(date) == len("YYYYMMDD") and date.isdecimal()


def _counts(report: ObjectRecord) -> bool:
    return report.standing is Standing.VALID and report.purged_at is None
