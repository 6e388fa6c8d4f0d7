"""Queries against archives that answer well, wrongly, slowly, without end, or not."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from pynetdicom.events import Event

from dicom_io.errors import AssociationError, QueryError
from dicom_io.query.retrieval import Service, offers
from dicom_io.query.services import FIND, MOVE
from dicom_io.query.session import FoundStudies, QueryLimits, QuerySession
from dicom_io.query.values import StudyQuery
from dicom_io.send.association import Destination
from tests.servers.archives.scripted import PENDING, QUICK, scripted_archive, study

pytestmark = pytest.mark.network

ACCESSION = StudyQuery(accession_number="A1")


def found(
    archive: Destination, query: StudyQuery = ACCESSION, limits: QueryLimits | None = None
) -> FoundStudies:
    with QuerySession(archive, limits) as session:
        return session.find_studies(query)


def answers(*keys: dict[str, str]) -> Any:
    def find(_: Event) -> Iterator[Any]:
        for one in keys:
            yield PENDING, study(**one)

    return find


def test_answers_are_studies_each_once() -> None:
    asked = []

    def find(event: Event) -> Iterator[Any]:
        asked.append(event.identifier)
        yield from answers(
            {"AccessionNumber": "A1", "PatientID": "P", "ModalitiesInStudy": "CR"},
            {"AccessionNumber": "A1", "PatientID": "P", "ModalitiesInStudy": "CR"},
            {"AccessionNumber": "A1", "StudyInstanceUID": "1.2.4", "ModalitiesInStudy": "CT"},
            {
                "AccessionNumber": "A1",
                "StudyInstanceUID": "1.2.5",
                "NumberOfStudyRelatedInstances": "2",
                "StudyDate": "20240102",
            },
        )(event)

    with scripted_archive(find) as archive:
        result = found(archive, replace(ACCESSION, modalities=("CR", "DX"), first_day="20240101"))
    assert [one.study_instance_uid for one in result.studies] == ["1.2.5"]
    assert result.studies[0].instances == 2
    assert result.refused == {"its Study Date is no date": 6}
    assert [one.ModalitiesInStudy for one in asked] == ["CR", "DX"]
    assert {one.StudyDate for one in asked} == {"20240101-"}
    assert {one.QueryRetrieveLevel for one in asked} == {"STUDY"}


WRONG = [
    ({"StudyInstanceUID": "1.9"}, StudyQuery("1.2.3"), "another Study Instance UID"),
    ({"StudyInstanceUID": ""}, StudyQuery("1.2.3"), "no valid Study Instance UID"),
    ({"AccessionNumber": "A11"}, ACCESSION, "another accession number"),
    ({"PatientID": "Q"}, StudyQuery(patient_id="P"), "another Patient ID"),
    (
        {"PatientID": "P", "IssuerOfPatientID": "B"},
        StudyQuery(patient_id="P", issuer_of_patient_id="A"),
        "another issuer",
    ),
    ({"StudyDate": "20240199"}, StudyQuery(first_day="20240101"), "no date"),
    (
        {"StudyDate": "20250101"},
        StudyQuery(first_day="20240101", last_day="20240131"),
        "outside the days",
    ),
]


def test_a_wrong_answer_is_refused() -> None:
    given = iter(WRONG)

    def find(_: Event) -> Iterator[Any]:
        yield PENDING, study(**next(given)[0])

    with scripted_archive(find) as archive, QuerySession(archive) as session:
        for _, query, fault in WRONG:
            result = session.find_studies(query)
            assert not result.studies
            assert [fault in reason for reason in result.refused] == [True]


def test_answers_without_end_are_cancelled() -> None:
    cancelled = []

    def find(event: Event) -> Iterator[Any]:
        for number in itertools.count():
            if event.is_cancelled:
                cancelled.append(number)
                yield 0xFE00, None
                return
            yield PENDING, study(StudyInstanceUID=f"1.2.{number}", AccessionNumber="A1")

    with scripted_archive(find) as archive:
        result = found(archive, limits=QueryLimits(answers=20))
    assert result.is_cut
    assert len(result.studies) == 20
    assert cancelled


def test_a_peer_that_ignores_the_cancel_is_cut_off() -> None:
    def find(_: Event) -> Iterator[Any]:
        for number in itertools.count():
            yield PENDING, study(StudyInstanceUID=f"1.2.{number}", AccessionNumber="A1")

    with scripted_archive(find) as archive:
        assert found(archive, limits=QueryLimits(answers=20)).is_cut


def test_answers_that_drip_end_by_the_time_of_the_query() -> None:
    def find(_: Event) -> Iterator[Any]:
        for number in range(100):
            time.sleep(0.05)
            yield PENDING, study(StudyInstanceUID=f"1.2.{number}", AccessionNumber="A1")

    with scripted_archive(find) as archive, pytest.raises(QueryError, match="still answering"):
        found(archive, limits=QueryLimits(seconds=0.3))


def test_a_peer_that_does_not_answer_ends_by_its_timeout() -> None:
    def find(_: Event) -> Iterator[Any]:
        time.sleep(1.0)
        yield 0x0000, None

    quick = replace(QUICK, response=0.2)
    with (
        scripted_archive(find, timeouts=quick) as archive,
        pytest.raises(AssociationError, match="no answer to a query") as caught,
    ):
        found(archive)
    assert caught.value.retryable


def test_a_refused_query_says_the_status() -> None:
    statuses = {0xA700: True, 0x0213: True, 0xA900: False, 0xC001: False}
    given = iter(statuses)

    def find(_: Event) -> Iterator[Any]:
        yield next(given), None

    with scripted_archive(find) as archive, QuerySession(archive) as session:
        for status, retryable in statuses.items():
            with pytest.raises(QueryError) as caught:
                session.find_studies(ACCESSION)
            assert f"0x{status:04X}" in str(caught.value)
            assert caught.value.retryable is retryable


def test_a_huge_answer_ends_the_association() -> None:
    def find(_: Event) -> Iterator[Any]:
        yield PENDING, study(AccessionNumber="A1", StudyComments="x" * (2 << 20))

    with (
        scripted_archive(find) as archive,
        pytest.raises(AssociationError, match="a message of more than 1 MB"),
    ):
        found(archive)


def test_films_are_found_by_series_and_class() -> None:
    def find(event: Event) -> Iterator[Any]:
        if event.identifier.QueryRetrieveLevel == "SERIES":
            for uid, modality in (("1.5.1", "CR"), ("1.5.2", "SR"), ("1.5.3", "KO")):
                yield PENDING, study(SeriesInstanceUID=uid, Modality=modality)
            return
        series = event.identifier.SeriesInstanceUID
        classes = {"1.5.1": "1.2.840.10008.5.1.4.1.1.1", "1.5.3": "1.2.840.10008.5.1.4.1.1.88.59"}
        yield PENDING, study(SOPInstanceUID=f"{series}.1", SOPClassUID=classes[series])
        yield PENDING, study(SOPInstanceUID=f"{series}.2", SOPClassUID="1.2.840.10008.1.9")
        yield PENDING, study(SOPInstanceUID=f"{series}.3")

    with scripted_archive(find) as archive, QuerySession(archive) as session:
        films = session.find_films("1.2.3")
    assert [film.sop_instance_uid for film in films] == [
        "1.5.1.1",
        "1.5.1.3",
        "1.5.3.1",
        "1.5.3.3",
    ]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"SeriesInstanceUID": "1.5", "StudyInstanceUID": "1.9"}, "another StudyInstanceUID"),
        ({"SeriesInstanceUID": ""}, "without a valid SeriesInstanceUID"),
    ],
)
def test_a_wrong_answer_about_a_series_is_refused(answer: dict[str, str], message: str) -> None:
    with (
        scripted_archive(answers(answer)) as archive,
        QuerySession(archive) as session,
        pytest.raises(QueryError, match=message),
    ):
        session.find_films("1.2.3")


def test_a_query_that_is_stopped_is_cancelled() -> None:
    def find(event: Event) -> Iterator[Any]:
        while not event.is_cancelled:
            yield PENDING, study(AccessionNumber="A1")
            time.sleep(0.01)
        yield 0xFE00, None

    with scripted_archive(find) as archive:
        session = QuerySession(archive, should_stop=lambda: True)
        with session, pytest.raises(QueryError, match="was stopped"):
            session.find_studies(ACCESSION)


def test_a_service_that_is_not_offered_is_named() -> None:
    with scripted_archive(models=(MOVE,)) as archive:
        assert "does not offer queries" in offers(archive, None)
    with scripted_archive(models=(FIND,)) as archive:
        assert offers(archive, None) == ""
        assert "does not offer retrieval (C-MOVE" in offers(archive, Service.MOVE)
        assert "does not offer retrieval (C-GET" in offers(archive, Service.GET)


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"accession_number": "A*"},
        {"patient_id": "P?"},
        {"study_instance_uid": "1.2\\1.3"},
        {"study_instance_uid": "x"},
        {"first_day": "20240230"},
        {"first_day": "20240202", "last_day": "20240201"},
    ],
)
def test_a_query_names_its_keys_exactly(keys: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        StudyQuery(**keys)
