"""Messages of storage commitment, built and read back; malformed messages."""

import pytest
from pydicom import Dataset
from pynetdicom.dsutils import encode

from dicom_io.commitment import messages as commitment
from dicom_io.commitment.messages import (
    COMMITMENT_CLASS,
    COMMITMENT_INSTANCE,
    CommitmentAnswer,
    CommitmentRequest,
    Failure,
    FailureReason,
    MessageStatus,
    Reference,
    build_answer,
    build_request,
    failure_text,
    new_transaction_uid,
    read_answer,
    read_request,
)
from dicom_io.errors import MalformedMessageError
from dicom_io.read.header import is_uid, read_information

CR = "1.2.840.10008.5.1.4.1.1.1"
FIRST, SECOND = Reference(CR, "1.2.3.1"), Reference(CR, "1.2.3.2")
REQUEST = CommitmentRequest("2.25.1", (FIRST, SECOND))
PUSH_MODEL = (COMMITMENT_CLASS, COMMITMENT_INSTANCE)


def test_a_request_reads_back_as_it_was_built() -> None:
    assert read_request(*PUSH_MODEL, 1, build_request(REQUEST)) == REQUEST


@pytest.mark.parametrize(
    ("answer", "event_type"),
    [
        (CommitmentAnswer("2.25.1", (FIRST, SECOND)), 1),
        (CommitmentAnswer("2.25.1", (FIRST,), (Failure(SECOND, 0x0112),)), 2),
        (CommitmentAnswer("2.25.1", (), (Failure(FIRST, 0x0110), Failure(SECOND, 0x0119))), 2),
    ],
)
def test_an_answer_reads_back_as_it_was_built(answer: CommitmentAnswer, event_type: int) -> None:
    assert answer.event_type == event_type
    assert read_answer(*PUSH_MODEL, event_type, build_answer(answer)) == answer


def test_an_answer_holds_no_empty_sequence() -> None:
    all_committed = build_answer(CommitmentAnswer("2.25.1", (FIRST,)))
    all_failed = build_answer(CommitmentAnswer("2.25.1", (), (Failure(FIRST, 0x0110),)))
    assert "FailedSOPSequence" not in all_committed
    assert "ReferencedSOPSequence" not in all_failed


def test_a_failure_without_a_reason_is_a_failure() -> None:
    information = build_answer(CommitmentAnswer("2.25.1", (), (Failure(FIRST, 0x0112),)))
    del information.FailedSOPSequence[0].FailureReason
    (failure,) = read_answer(*PUSH_MODEL, 2, information).failed
    assert failure.reason == FailureReason.PROCESSING_FAILURE


def without(keyword: str) -> Dataset:
    information = build_request(REQUEST)
    delattr(information, keyword)
    return information


def with_item(**values: str) -> Dataset:
    information = build_request(REQUEST)
    for keyword, value in values.items():
        setattr(information.ReferencedSOPSequence[1], keyword, value)
    return information


@pytest.mark.parametrize(
    ("push_model", "action", "information", "status"),
    [
        (("1.2.840.10008.1.1", COMMITMENT_INSTANCE), 1, build_request(REQUEST), 0x0118),
        ((COMMITMENT_CLASS, "1.2.3"), 1, build_request(REQUEST), 0x0112),
        (PUSH_MODEL, 2, build_request(REQUEST), 0x0123),
        (PUSH_MODEL, None, build_request(REQUEST), 0x0123),
        (PUSH_MODEL, 1, Dataset(), 0x0115),
        (PUSH_MODEL, 1, without("TransactionUID"), 0x0115),
        (PUSH_MODEL, 1, without("ReferencedSOPSequence"), 0x0115),
        (PUSH_MODEL, 1, with_item(ReferencedSOPInstanceUID=""), 0x0115),
        (PUSH_MODEL, 1, with_item(ReferencedSOPClassUID=""), 0x0115),
    ],
)
def test_a_malformed_request_raises_the_status_of_its_response(
    push_model: tuple[str, str], action: int | None, information: Dataset, status: int
) -> None:
    with pytest.raises(MalformedMessageError) as caught:
        read_request(*push_model, action, information)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("push_model", "event_type", "transaction_uid", "status"),
    [
        (("1.2.840.10008.1.1", COMMITMENT_INSTANCE), 1, "2.25.1", 0x0118),
        ((COMMITMENT_CLASS, "1.2.3"), 1, "2.25.1", 0x0112),
        (PUSH_MODEL, 3, "2.25.1", 0x0113),
        (PUSH_MODEL, 1, "", 0x0115),
    ],
)
def test_a_malformed_answer_raises_the_status_of_its_response(
    push_model: tuple[str, str], event_type: int, transaction_uid: str, status: int
) -> None:
    information = build_answer(CommitmentAnswer("2.25.1", (FIRST,)))
    information.TransactionUID = transaction_uid
    with pytest.raises(MalformedMessageError) as caught:
        read_answer(*push_model, event_type, information)
    assert caught.value.status == status
    assert MessageStatus(caught.value.status) is not MessageStatus.SUCCESS


def references(count: int) -> tuple[Reference, ...]:
    return tuple(Reference(CR, f"1.2.3.{number}") for number in range(count))


def over_the_network(information: Dataset) -> Dataset:
    encoded = encode(information, False, True)
    assert encoded is not None
    return read_information(encoded, implicit_vr=False, little_endian=True)


@pytest.mark.slow
def test_thousands_of_references_are_read() -> None:
    many = references(9000)
    request = over_the_network(build_request(CommitmentRequest("2.25.1", many)))
    assert read_request(*PUSH_MODEL, 1, request).references == many
    answer = CommitmentAnswer(
        "2.25.1", many[:3000], tuple(Failure(reference, 0x0112) for reference in many)
    )
    assert read_answer(*PUSH_MODEL, 2, over_the_network(build_answer(answer))) == answer


def test_too_many_references_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commitment, "MAX_REFERENCES", 3)
    many = references(4)
    request = over_the_network(build_request(CommitmentRequest("2.25.1", many)))
    with pytest.raises(MalformedMessageError, match="more than 3 items"):
        read_request(*PUSH_MODEL, 1, request)
    committed = build_answer(CommitmentAnswer("2.25.1", many))
    failed = build_answer(
        CommitmentAnswer("2.25.1", (), tuple(Failure(reference, 1) for reference in many))
    )
    for answer in (committed, failed):
        with pytest.raises(MalformedMessageError) as caught:
            read_answer(*PUSH_MODEL, 1, over_the_network(answer))
        assert caught.value.status == MessageStatus.INVALID_ARGUMENT


def test_transaction_uids_are_unique() -> None:
    uids = {new_transaction_uid() for _ in range(100)}
    assert len(uids) == 100
    assert all(is_uid(uid) for uid in uids)


def test_failure_reasons_have_texts() -> None:
    assert failure_text(0x0112) == "no such object instance (0x0112)"
    assert failure_text(0xC123) == "failure reason (0xC123)"
    assert all("failure reason" not in failure_text(reason) for reason in FailureReason)
