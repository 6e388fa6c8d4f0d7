"""The audit table: one row per revision of a received instance, also as a CSV file."""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, Text, and_, bindparam, cast, func, select

from storage.files.csv_file import CsvPart, counted, csv_part, write_parts
from storage.finding_text import ranked, summary_of
from storage.records import InstanceState, ObjectKind
from storage.tables.database import Database, parameter, raw_rows, raw_time
from storage.tables.processes import results_in_order
from storage.tables.schema import deliveries, findings, instances, jobs, objects, studies

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


def columns(labels: Sequence[str]) -> list[str]:
    """Return the header of the audit table, with two columns for each label."""
    probabilities = (f"prob_{label}" for label in labels)
    presences = (f"{label}_Present" for label in labels)
    return [*_BEFORE_LABELS, *probabilities, *_AFTER_LABELS, *_LATER, *presences]


def _plain_columns(labels: Sequence[str]) -> set[str]:
    """Return the columns with numbers and times, in which no peer's text can be."""
    numbers = {"received_at", "revision", "analysed_at", "purged_at", "superseded_at"}
    return numbers.union(*((f"prob_{label}", f"{label}_Present") for label in labels))


@dataclass(frozen=True, slots=True)
class ExportFilter:
    """Limits of an export: received from `since` to before `until`, one study, one state."""

    since: datetime | None = None
    until: datetime | None = None
    study_instance_uid: str | None = None
    state: InstanceState | None = None


_NO_FILTER = ExportFilter()


class _Place(NamedTuple):
    """The place of an instance in the order of the rows."""

    received_at: datetime
    id: int


_BEFORE_ALL = _Place(datetime(1, 1, 2, tzinfo=UTC), 0)
_Ends = tuple[_Place, _Place]
"""The place before the first row of a page, and that of its last row."""


class Export:
    """The instances as table rows."""

    def __init__(self, database: Database, page_rows: int = PAGE_ROWS) -> None:
        self._database = database
        self._page_rows = page_rows

    def write_csv(
        self,
        path: Path,
        labels: Sequence[str],
        selection: ExportFilter = _NO_FILTER,
        progress: Callable[[int], object] = int,
        processes: int = 1,
    ) -> int:
        """Write the audit table of these instances, which are those of the begin.

        Returns the number of rows. `progress` is called with the number of each page's rows when
        they are ready. For `processes` see `storage.tables.processes`. Raises OutOfSpaceError,
        SpoolError or another StorageError; then no file is written.
        """
        names = columns(labels)
        work = partial(_csv_part, selection, labels, names, _plain_columns(labels))
        pages = self._pages(selection)
        with results_in_order(self._database, work, pages, processes) as parts:
            return write_parts(path, names, counted(parts, progress))

    def count(self, selection: ExportFilter = _NO_FILTER) -> int:
        """Return the number of rows of an export now."""
        query = _selected(select(func.count()).select_from(instances), selection)
        with self._database.reading() as connection:
            return connection.scalar(query) or 0

    def rows(
        self, labels: Sequence[str] = (), selection: ExportFilter = _NO_FILTER
    ) -> Iterator[dict[str, str]]:
        """Yield one row per revision of each instance, oldest first, with the keys of `columns`.

        Rows are read in pages, so that a slow caller keeps no transaction open.
        """
        names = columns(labels)
        for ends in self._pages(selection):
            for cells in _cells(self._database, selection, labels, ends):
                yield dict(zip(names, cells, strict=True))

    def _pages(self, selection: ExportFilter) -> Iterator[_Ends]:
        """Yield the ends of pages of rows, up to the newest row of the begin."""
        places = _selected(_PLACES, selection)
        with self._database.reading() as connection:
            newest = _place(connection, places.order_by(*_NEWEST_FIRST).limit(1), {})
        # A page that reaches a later time may have the rows of two pages.
        page_end = places.order_by(*_OLDEST_FIRST).offset(self._page_rows - 1).limit(1)
        after = _BEFORE_ALL
        while newest is not None and after != newest:
            limits = {"first_time": after.received_at, "first_id": after.id}
            with self._database.reading() as connection:
                end = _place(connection, page_end.where(_AT_FIRST), limits) or _place(
                    connection, page_end.where(_BEHIND_FIRST), limits
                )
            end = newest if end is None else min(end, newest)
            yield after, end
            after = end


_RECEIVED_AT, _STUDY, _ANALYSED_AT = map(
    _BEFORE_LABELS.index, ("received_at", "study_instance_uid", "analysed_at")
)
_ID = -1
_NO_FINDING = ("", "")


class _Report(NamedTuple):
    """A report of a study."""

    created_at: Any
    sop_instance_uid: str
    standing: str
    other_forms: list[str]


@dataclass(frozen=True, slots=True)
class _Page:
    """Some instances with their findings, and the reports and deliveries of their studies.

    Rows and times are as the driver gives them, see `raw_rows`.
    """

    instances: Sequence[tuple[Any, ...]]
    findings: Mapping[int, Sequence[tuple[int, str, float, float, bool]]]
    reports: Mapping[tuple[str, str], Sequence[_Report]]
    deliveries: Mapping[str, Sequence[str]]


def _selected(query: Select[Any], selection: ExportFilter) -> Select[Any]:
    if selection.since is not None:
        query = query.where(instances.c.received_at >= selection.since)
    if selection.until is not None:
        query = query.where(instances.c.received_at < selection.until)
    if selection.study_instance_uid is not None:
        query = query.where(instances.c.study_instance_uid == selection.study_instance_uid)
    if selection.state is not None:
        query = query.where(instances.c.state == selection.state)
    return query


def _place(connection: Connection, query: Select[Any], limits: Mapping[str, Any]) -> _Place | None:
    found = raw_rows(connection, query, limits)
    return _Place(raw_time(found[0][0]), found[0][1]) if found else None


def _csv_part(
    selection: ExportFilter,
    labels: Sequence[str],
    names: Sequence[str],
    plain: Collection[str],
    database: Database,
    ends: _Ends,
) -> CsvPart:
    return csv_part(names, _cells(database, selection, labels, ends), plain)


def _cells(
    database: Database, selection: ExportFilter, labels: Sequence[str], ends: _Ends
) -> Iterator[list[str]]:
    """Yield the cells of each row of a page in the order of `columns`."""
    with database.reading() as connection:
        page = _load_page(connection, _selected(_QUERY, selection), ends)
    for instance in page.instances:
        yield _row(page, instance, labels)


def _load_page(connection: Connection, query: Select[Any], ends: _Ends) -> _Page:
    first, last = ends
    limits = {
        "first_time": first.received_at,
        "first_id": first.id,
        "last_time": last.received_at,
        "last_id": last.id,
    }
    # SQLite would use an index for the time alone, and many rows may share a time.
    is_one_time = first.received_at == last.received_at
    found: list[tuple[Any, ...]] = []
    for condition in _OF_ONE_TIME if is_one_time else _OF_SEVERAL_TIMES:
        found += raw_rows(connection, query.where(condition), limits)
    of_studies = list({row[_STUDY] for row in found})
    reports: dict[tuple[str, str], list[_Report]] = defaultdict(list)
    sent = []
    for source, study, form, at, uid, standing in raw_rows(
        connection, _REPORTS, {"studies": of_studies}
    ):
        sent.append(uid)
        made = reports[source, study]
        # The forms of one report are recorded together, the default form first.
        if form == "":
            made.append(_Report(at, uid, standing, []))
        elif made:
            made[-1].other_forms.append(uid)
    of_instances: dict[int, list[Any]] = defaultdict(list)
    for finding in raw_rows(connection, _FINDINGS, {"ids": [row[_ID] for row in found]}):
        of_instances[finding[0]].append(finding)
    return _Page(found, of_instances, reports, _load_deliveries(connection, sent))


def _load_deliveries(
    connection: Connection, sop_instance_uids: Collection[str]
) -> dict[str, list[str]]:
    found = defaultdict(list)
    for row in raw_rows(connection, _DELIVERIES, {"uids": sop_instance_uids}):
        uid, destination, delivered_at, sent_as, made_as, committed_at, state = row
        status = f"delivered {_time(delivered_at)}" if delivered_at else state
        if sent_as and sent_as != made_as:
            status += f" as {sent_as}"
        if committed_at:
            status += f" committed {_time(committed_at)}"
        found[uid].append(f"{destination}={status}")
    return found


def _row(page: _Page, instance: tuple[Any, ...], labels: Sequence[str]) -> list[str]:
    """Return the cells in the order of `columns`."""
    before = list(instance[: len(_BEFORE_LABELS)])
    purged_at, source, study_status, study_detail, *ends, rejected_by, notes, number = instance[
        len(_BEFORE_LABELS) :
    ]
    found = page.findings.get(number, ())
    cells = {label: (f"{p:.6f}", "1" if here else "0") for _, label, p, _, here in found}
    mine = [cells.get(label, _NO_FINDING) for label in labels]
    present = [ranked(label, p, threshold) for _, label, p, threshold, here in found if here]
    reports = page.reports.get((source, before[_STUDY]), ())
    report = _report_of(before[_ANALYSED_AT], ends, reports)
    before[_RECEIVED_AT] = _time(before[_RECEIVED_AT])
    before[_ANALYSED_AT] = _time(before[_ANALYSED_AT])
    return [
        *before,
        *[probability for probability, _ in mine],
        summary_of(present),
        report.sop_instance_uid if report else "",
        ";".join(_sent(page, report)) if report else "",
        _time(purged_at),
        source,
        report.standing if report else "",
        study_status,
        study_detail,
        *map(_time, ends),
        rejected_by,
        "" if notes == "[]" else "; ".join(json.loads(notes)),
        *[is_present for _, is_present in mine],
    ]


def _sent(page: _Page, report: _Report) -> list[str]:
    """Return the deliveries of a report in all its forms, in the order of the destinations."""
    uids = report.sop_instance_uid, *report.other_forms
    return sorted(line for uid in uids for line in page.deliveries.get(uid, ()))


def _report_of(
    analysed_at: Any, ends: Collection[Any], reports: Sequence[_Report]
) -> _Report | None:
    """Return the newest report made from a revision before another replaced it.

    `ends` are the times when it was superseded and set aside.
    """
    if analysed_at is None:
        return None
    made_with_it = (
        report
        for report in reversed(reports)
        if report.created_at >= analysed_at
        and all(end is None or report.created_at < end for end in ends)
    )
    return next(made_with_it, None)


def _time(value: Any) -> str:
    """Return a time that `raw_rows` gave, in milliseconds."""
    if value is None:
        return ""
    if isinstance(value, str) and len(value) == _TIME_LENGTH:
        return f"{value[:10]}T{value[11:23]}+00:00"
    return raw_time(value).isoformat(timespec="milliseconds")


def _cell(column: Any) -> Any:
    """Return a column as text, which is empty where the column is null."""
    return func.coalesce(cast(column, Text), "")


_TIME_LENGTH = len("2026-03-01 12:00:00.000000")
_newer = instances.alias()
_SUPERSEDED_AT = (
    select(func.min(_newer.c.received_at))
    .where(
        _newer.c.source == instances.c.source,
        _newer.c.sop_instance_uid == instances.c.sop_instance_uid,
        _newer.c.revision > instances.c.revision,
    )
    .scalar_subquery()
)

_TIMES = frozenset({"received_at", "analysed_at"})
_QUERY: Select[Any] = (
    select(
        *(
            instances.c[name] if name in _TIMES else _cell(instances.c[name])
            for name in _BEFORE_LABELS
        ),
        instances.c.purged_at,
        instances.c.source,
        _cell(studies.c.status),
        _cell(studies.c.detail),
        _SUPERSEDED_AT,
        instances.c.set_aside_at,
        _cell(instances.c.rejected_by),
        cast(instances.c.notes, Text),
        instances.c.id,
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
_AT, _NUMBER = instances.c.received_at, instances.c.id
_PLACES: Select[Any] = select(_AT, _NUMBER)
_OLDEST_FIRST = _AT, _NUMBER
_NEWEST_FIRST = _AT.desc(), _NUMBER.desc()
_FIRST_TIME, _LAST_TIME = parameter(_AT, "first_time"), parameter(_AT, "last_time")
_AT_FIRST = and_(_AT == _FIRST_TIME, parameter(_NUMBER, "first_id") < _NUMBER)
_BEHIND_FIRST = _FIRST_TIME < _AT
_UP_TO_LAST = parameter(_NUMBER, "last_id") >= _NUMBER
_OF_ONE_TIME = (and_(_AT_FIRST, _UP_TO_LAST),)
_OF_SEVERAL_TIMES = (
    _AT_FIRST,
    and_(_BEHIND_FIRST, _AT < _LAST_TIME),
    and_(_AT == _LAST_TIME, _UP_TO_LAST),
)

_REPORTS: Select[Any] = (
    select(
        objects.c.source,
        objects.c.study_instance_uid,
        objects.c.form,
        objects.c.created_at,
        objects.c.sop_instance_uid,
        objects.c.standing,
    )
    .where(
        objects.c.kind == ObjectKind.REPORT,
        objects.c.study_instance_uid.in_(bindparam("studies", expanding=True, type_=Text())),
    )
    .order_by(objects.c.id)
)

_FINDINGS: Select[Any] = (
    select(
        findings.c.instance_id,
        findings.c.label,
        findings.c.probability,
        findings.c.threshold,
        findings.c.present,
    )
    .where(findings.c.instance_id.in_(bindparam("ids", expanding=True)))
    .order_by(findings.c.instance_id, findings.c.position)
)

_DELIVERIES: Select[Any] = (
    select(
        deliveries.c.sop_instance_uid,
        deliveries.c.destination,
        deliveries.c.delivered_at,
        deliveries.c.sop_class_uid,
        objects.c.sop_class_uid,
        deliveries.c.committed_at,
        jobs.c.state,
    )
    .join(jobs, jobs.c.id == deliveries.c.job_id)
    .join(objects, objects.c.sop_instance_uid == deliveries.c.sop_instance_uid)
    .where(deliveries.c.sop_instance_uid.in_(bindparam("uids", expanding=True, type_=Text())))
    .order_by(deliveries.c.destination)
)
