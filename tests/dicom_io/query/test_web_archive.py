"""Queries over DICOMweb that are cut: by the limit of answers, by the time, and by a stop."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from dicom_io.errors import QueryError
from dicom_io.http.client import Endpoint, HttpTimeouts
from dicom_io.query.session import QueryLimits
from dicom_io.query.values import StudyQuery
from dicom_io.query.web import WebArchive
from dicom_io.receive.store_request import StoreStatus
from tests.servers.plain.scripted_http import answer, scripted_http

pytestmark = pytest.mark.network
STUDY = "1.2.3"
DAYS = StudyQuery(first_day="20260101", last_day="20260131", modalities=("DX",))


def series(number: int) -> dict[str, Any]:
    return {
        "0020000D": {"vr": "UI", "Value": [STUDY]},
        "0020000E": {"vr": "UI", "Value": [f"{STUDY}.{number}"]},
        "00080060": {"vr": "CS", "Value": ["CT"]},
    }


def study(number: int, modality: str) -> dict[str, Any]:
    return {
        "0020000D": {"vr": "UI", "Value": [f"{STUDY}.{number}"]},
        "00080020": {"vr": "DA", "Value": ["20260107"]},
        "00080061": {"vr": "CS", "Value": [modality]},
    }


@contextmanager
def archive(found: Sequence[object], **options: Any) -> Iterator[WebArchive]:
    """Give an archive that answers every search so."""
    always = answer("200 OK", json.dumps(found).encode(), Content_Type="application/dicom+json")
    with scripted_http(always=always) as script:
        to = Endpoint("PACS", script.url(), timeouts=HttpTimeouts(5.0, 2.0, 10.0))
        with WebArchive(to, "PACS", lambda _: StoreStatus.SUCCESS, **options) as opened:
            yield opened


def test_a_stop_is_no_answer_that_the_study_has_fewer_films() -> None:
    with (
        archive([series(1), series(2)], should_stop=lambda: True) as opened,
        pytest.raises(QueryError, match="was stopped"),
    ):
        opened.find_films(STUDY)


def test_a_search_that_takes_too_long_is_no_short_answer() -> None:
    with (
        archive([series(1), series(2)], limits=QueryLimits(seconds=-1.0)) as opened,
        pytest.raises(QueryError, match="still answering a query") as raised,
    ):
        opened.find_films(STUDY)
    assert raised.value.retryable


def test_a_study_with_more_series_than_the_limit_is_not_fetched_in_part() -> None:
    with (
        archive([series(1), series(2)], limits=QueryLimits(answers=1)) as opened,
        pytest.raises(QueryError, match="more than 1 answers") as raised,
    ):
        opened.find_films(STUDY)
    assert not raised.value.retryable


def test_answers_that_are_left_out_count_for_the_limit() -> None:
    answers = [study(1, "CT"), study(2, "CT"), study(3, "DX")]
    with archive(answers, limits=QueryLimits(answers=2)) as opened:
        assert opened.find_studies(DAYS).is_cut
    with archive(answers, limits=QueryLimits(answers=3)) as opened:
        found = opened.find_studies(DAYS)
    assert not found.is_cut
    assert [one.study_instance_uid for one in found.studies] == [f"{STUDY}.3"]
