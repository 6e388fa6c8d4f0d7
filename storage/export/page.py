"""A part of the audit table: some instances with their findings, reports and deliveries."""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select

from storage.export.columns import BEFORE_LABELS
from storage.export.places import OF_ONE_TIME, OF_SEVERAL_TIMES, Ends
from storage.export.queries import DELIVERIES, FINDINGS, REPORTS, REVIEWS
from storage.export.verdicts import NO_REVIEWS, FilmReviews, film_reviews
from storage.finding_text import ranked, summary_of
from storage.tables.database import raw_rows, raw_time

_RECEIVED_AT, _STUDY, _ANALYSED_AT = map(
    BEFORE_LABELS.index, ("received_at", "study_instance_uid", "analysed_at")
)
_ID = -1
_NO_FINDING = ("", "")
_TIME_LENGTH = len("2026-03-01 12:00:00.000000")


class _Report(NamedTuple):
    """A report of a study."""

    created_at: Any
    sop_instance_uid: str
    standing: str
    other_forms: list[str]


@dataclass(frozen=True, slots=True)
class Page:
    """Some instances with their findings, and the reports and deliveries of their studies.

    Rows and times are as the driver gives them, see `raw_rows`.
    """

    instances: Sequence[tuple[Any, ...]]
    findings: Mapping[int, Sequence[tuple[int, str, float, float, bool]]]
    reviews: Mapping[int, FilmReviews]
    reports: Mapping[tuple[str, str], Sequence[_Report]]
    deliveries: Mapping[str, Sequence[str]]


def load_page(connection: Connection, query: Select[Any], ends: Ends) -> Page:
    """Read the instances of a part, from `query`, with the records that their rows need."""
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
    for condition in OF_ONE_TIME if is_one_time else OF_SEVERAL_TIMES:
        found += raw_rows(connection, query.where(condition), limits)
    of_studies = list({row[_STUDY] for row in found})
    reports: dict[tuple[str, str], list[_Report]] = defaultdict(list)
    sent = []
    for source, study, form, at, uid, standing in raw_rows(
        connection, REPORTS, {"studies": of_studies}
    ):
        sent.append(uid)
        made = reports[source, study]
        # The forms of one report are recorded together, the default form first.
        if form == "":
            made.append(_Report(at, uid, standing, []))
        elif made:
            made[-1].other_forms.append(uid)
    of_instances: dict[int, list[Any]] = defaultdict(list)
    ids = {"ids": [row[_ID] for row in found]}
    for finding in raw_rows(connection, FINDINGS, ids):
        of_instances[finding[0]].append(finding)
    reviewed = film_reviews(raw_rows(connection, REVIEWS, ids))
    return Page(found, of_instances, reviewed, reports, _load_deliveries(connection, sent))


def _load_deliveries(
    connection: Connection, sop_instance_uids: Collection[str]
) -> dict[str, list[str]]:
    found = defaultdict(list)
    for row in raw_rows(connection, DELIVERIES, {"uids": sop_instance_uids}):
        uid, destination, delivered_at, sent_as, made_as, committed_at, state = row
        status = f"delivered {_time(delivered_at)}" if delivered_at else state
        if sent_as and sent_as != made_as:
            status += f" as {sent_as}"
        if committed_at:
            status += f" committed {_time(committed_at)}"
        found[uid].append(f"{destination}={status}")
    return found


def row_of(page: Page, instance: tuple[Any, ...], labels: Sequence[str]) -> list[str]:
    """Return the cells in the order of `columns`."""
    before = list(instance[: len(BEFORE_LABELS)])
    purged_at, source, study_status, study_detail, *ends, rejected_by, notes, number = instance[
        len(BEFORE_LABELS) :
    ]
    found = page.findings.get(number, ())
    cells = {label: (f"{p:.6f}", "1" if here else "0") for _, label, p, _, here in found}
    reviews = page.reviews.get(number, NO_REVIEWS)
    calls = {label: bool(here) for _, label, _, _, here in found} if reviews.outcomes else {}
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
        *[reviews.verdict_on(label, calls.get(label)) for label in labels],
        reviews.remarks,
        reviews.reviewers,
        _time(reviews.newest),
    ]


def _sent(page: Page, report: _Report) -> list[str]:
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
