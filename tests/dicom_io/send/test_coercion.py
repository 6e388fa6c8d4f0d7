"""A destination that keeps an object under another SOP Instance UID says so in its response."""

from typing import Any

import pytest
from pydicom import Dataset

from dicom_io.send.sender import Sender
from dicom_io.send.store_status import Disposition
from tests.servers.dicom.storage_archive import FILM, storage_archive

pytestmark = pytest.mark.network


def response(status: int, uid: str) -> Dataset:
    answer = Dataset()
    answer.Status = status
    answer.AffectedSOPInstanceUID = uid
    return answer


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007])
def test_a_warning_with_another_uid_is_a_coercion(status: int) -> None:
    with storage_archive(lambda _: response(status, "2.25.77")) as there, Sender(there) as sender:
        first, second = sender.send(FILM), sender.send(FILM)
        assert sender.is_open
    for result in (first, second):
        assert (result.status, result.disposition) == (status, Disposition.DELIVERED)
        assert result.coerced_uid == "2.25.77"
        assert not result.is_unmatched


def test_the_coerced_uid_is_that_of_its_own_response() -> None:
    answers: list[Any] = [response(0xB000, "2.25.77"), 0xB000, 0x0000]
    with storage_archive(lambda _: answers.pop(0)) as there, Sender(there) as sender:
        found = [sender.send(FILM).coerced_uid for _ in range(3)]
    assert found == ["2.25.77", "", ""]


@pytest.mark.parametrize("status", [0x0000, 0x0111, 0x0107, 0xA700, 0xA900, 0xC000])
def test_another_uid_without_a_warning_answers_another_request(status: int) -> None:
    with storage_archive(lambda _: response(status, "2.25.77")) as there, Sender(there) as sender:
        result = sender.send(FILM)
        assert not sender.is_open
    assert (result.status, result.disposition) == (None, Disposition.RETRY)
    assert result.is_unmatched
    assert "another SOP Instance UID" in result.detail


def test_a_lost_association_is_not_an_unmatched_response() -> None:
    def abort(event: Any) -> int:
        event.assoc.abort()
        return 0

    with storage_archive(abort) as there, Sender(there) as sender:
        result = sender.send(FILM)
    assert (result.disposition, result.is_unmatched) == (Disposition.RETRY, False)
