"""The list of studies: each field finds its studies, in each order, in pages that fit together."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from storage.records import (
    Delivery,
    JobKind,
    JobState,
    ObjectKind,
    StudyKey,
    StudyState,
    StudyStatus,
)
from storage.search import studies as listing
from storage.search.records import StudyFilter, StudySort
from storage.status import ImageMark
from storage.store import Store
from tests.builders.store_rows import analyse, claim, made_object, new_instance
from tests.tools.clock import Clock

NAMES = {"1": "MÜLLER^Jörg", "2": "Doe^Jane", "3": "山田^太郎", "4": "O'Neil^100%_x"}


def receive(store: Store, study: str, clock: Clock | None = None, **changes: Any) -> int:
    film = new_instance(f"{study}.1", study_instance_uid=study, **changes)
    if clock is not None:
        clock.advance(1)
    return store.record_instance(film, 0).instance_id


@pytest.fixture
def four(store: Store, clock: Clock) -> Store:
    for study, name in NAMES.items():
        receive(
            store,
            study,
            clock,
            patient_name=name,
            patient_id=f"PAT-{study}",
            accession_number=f"Acc{study}%_'\"",
            study_date=f"2026030{study}",
            modality="CR" if study == "1" else "DX",
            calling_ae_title=f"ROOM{study}",
            source="north" if study == "2" else "",
        )
    return store


def found(store: Store, sort: StudySort = StudySort.STUDY_DATE, **conditions: Any) -> str:
    """Return the numbers of the studies that match."""
    page = store.search.studies(StudyFilter(**conditions), sort, descending=False)
    assert (page.total, page.more) == (len(page.rows), False)
    return " ".join(row.key.study_instance_uid for row in page.rows)


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, "1 2 3 4"),
        ({"text": "  "}, "1 2 3 4"),
        ({"text": "acc2"}, "2"),
        ({"text": "t-3"}, "3"),
        ({"text": "ACC"}, "1 2 3 4"),
        ({"text": "nothing"}, ""),
        ({"text": "%"}, "1 2 3 4"),
        ({"text": "_'\""}, "1 2 3 4"),
        ({"text": "%%"}, ""),
        ({"text": "\\"}, ""),
        ({"text": "'; DROP TABLE study_summaries; --"}, ""),
        ({"text": "\u0301"}, ""),
        ({"text": "müller"}, ""),
        ({"text": "müller", "names_searchable": True}, "1"),
        ({"text": "MULLER", "names_searchable": True}, "1"),
        ({"text": "Jörg Müller", "names_searchable": True}, "1"),
        ({"text": "太郎", "names_searchable": True}, "3"),
        ({"patient_name": "Müller, Jörg", "names_searchable": True}, "1"),
        ({"patient_name": "müller^jo", "names_searchable": True}, "1"),
        ({"patient_name": "o'neil 100%", "names_searchable": True}, "4"),
        ({"patient_name": "jane doe"}, ""),
        ({"accession_number": "cC2"}, "2"),
        ({"accession_number": "PAT-2"}, ""),
        ({"patient_id": "pat-4"}, "4"),
        ({"date_from": date(2026, 3, 2)}, "2 3 4"),
        ({"date_to": date(2026, 3, 2)}, "1 2"),
        ({"date_from": date(2026, 3, 2), "date_to": date(2026, 3, 3)}, "2 3"),
        ({"modality": "cr"}, "1"),
        ({"modality": "C"}, ""),
        ({"sender": "room3"}, "3"),
        ({"sender": "ROOM"}, ""),
        ({"source": "north"}, "2"),
        ({"source": ""}, "1 3 4"),
        ({"state": StudyState.WAITING, "modality": "DX"}, "2 3 4"),
        ({"state": StudyState.REPORTED}, ""),
        ({"text": "acc", "modality": "DX", "sender": "ROOM4"}, "4"),
    ],
)
def test_each_field_finds_its_studies(
    four: Store, conditions: dict[str, Any], expected: str
) -> None:
    assert found(four, **conditions) == expected


def test_a_study_is_found_by_a_part_of_its_uid(four: Store) -> None:
    receive(four, "1.2.840.99.7", accession_number="X", patient_id="X")
    assert found(four, text="840.99.7") == "1.2.840.99.7"
    assert four.search.keys_of("2") == (StudyKey("north", "2"),)
    assert four.search.keys_of("9") == ()


def test_the_time_of_reception_finds_studies(store: Store, clock: Clock) -> None:
    start = clock.now
    for study in "123":
        receive(store, study, clock)
    assert found(store, received_from=start + timedelta(seconds=2)) == "2 3"
    assert found(store, received_to=start + timedelta(seconds=2)) == "1"


@pytest.mark.parametrize("sort", StudySort)
def test_every_order_has_every_study_once_over_its_pages(four: Store, sort: StudySort) -> None:
    receive(four, "5", patient_name="Doe^Jane", study_date="")
    everything = StudyFilter(names_searchable=True)
    pages = {
        descending: [
            row.key.study_instance_uid
            for offset in range(0, 6, 2)
            for row in four.search.studies(
                everything, sort, descending=descending, offset=offset, limit=2
            ).rows
        ]
        for descending in (False, True)
    }
    assert sorted(pages[True]) == ["1", "2", "3", "4", "5"]
    assert pages[True] == pages[False][::-1]


def test_studies_are_sorted_by_the_column(four: Store) -> None:
    orders = {
        StudySort.PATIENT_NAME: "2 1 4 3",
        StudySort.MODALITY: "1 2 3 4",
        StudySort.SENDER: "1 2 3 4",
        StudySort.SOURCE: "1 3 4 2",
        StudySort.RECEIVED: "1 2 3 4",
    }
    assert {sort: found(four, sort, names_searchable=True) for sort in orders} == orders


def test_names_are_no_order_for_a_caller_who_may_not_see_them(four: Store) -> None:
    page = four.search.studies(StudyFilter(), StudySort.PATIENT_NAME, descending=False)
    assert [row.key.study_instance_uid for row in page.rows] == ["1", "2", "3", "4"]


def test_the_number_of_studies_is_counted_up_to_a_limit(
    four: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "COUNTED", 2)
    page = four.search.studies(StudyFilter(modality="DX"), offset=2, limit=5)
    assert (page.total, page.more) == (2, True)
    assert [row.key.study_instance_uid for row in page.rows] == ["2"]
    page = four.search.studies(StudyFilter(), limit=1)
    assert (page.total, page.more, len(page.rows)) == (4, False, 1)
    assert four.search.studies(StudyFilter(), offset=4).rows == ()


def test_a_negative_page_is_refused(store: Store) -> None:
    for offset, limit in ((-1, 1), (0, -1)):
        with pytest.raises(ValueError, match="no page"):
            store.search.studies(StudyFilter(), offset=offset, limit=limit)


def test_a_row_says_what_the_study_holds(store: Store, clock: Clock) -> None:
    for number, title in ((1, "ROOM1"), (2, "ROOM2")):
        film = new_instance(f"1.{number}", study_instance_uid="1", calling_ae_title=title)
        store.record_instance(film, 0)
    first, last = clock.now, clock.now
    analyse(store, clock.now)
    job = claim(store, JobKind.ANALYSE)
    store.results.record_refusal(job, int(job.subject), "LATERAL_VIEW", "")

    (row,) = store.search.studies(StudyFilter(finding="Mass")).rows
    assert row.key == StudyKey("", "1")
    assert (row.films, row.analysed, row.senders) == (2, 1, ("ROOM1", "ROOM2"))
    assert (row.first_received_at, row.last_received_at) == (first, last)
    assert (row.reasons, row.positives) == (("LATERAL_VIEW",), (("Mass", 0.8),))
    assert (row.state, row.mark) == (StudyState.ANALYSED, ImageMark.NONE)
    assert found(store, finding="Hernia") == ""
    assert found(store, finding="mass") == ""


def state_of(store: Store) -> StudyState:
    (row,) = store.search.studies(StudyFilter()).rows
    assert found(store, state=row.state) == row.key.study_instance_uid
    return row.state


def test_a_study_goes_through_its_states(store: Store, clock: Clock) -> None:
    receive(store, "1.2.3")
    assert state_of(store) is StudyState.WAITING
    analyse(store, clock.now)
    assert state_of(store) is StudyState.ANALYSED
    made = [made_object("9.1", ObjectKind.REPORT)]
    job = claim(store, JobKind.REPORT)
    store.results.record_report(job, StudyStatus.REPORTED, "", made, [Delivery("9.1", "PACS")])
    assert state_of(store) is StudyState.REPORTED
    store.jobs.fail(claim(store, JobKind.DELIVER), "refused", None)
    assert state_of(store) is StudyState.PARKED
    (parked,) = store.jobs.list(state=JobState.PARKED)
    store.jobs.retry(parked.id)
    assert state_of(store) is StudyState.REPORTED
    store.jobs.discard(parked.id)
    assert state_of(store) is StudyState.REPORTED
    store.record_instance(new_instance("2", study_instance_uid="1.2.3", patient_id="P2"), 0)
    assert state_of(store) is StudyState.HELD
    (row,) = store.search.studies(StudyFilter(text="P1")).rows
    assert (row.patient_id, row.mark, row.reasons) == ("P2", ImageMark.IN_DOUBT, ("TWO_PATIENTS",))


def test_a_study_without_a_chest_film_is_not_analysed(store: Store) -> None:
    receive(store, "1.2.3")
    job = claim(store, JobKind.ANALYSE)
    store.results.record_refusal(job, int(job.subject), "NOT_CHEST", "")
    job = claim(store, JobKind.REPORT)
    store.results.record_report(job, StudyStatus.NO_ELIGIBLE_IMAGE, "no chest film")
    assert state_of(store) is StudyState.NOT_ANALYSED


def test_the_same_uid_of_two_sources_is_two_studies(store: Store) -> None:
    for source in ("north", "south"):
        receive(store, "1", source=source)
    assert store.search.keys_of("1") == (StudyKey("north", "1"), StudyKey("south", "1"))
    assert found(store, text="1", source="south") == "1"


def test_a_corrupt_character_is_searched_for_as_it_is_stored(store: Store) -> None:
    receive(store, "1", patient_id="P\0 \udcff9", accession_number="Å\u030aß")
    assert found(store, patient_id="p ?9") == "1"
    assert found(store, accession_number="ass") == "1"


def test_times_are_in_utc(store: Store) -> None:
    receive(store, "1")
    (row,) = store.search.studies(StudyFilter()).rows
    assert row.last_received_at.tzinfo is UTC
    assert isinstance(row.first_received_at, datetime)
