"""The list of studies, filtered, sorted and counted.

A text is searched for in a scan of the list: it may stand anywhere in a value, and the whole list
is a few dozen bytes a study. A filter that few studies match is sorted after the scan, one that
many match is read in the order of an index.
"""

import json
from array import array
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, case, false, func, or_, select

from storage.records import StudyKey, StudyState
from storage.search.records import StudyFilter, StudyPage, StudyRow, StudySort
from storage.status import ImageMark
from storage.summaries.folding import folded, words_of_name
from storage.summaries.records import VALUE_SEPARATOR, as_json
from storage.tables.conditions import of_study
from storage.tables.schema import study_summaries as listed

COUNTED = 10_000
"""Most studies of a filter that are counted."""
COUNTED_OF_ALL = 1_000_000
"""Most studies that are counted without a filter."""

_DATE = "%Y%m%d"
_SHORT = timedelta(days=92)
"""Longest range of study dates that is looked up in the index of dates."""
_PLACES = {state: place for place, state in enumerate(StudyState)}
_URGENCY: ColumnElement[Any] = case(_PLACES, value=listed.c.state)

_COLUMNS: dict[StudySort, ColumnElement[Any]] = {
    StudySort.RECEIVED: listed.c.last_received_at,
    StudySort.FIRST_RECEIVED: listed.c.first_received_at,
    StudySort.STUDY_DATE: listed.c.study_date,
    StudySort.PATIENT_ID: listed.c.patient_id,
    StudySort.PATIENT_NAME: listed.c.name_key,
    StudySort.ACCESSION_NUMBER: listed.c.accession_number,
    StudySort.MODALITY: listed.c.modality,
    StudySort.SENDER: listed.c.senders,
    StudySort.SOURCE: listed.c.source,
    StudySort.FILMS: listed.c.films,
    StudySort.STATE: _URGENCY,
}


def load_page(
    connection: Connection,
    chosen: StudyFilter,
    sort: StudySort,
    *,
    descending: bool,
    offset: int,
    limit: int,
) -> StudyPage:
    """Return a page of the list; see `Search.studies`."""
    conditions = list(_conditions(connection, chosen))
    counted = COUNTED if conditions else COUNTED_OF_ALL
    some = select(listed.c.id).where(*conditions).limit(counted + 1).subquery()
    total = connection.scalar(select(func.count()).select_from(some)) or 0
    more = total > counted
    if offset >= total and not more:
        return StudyPage((), total, more=False)
    limit = limit if more else min(limit, total - offset)
    column = _COLUMNS[_allowed(chosen, sort)]
    numbers = _numbers(conditions, column, is_few=bool(conditions) and not more)
    # A page of the second half is nearer to the end.
    from_end = not more and offset > total // 2
    order = _order(numbers.c.place, numbers.c.id, descending=descending != from_end)
    skipped = total - offset - limit if from_end else offset
    page = select(numbers).order_by(*order).offset(skipped).limit(limit).subquery()
    query = (
        select(listed)
        .join(page, page.c.id == listed.c.id)
        .order_by(*_order(page.c.place, page.c.id, descending=descending))
    )
    rows = tuple(study_row(row) for row in connection.execute(query))
    return StudyPage(rows, min(total, counted), more)


def load_row(connection: Connection, key: StudyKey) -> StudyRow | None:
    """Return the row of a study in the list, or None."""
    row = connection.execute(select(listed).where(of_study(listed, key))).one_or_none()
    return None if row is None else study_row(row)


def load_numbers(
    connection: Connection, chosen: StudyFilter, sort: StudySort, *, descending: bool
) -> Sequence[int]:
    """Return the row numbers of all studies of a filter, in an order; 8 bytes each."""
    conditions = list(_conditions(connection, chosen))
    order = _order(_COLUMNS[_allowed(chosen, sort)], listed.c.id, descending=descending)
    query = select(listed.c.id).where(*conditions).order_by(*order)
    return array("q", connection.scalars(query.execution_options(yield_per=10_000)))


def _allowed(chosen: StudyFilter, sort: StudySort) -> StudySort:
    """Return the order; the order of names would tell them to a caller who may not see them."""
    is_hidden = sort is StudySort.PATIENT_NAME and not chosen.names_searchable
    return StudySort.RECEIVED if is_hidden else sort


def _numbers(
    conditions: list[ColumnElement[bool]], column: ColumnElement[Any], *, is_few: bool
) -> Any:
    """Return the numbers of the studies and their place in the order.

    Few of them are collected before they are sorted: the database would else look through the whole
    index of the order for them.
    """
    query = select(listed.c.id, column.label("place")).where(*conditions)
    return query.cte("chosen").prefix_with("MATERIALIZED") if is_few else query.subquery()


def _order(
    place: ColumnElement[Any], number: ColumnElement[Any], *, descending: bool
) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    return (place.desc(), number.desc()) if descending else (place, number)


def _conditions(connection: Connection, chosen: StudyFilter) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions of a filter, those that an index answers first."""
    find = func.strpos if connection.dialect.name == "postgresql" else func.instr

    def contains(column: ColumnElement[str], text: str) -> ColumnElement[bool]:
        # A text of combining marks alone is in no value.
        return find(column, text) > 0 if text else false()

    def has_words(text: str) -> ColumnElement[bool]:
        words = words_of_name(text)
        return and_(*(contains(listed.c.name_key, word) for word in words)) if words else false()

    def is_among(column: ColumnElement[str], value: str) -> ColumnElement[bool]:
        values = VALUE_SEPARATOR + func.lower(column) + VALUE_SEPARATOR
        return contains(values, VALUE_SEPARATOR + value.strip().lower() + VALUE_SEPARATOR)

    yield from _plain_conditions(chosen)
    if chosen.modality.strip():
        yield is_among(listed.c.modality, chosen.modality)
    if chosen.sender.strip():
        yield is_among(listed.c.senders, chosen.sender)
    if chosen.finding:
        yield contains(listed.c.positives, as_json([chosen.finding])[:-1] + ",")
    if chosen.accession_number.strip():
        yield contains(listed.c.accession_key, folded(chosen.accession_number))
    if chosen.patient_id.strip():
        yield contains(listed.c.patient_key, folded(chosen.patient_id))
    if chosen.patient_name.strip():
        yield has_words(chosen.patient_name) if chosen.names_searchable else false()
    if chosen.text.strip():
        numbers = (listed.c.accession_key, listed.c.patient_key, listed.c.study_instance_uid)
        ways = [contains(column, folded(chosen.text)) for column in numbers]
        yield or_(*ways, *([has_words(chosen.text)] if chosen.names_searchable else []))


def _plain_conditions(chosen: StudyFilter) -> Iterator[ColumnElement[bool]]:
    if chosen.state is StudyState.REPORTED:
        # Nearly all studies are: to look each up by an index takes longer than to read the list.
        yield _URGENCY.in_([_PLACES[chosen.state]])
    elif chosen.state is not None:
        yield listed.c.state == chosen.state
    if chosen.received_from is not None:
        yield listed.c.last_received_at >= chosen.received_from
    if chosen.received_to is not None:
        yield listed.c.first_received_at < chosen.received_to
    if chosen.source is not None:
        yield listed.c.source == chosen.source
    yield from _dates(chosen.date_from, chosen.date_to)


def _dates(first: date | None, last: date | None) -> Iterator[ColumnElement[bool]]:
    is_short = first is not None and last is not None and last - first <= _SHORT
    # An expression is not looked up in the index of dates.
    column = listed.c.study_date if is_short else func.coalesce(listed.c.study_date, "")
    if first is not None:
        yield column >= first.strftime(_DATE)
    if last is not None:
        # A study without a date is of no date.
        yield and_(column <= last.strftime(_DATE), column != "")


def study_row(row: Row[Any]) -> StudyRow:
    """Return a row of the table as a row of the list."""
    return StudyRow(
        key=StudyKey(row.source, row.study_instance_uid),
        patient_id=row.patient_id,
        patient_name=row.patient_name,
        sex=row.patient_sex,
        birth_date=row.patient_birth_date,
        accession_number=row.accession_number,
        study_date=row.study_date,
        modality=row.modality,
        senders=tuple(row.senders.split(VALUE_SEPARATOR)) if row.senders else (),
        films=row.films,
        analysed=row.analysed,
        first_received_at=row.first_received_at,
        last_received_at=row.last_received_at,
        state=row.state,
        reasons=tuple(json.loads(row.reasons)),
        positives=tuple((label, value) for label, value in json.loads(row.positives)),
        mark=ImageMark(row.mark),
    )
