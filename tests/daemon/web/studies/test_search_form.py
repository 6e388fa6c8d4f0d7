"""The search form: values of a URL, and messages beside the fields."""

from datetime import UTC, date, datetime

import pytest
from starlette.datastructures import QueryParams

from daemon.config.sections.web import WebConfig
from daemon.config.settings import Config
from daemon.web.studies.search_form import Search, read_search, unknown_names
from storage.records import StudyState
from storage.search.records import StudyFilter, StudySort


def search(query: str, *, names: bool = False) -> Search:
    return read_search(QueryParams(query), Config(web=WebConfig(patient_names=names)))


def test_every_field_reaches_the_filter() -> None:
    found = search(
        "q=a&accession=b&patient=c&name=d&from=2026-01-02&to=2026-01-03&received_from=2026-02-01"
        "&received_to=2026-02-02&modality=CR&sender=S&source=T&finding=Mass&state=held"
        "&sort=films&order=asc&page=3",
        names=True,
    )
    assert found.problems == {}
    assert found.selection == StudyFilter(
        text="a",
        accession_number="b",
        patient_id="c",
        patient_name="d",
        date_from=date(2026, 1, 2),
        date_to=date(2026, 1, 3),
        received_from=datetime(2026, 2, 1, tzinfo=UTC),
        received_to=datetime(2026, 2, 3, tzinfo=UTC),
        modality="CR",
        sender="S",
        source="T",
        finding="Mass",
        state=StudyState.HELD,
        names_searchable=True,
    )
    assert (found.sort, found.descending, found.page) == (StudySort.FILMS, False, 3)


def test_an_empty_search_is_the_newest_first() -> None:
    found = search("q=&from=&state=%20")
    assert (found.selection, found.problems) == (StudyFilter(), {})
    assert (found.sort, found.descending, found.page) == (StudySort.RECEIVED, True, 1)
    assert not found.is_narrowed
    assert found.fields_used == "all"


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ("from=1.2.2026", "from", "YYYY-MM-DD"),
        ("from=2026-02-30", "from", "YYYY-MM-DD"),
        ("received_to=9999-12-31", "received_to", "1850 to 2199"),
        ("from=2026-01-02&to=2026-01-01", "to", "before the first day"),
        ("finding=Fracture", "finding", "is one of Atelectasis"),
        ("state=lost", "state", "is one of held"),
        ("name=Doe", "patient name", "web.patient_names is false"),
        ("q=" + "x" * 129, "q", "at most 128"),
        ("q=a%00b", "q", "control characters"),
        ("sort=age", "sort", "sort is one of"),
        ("order=up", "order", "asc or desc"),
        ("page=0", "page", "a number from 1"),
        ("page=%C2%B2", "page", "a number from 1"),
        ("page=" + "9" * 5000, "page", "a number from 1"),
    ],
)
def test_a_value_of_no_use_has_a_message(query: str, field: str, words: str) -> None:
    assert words in search(query).problems[field]


def test_a_url_keeps_the_search_and_leaves_defaults_out() -> None:
    found = search("q=a%26b&sort=films&page=2")
    assert found.query() == "q=a%26b&sort=films&order=desc&page=2"
    assert found.query(page=1) == "q=a%26b&sort=films&order=desc"
    assert search("q=a").query() == "q=a"


def test_a_column_sorts_the_other_way_round_the_second_time() -> None:
    by_number = search("").sorted_by(StudySort.PATIENT_ID)
    assert by_number == "sort=patient_id&order=asc"
    assert search(by_number).sorted_by(StudySort.PATIENT_ID) == "sort=patient_id&order=desc"
    assert search(by_number).sorted_by(StudySort.RECEIVED) == ""


def test_the_fields_used_are_named_without_their_values() -> None:
    assert search("q=MEIER&patient=4711").fields_used == "Search, Patient ID"


def test_unknown_parameters_are_found() -> None:
    assert unknown_names(QueryParams("q=a&acession=b&sort=films"), "sort") == ["acession"]
