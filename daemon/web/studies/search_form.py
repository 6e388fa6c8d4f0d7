"""The search form of the list of studies: values of a URL → a filter, or a message per field."""

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from cxr_model.findings import LABELS
from daemon.config.settings import Config
from daemon.web.entry import Parameter, Place
from storage.records import StudyState
from storage.search.records import StudyFilter, StudySort

MOST_CHARACTERS = 128
"""Characters of a search text; a Patient ID has 64 at most."""
MOST_ROWS = 500
PAGE_ROWS = 50
_LAST_PAGE = 1_000_000
_FIRST_YEAR, _LAST_YEAR = 1850, 2199


class Kind(StrEnum):
    """The kinds of fields."""

    TEXT = "text"
    DATE = "date"
    CHOICE = "choice"


@dataclass(frozen=True, slots=True)
class SearchField:
    """A field of the form: its name in a URL, its label, and its attribute of the filter."""

    name: str
    label: str
    attribute: str
    kind: Kind = Kind.TEXT
    summary: str = ""


FIELDS = (
    SearchField(
        "q",
        "Search",
        "text",
        summary="A part of the accession number, Patient ID or Study Instance UID.",
    ),
    SearchField("accession", "Accession number", "accession_number"),
    SearchField("patient", "Patient ID", "patient_id"),
    SearchField("name", "Patient name", "patient_name", summary="Only with web.patient_names."),
    SearchField("from", "Study date from", "date_from", Kind.DATE),
    SearchField("to", "Study date to", "date_to", Kind.DATE, "The last day, inclusive."),
    SearchField("received_from", "Received from", "received_from", Kind.DATE, "A day in UTC."),
    SearchField(
        "received_to", "Received to", "received_to", Kind.DATE, "The last day in UTC, inclusive."
    ),
    SearchField("modality", "Modality", "modality"),
    SearchField("sender", "Sender", "sender", summary="A calling AE title."),
    SearchField("source", "Source", "source", summary="The source of a peer."),
    SearchField("finding", "Finding present", "finding", Kind.CHOICE),
    SearchField("state", "State", "state", Kind.CHOICE),
)
_NAMES = frozenset(field.name for field in FIELDS)
_ORDERS = {"asc": False, "desc": True}
PARAMETERS = (
    *(
        Parameter(field.name, Place.QUERY, "string", field.summary or field.label)
        for field in FIELDS
    ),
    Parameter("sort", Place.QUERY, "string", f"One of {', '.join(StudySort)}."),
    Parameter("order", Place.QUERY, "string", "asc or desc."),
)


@dataclass(frozen=True, slots=True)
class Search:
    """A search as a URL asks for it.

    Attributes:
        values: the text of each field that is not empty, by name.
        problems: a message per field whose value cannot be used.
        selection: the filter of the fields without problems.
        sort: the column that orders the list.
        descending: True for the largest value first.
        page: the number of the page, from 1.
    """

    values: Mapping[str, str]
    problems: Mapping[str, str]
    selection: StudyFilter
    sort: StudySort = StudySort.RECEIVED
    descending: bool = True
    page: int = 1

    @property
    def is_narrowed(self) -> bool:
        """True if a field has a value."""
        return bool(self.values)

    @property
    def has_details(self) -> bool:
        """True if a field of the panel has a value or a problem."""
        return any(name != "q" for name in (*self.values, *self.problems))

    @property
    def general_problems(self) -> list[str]:
        """The messages on values that have no field of their own on the page."""
        return [text for name, text in self.problems.items() if name not in _NAMES]

    @property
    def fields_used(self) -> str:
        """The labels of the fields that have a value, without their values."""
        return ", ".join(field.label for field in FIELDS if field.name in self.values) or "all"

    def query(self, **changes: Any) -> str:
        """Return the query of the URL of this search with `changes`, without defaults."""
        order = {
            "sort": self.sort.value,
            "order": "desc" if self.descending else "asc",
            "page": str(self.page),
        }
        values = {**self.values, **order, **{name: str(to) for name, to in changes.items()}}
        if values["sort"] == StudySort.RECEIVED and values["order"] == "desc":
            del values["sort"], values["order"]
        if values["page"] == "1":
            del values["page"]
        return urlencode(values)

    def sorted_by(self, key: StudySort) -> str:
        """Return the query of the same search sorted by a column, the other way round if it is."""
        first_down = key in _LARGEST_FIRST
        descending = not self.descending if key is self.sort else first_down
        return self.query(sort=key.value, order="desc" if descending else "asc", page=1)


_LARGEST_FIRST = frozenset(
    {StudySort.RECEIVED, StudySort.FIRST_RECEIVED, StudySort.STUDY_DATE, StudySort.FILMS}
)


def read_search(query: QueryParams, config: Config) -> Search:
    """Return the search of a URL. Fields with problems are left out of its filter."""
    values = {name: text for name in query if name in _NAMES and (text := query[name].strip(" "))}
    problems: dict[str, str] = {}
    found: dict[str, Any] = {}
    for field in FIELDS:
        if field.name in values:
            try:
                found[field.attribute] = _READERS[field.kind](field.name, values[field.name])
            except ValueError as error:
                problems[field.name] = str(error)
    if "name" in values and not config.web.patient_names:
        # The page has no field for it.
        problems["patient name"] = "names are not shown here: web.patient_names is false"
        found.pop("patient_name", None)
    if "received_to" in found:
        found["received_to"] += timedelta(days=1)
    _check_order(found, problems)
    selection = StudyFilter(**found, names_searchable=config.web.patient_names)
    return replace(_ordered(query, problems, selection), values=values)


def unknown_names(query: QueryParams, *known: str) -> list[str]:
    """Return the parameters of a URL that a search does not have."""
    return [name for name in dict.fromkeys(query) if name not in _NAMES.union(known)]


def _ordered(query: QueryParams, problems: dict[str, str], selection: StudyFilter) -> Search:
    sort, order = query.get("sort", ""), query.get("order", "")
    page = query.get("page", "1")
    if sort and sort not in list(StudySort):
        problems["sort"] = f"sort is one of {', '.join(StudySort)}"
    if order and order not in _ORDERS:
        problems["order"] = "order is asc or desc"
    if not (page.isascii() and page.isdecimal() and 1 <= int(page[:9]) <= _LAST_PAGE):
        problems["page"] = f"page is a number from 1 to {_LAST_PAGE}"
    key = StudySort(sort) if sort and "sort" not in problems else StudySort.RECEIVED
    descending = _ORDERS.get(order, key in _LARGEST_FIRST)
    number = 1 if "page" in problems else int(page)
    return Search({}, problems, selection, key, descending, number)


def _check_order(found: dict[str, Any], problems: dict[str, str]) -> None:
    for first, last, name in _RANGES:
        if first in found and last in found and found[first] > found[last]:
            problems[name] = "is before the first day"


_RANGES = (
    ("date_from", "date_to", "to"),
    ("received_from", "received_to", "received_to"),
)


def _text(name: str, value: str) -> str:
    if len(value) > MOST_CHARACTERS:
        raise ValueError(f"at most {MOST_CHARACTERS} characters")
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in value):
        raise ValueError("control characters cannot be searched for")
    return value


def _day(name: str, value: str) -> date | datetime:
    try:
        day = datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError("a date is written YYYY-MM-DD, for example 2026-03-01") from None
    if not _FIRST_YEAR <= day.year <= _LAST_YEAR:
        raise ValueError(f"a year from {_FIRST_YEAR} to {_LAST_YEAR}")
    return day if name.startswith("received") else day.date()


def _choice(name: str, value: str) -> str:
    allowed = LABELS if name == "finding" else tuple(StudyState)
    if value not in allowed:
        raise ValueError(f"is one of {', '.join(allowed)}")
    return value if name == "finding" else StudyState(value)


_READERS: Mapping[Kind, Callable[[str, str], Any]] = {
    Kind.TEXT: _text,
    Kind.DATE: _day,
    Kind.CHOICE: _choice,
}
