"""The audit table: one row per revision of a received instance, also as a CSV file."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, func, select, tuple_

from storage.files.csv_file import write_csv
from storage.finding_text import summary
from storage.images.lookup import load_findings
from storage.records import FindingRecord, InstanceState, ObjectKind, StudyKey
from storage.tables.database import Database
from storage.tables.schema import deliveries, instances, jobs, objects, studies

PAGE_ROWS = 500

_BEFORE_LABELS = (
    "received_at",
    "calling_ae_title",
    "patient_id",
    "accession_number",
    "study_date",
    "modality",
    "study_instance_uid",
    "series_instance_uid",
    "sop_instance_uid",
    "sop_class_uid",
    "revision",
    "sha256",
    "state",
    "reason",
    "detail",
    "analysed_at",
    "model_name",
    "model_version",
    "model_sha256",
)
_AFTER_LABELS = ("findings", "report_sop_instance_uid", "deliveries", "purged_at")

# Columns since version 0.2, behind all others, so that the place of a column stays.
_LATER = (
    "source",
    "report_standing",
    "study_status",
    "study_detail",
    "superseded_at",
    "set_aside_at",
    "rejected_by",
    "notes",
)
_OF_INSTANCE = (
    *_BEFORE_LABELS,
    *("purged_at", "source", "study_status", "study_detail"),
    *("superseded_at", "set_aside_at", "rejected_by"),
)


def columns(labels: Sequence[str]) -> list[str]:
    """Return the header of the audit table, with two columns for each label."""
    probabilities = (f"prob_{label}" for label in labels)
    presences = (f"{label}_Present" for label in labels)
    return [*_BEFORE_LABELS, *probabilities, *_AFTER_LABELS, *_LATER, *presences]


@dataclass(frozen=True, slots=True)
class ExportFilter:
    """Limits of an export: received from `since` to before `until`, one study, one state."""

    since: datetime | None = None
    until: datetime | None = None
    study_instance_uid: str | None = None
    state: InstanceState | None = None


_NO_FILTER = ExportFilter()


class Export:
    """The instances as table rows."""

    def __init__(self, database: Database, page_rows: int = PAGE_ROWS) -> None:
        self._database = database
        self._page_rows = page_rows

    def write_csv(
        self, path: Path, labels: Sequence[str], selection: ExportFilter = _NO_FILTER
    ) -> int:
        """Write the audit table of these instances; return the number of rows.

        Raises OutOfSpaceError, SpoolError or another StorageError; then no file is written.
        """
        return write_csv(path, columns(labels), self.rows(labels, selection))

    def rows(
        self, labels: Sequence[str] = (), selection: ExportFilter = _NO_FILTER
    ) -> Iterator[dict[str, str]]:
        """Yield one row per revision of each instance, oldest first, with the keys of `columns`.

        Rows are read in pages, so that a slow caller keeps no transaction open.
        """
        query = _instances_query(selection)
        names = columns(labels)
        while True:
            with self._database.reading() as connection:
                page = _load_page(connection, query.limit(self._page_rows))
            for instance in page.instances:
                row = _row(page, instance, labels)
                yield {name: row[name] for name in names}
            if len(page.instances) < self._page_rows:
                return
            last = page.instances[-1]
            place = tuple_(instances.c.received_at, instances.c.id)
            query = query.where(place > (last.received_at, last.id))


@dataclass(frozen=True, slots=True)
class _Page:
    """Some instances with their findings, and the reports and deliveries of their studies."""

    instances: Sequence[Row[Any]]
    findings: Mapping[int, Sequence[FindingRecord]]
    reports: Mapping[StudyKey, Sequence[Row[Any]]]
    deliveries: Mapping[str, Sequence[str]]


def _instances_query(selection: ExportFilter) -> Select[Any]:
    newer = instances.alias()
    superseded_at = (
        select(func.min(newer.c.received_at))
        .where(
            newer.c.source == instances.c.source,
            newer.c.sop_instance_uid == instances.c.sop_instance_uid,
            newer.c.revision > instances.c.revision,
        )
        .scalar_subquery()
    )
    query = (
        select(
            instances,
            superseded_at.label("superseded_at"),
            studies.c.status.label("study_status"),
            studies.c.detail.label("study_detail"),
        )
        .outerjoin(
            studies,
            and_(
                studies.c.source == instances.c.source,
                studies.c.study_instance_uid == instances.c.study_instance_uid,
            ),
        )
        .order_by(instances.c.received_at, instances.c.id)
    )
    if selection.since is not None:
        query = query.where(instances.c.received_at >= selection.since)
    if selection.until is not None:
        query = query.where(instances.c.received_at < selection.until)
    if selection.study_instance_uid is not None:
        query = query.where(instances.c.study_instance_uid == selection.study_instance_uid)
    if selection.state is not None:
        query = query.where(instances.c.state == selection.state)
    return query


def _load_page(connection: Connection, query: Select[Any]) -> _Page:
    found = connection.execute(query).all()
    of_studies = select(objects).where(
        objects.c.kind == ObjectKind.REPORT,
        objects.c.study_instance_uid.in_({row.study_instance_uid for row in found}),
    )
    reports = defaultdict(list)
    for report in connection.execute(of_studies.order_by(objects.c.id)):
        reports[StudyKey(report.source, report.study_instance_uid)].append(report)
    sent = [report.sop_instance_uid for made in reports.values() for report in made]
    return _Page(
        instances=found,
        findings=load_findings(connection, [row.id for row in found]),
        reports=reports,
        deliveries=_load_deliveries(connection, sent),
    )


def _load_deliveries(
    connection: Connection, sop_instance_uids: Collection[str]
) -> dict[str, list[str]]:
    query = (
        select(deliveries, jobs.c.state, objects.c.sop_class_uid.label("made_as"))
        .join(jobs, jobs.c.id == deliveries.c.job_id)
        .join(objects, objects.c.sop_instance_uid == deliveries.c.sop_instance_uid)
        .where(deliveries.c.sop_instance_uid.in_(sop_instance_uids))
        .order_by(deliveries.c.destination)
    )
    found = defaultdict(list)
    for row in connection.execute(query):
        status = f"delivered {_text(row.delivered_at)}" if row.delivered_at else row.state.value
        if row.sop_class_uid and row.sop_class_uid != row.made_as:
            status += f" as {row.sop_class_uid}"
        if row.committed_at:
            status += f" committed {_text(row.committed_at)}"
        found[row.sop_instance_uid].append(f"{row.destination}={status}")
    return found


def _row(page: _Page, instance: Row[Any], labels: Sequence[str]) -> dict[str, str]:
    findings = {finding.label: finding for finding in page.findings.get(instance.id, ())}
    key = StudyKey(instance.source, instance.study_instance_uid)
    report = _report_of(instance, page.reports.get(key, ()))
    row = {name: _text(getattr(instance, name)) for name in _OF_INSTANCE}
    row["notes"] = "; ".join(instance.notes)
    for label in labels:
        finding = findings.get(label)
        row[f"prob_{label}"] = f"{finding.probability:.6f}" if finding else ""
        row[f"{label}_Present"] = str(int(finding.present)) if finding else ""
    row["findings"] = summary(findings.values())
    row["report_sop_instance_uid"] = report.sop_instance_uid if report else ""
    row["report_standing"] = _text(report.standing) if report else ""
    row["deliveries"] = ";".join(page.deliveries.get(row["report_sop_instance_uid"], ()))
    return row


def _report_of(instance: Row[Any], reports: Sequence[Row[Any]]) -> Row[Any] | None:
    """Return the newest report made from this revision before another replaced it."""
    if instance.analysed_at is None:
        return None
    made_with_it = [
        report
        for report in reports
        if report.created_at >= instance.analysed_at
        and all(
            end is None or report.created_at < end
            for end in (instance.superseded_at, instance.set_aside_at)
        )
    ]
    return made_with_it[-1] if made_with_it else None


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    return str(value)
