"""Storage commitment over real associations, as SCU and as SCP."""

import threading
import time
from io import BytesIO
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pynetdicom import AE, build_context, build_role, evt

from dicom_io.commitment.answer_channel import AnswerChannel
from dicom_io.commitment.messages import (
    COMMITMENT_CLASS,
    CommitmentAnswer,
    CommitmentRequest,
    Failure,
    MessageStatus,
    build_request,
)
from dicom_io.commitment.scu import CommitmentSession, send_answer
from dicom_io.errors import AssociationError
from dicom_io.peer.peers import Caller, Peer
from dicom_io.receive.node import Node
from dicom_io.receive.store_request import ReceivedInstance, StoreStatus
from tests.builders.images.films import chest_film, file_bytes
from tests.servers.dicom.commitment_archive import (
    HOST,
    Archive,
    all_failed,
    call_back,
    running_archive,
)
from tests.servers.dicom.commitment_peers import (
    COMMITTED,
    REQUEST,
    AnswerRecorder,
    CommitmentRecorder,
    commitment_destination,
    commitment_node,
    modality_association,
    send_n_action,
)
from tests.servers.dicom.storage_node import CR
from tests.tools.waiting import wait_until

pytestmark = pytest.mark.network

NO_REFERENCES = Dataset()

NO_REFERENCES.TransactionUID = "2.25.1"


class BrokenRecorder(CommitmentRecorder):
    """Fails at each request."""

    def on_request(
        self, request: CommitmentRequest, caller: Caller, channel: AnswerChannel
    ) -> MessageStatus:
        raise RuntimeError("broken")


def test_an_archive_is_asked_and_answers_on_the_same_association() -> None:
    recorder = AnswerRecorder()
    with (
        running_archive(Archive(on_same_association=True)) as archive,
        CommitmentSession(commitment_destination(archive.port), recorder.take) as session,
    ):
        assert session.send(REQUEST) == 0x0000
        assert session.wait("2.25.1", 5.0)
    assert recorder.answers == [COMMITTED]
    assert archive.statuses == [0x0000]
    (information,) = archive.requests
    assert information.TransactionUID == "2.25.1"
    assert len(information.ReferencedSOPSequence) == 2


def test_an_answer_may_come_before_the_response() -> None:
    recorder = AnswerRecorder()
    early = Archive(on_same_association=True, before_response=True)
    with (
        running_archive(early) as archive,
        CommitmentSession(commitment_destination(archive.port), recorder.take) as session,
    ):
        assert session.send(REQUEST) == 0x0000
        assert session.wait("2.25.1", 5.0)
    assert recorder.answers == [COMMITTED]


def test_failures_come_with_their_reasons() -> None:
    recorder = AnswerRecorder()
    refusing = Archive(
        on_same_association=True, answer=lambda information: all_failed(information, 0x0112)
    )
    with (
        running_archive(refusing) as archive,
        CommitmentSession(commitment_destination(archive.port), recorder.take) as session,
    ):
        session.send(REQUEST)
        assert session.wait("2.25.1", 5.0)
    assert [failure.reason for failure in recorder.answers[0].failed] == [0x0112, 0x0112]


def test_waiting_for_an_answer_times_out() -> None:
    with (
        running_archive(Archive()) as archive,
        CommitmentSession(commitment_destination(archive.port), AnswerRecorder().take) as session,
    ):
        assert session.send(REQUEST) == 0x0000
        assert not session.wait("2.25.1", 0.2)


def test_many_sessions_that_are_answered_at_once_all_end() -> None:
    recorder = AnswerRecorder()
    with running_archive(Archive(on_same_association=True)) as archive:
        for _ in range(10):
            with CommitmentSession(commitment_destination(archive.port), recorder.take) as session:
                session.send(REQUEST)
                assert session.wait("2.25.1", 5.0)
    assert len(recorder.answers) == 10


def test_the_status_of_the_archive_is_returned() -> None:
    with (
        running_archive(Archive(replies=[0x0213])) as archive,
        CommitmentSession(commitment_destination(archive.port), AnswerRecorder().take) as session,
    ):
        assert session.send(REQUEST) == 0x0213


def test_an_archive_without_the_service_is_named() -> None:
    listening = Node(
        ae_title="ARCHIVE",
        host=HOST,
        port=0,
        peers=[Peer("CXRD")],
        on_store=lambda _: StoreStatus.SUCCESS,
    )
    with listening, pytest.raises(AssociationError, match="storage commitment") as caught:
        CommitmentSession(commitment_destination(listening.port), AnswerRecorder().take).__enter__()
    assert not caught.value.retryable


def test_a_peer_is_answered_on_a_new_association() -> None:
    with running_archive(Archive()) as modality:
        assert send_answer(commitment_destination(modality.port), COMMITTED) == 0x0000
    (information,) = modality.answers
    assert information.TransactionUID == "2.25.1"
    assert len(information.ReferencedSOPSequence) == 2


def test_the_status_of_the_peer_is_returned() -> None:
    with running_archive(Archive(replies=[0x0110])) as modality:
        assert send_answer(commitment_destination(modality.port), COMMITTED) == 0x0110


def test_a_node_takes_a_request_of_a_peer() -> None:
    recorder = CommitmentRecorder()
    with (
        commitment_node(recorder) as listening,
        modality_association(listening.port) as association,
    ):
        assert send_n_action(association, build_request(REQUEST)) == 0x0000
    assert recorder.requests == [(REQUEST, Caller("MODALITY", HOST))]


@pytest.mark.parametrize("with_role", [True, False])
def test_a_node_takes_the_answer_of_an_archive_that_calls_back(with_role: bool) -> None:
    recorder = CommitmentRecorder()
    with commitment_node(recorder) as listening:
        assert call_back(listening.port, COMMITTED, with_role=with_role) == 0x0000
    assert recorder.answers == [(COMMITTED, Caller("ARCHIVE", HOST))]


def test_the_role_that_an_archive_proposes_is_accepted() -> None:
    with commitment_node(CommitmentRecorder()) as listening:
        for scu_role, scp_role in ((False, True), (True, True), (True, False)):
            association = AE(ae_title="ARCHIVE").associate(
                HOST,
                listening.port,
                contexts=[build_context(COMMITMENT_CLASS)],
                ext_neg=[build_role(COMMITMENT_CLASS, scu_role, scp_role)],
            )
            (context,) = association.accepted_contexts
            assert (context.as_scu, context.as_scp) == (scu_role, scp_role)
            association.release()


def test_a_peer_that_only_answers_may_not_store() -> None:
    with commitment_node(CommitmentRecorder()) as listening:
        association = AE(ae_title="ARCHIVE").associate(
            HOST, listening.port, contexts=[build_context(CR), build_context(COMMITMENT_CLASS)]
        )
        (context,) = association.accepted_contexts
        assert context.abstract_syntax == COMMITMENT_CLASS
        association.release()


@pytest.mark.parametrize(
    ("information", "changes", "status"),
    [
        (build_request(REQUEST), {"action_type": 7}, 0x0123),
        (build_request(REQUEST), {"instance_uid": "1.2.3"}, 0x0112),
        (NO_REFERENCES, {}, 0x0115),
        (None, {}, 0x0115),
    ],
)
def test_a_malformed_request_is_refused_with_the_reason(
    information: Dataset, changes: dict[str, Any], status: int
) -> None:
    recorder = CommitmentRecorder()
    with (
        commitment_node(recorder) as listening,
        modality_association(listening.port) as association,
    ):
        assert send_n_action(association, information, **changes) == status
        assert send_n_action(association, build_request(REQUEST)) == 0x0000
    assert len(recorder.requests) == 1


def test_a_malformed_answer_is_refused_with_the_reason() -> None:
    recorder = CommitmentRecorder()
    with commitment_node(recorder) as listening:
        assert call_back(listening.port, CommitmentAnswer("", REQUEST.references)) == 0x0115
    assert recorder.answers == []


@pytest.mark.parametrize(
    "status", [MessageStatus.NOT_AUTHORISED, MessageStatus.RESOURCE_LIMITATION]
)
def test_the_status_of_the_handler_is_the_response(status: MessageStatus) -> None:
    with commitment_node(CommitmentRecorder(status)) as listening:
        with modality_association(listening.port) as association:
            assert send_n_action(association, build_request(REQUEST)) == status
        assert call_back(listening.port, COMMITTED) == status


def test_an_exception_in_the_handler_is_answered_with_a_failure() -> None:
    with (
        commitment_node(BrokenRecorder()) as listening,
        modality_association(listening.port) as association,
    ):
        assert send_n_action(association, build_request(REQUEST)) == 0x0110


def test_a_peer_that_waits_is_answered_on_its_own_association(
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorder, modality = CommitmentRecorder(), Archive()
    with (
        commitment_node(recorder) as listening,
        modality_association(listening.port, modality) as association,
    ):
        send_n_action(association, build_request(REQUEST))
        assert recorder.channels[0].is_open
        answer = CommitmentAnswer("2.25.1", (), (Failure(REQUEST.references[0], 0x0112),))
        assert recorder.channels[0].send(answer, 5.0) == 0x0000
    (information,) = modality.answers
    assert information.FailedSOPSequence[0].FailureReason == 0x0112
    assert "unexpected" not in caplog.text


def test_a_peer_that_released_its_association_is_not_answered_on_it() -> None:
    recorder = CommitmentRecorder()
    with commitment_node(recorder) as listening:
        with modality_association(listening.port) as association:
            send_n_action(association, build_request(REQUEST))
        wait_until(lambda: not recorder.channels[0].is_open, seconds=5)
        assert recorder.channels[0].send(COMMITTED, 5.0) is None


def test_a_peer_that_aborts_instead_of_responding_does_not_block() -> None:
    recorder = CommitmentRecorder()
    released = threading.Event()

    def leave(event: evt.Event) -> tuple[int, None]:
        event.assoc.abort()
        released.set()
        return 0x0000, None

    association = AE(ae_title="MODALITY").associate
    with commitment_node(recorder) as listening:
        held = association(
            HOST,
            listening.port,
            contexts=[build_context(COMMITMENT_CLASS)],
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, leave)],
        )
        send_n_action(held, build_request(REQUEST))
        started = time.monotonic()
        assert recorder.channels[0].send(COMMITTED, 20.0) is None
        assert time.monotonic() - started < 10
    assert released.is_set()


def test_answers_and_stores_on_one_association_do_not_mix() -> None:
    recorder, modality = CommitmentRecorder(), Archive()
    film = dcmread(BytesIO(file_bytes(chest_film())))

    def slowly(_: ReceivedInstance) -> StoreStatus:
        time.sleep(0.02)
        return StoreStatus.SUCCESS

    with (
        commitment_node(recorder, on_store=slowly) as listening,
        modality_association(listening.port, modality) as association,
    ):
        send_n_action(association, build_request(REQUEST))
        sent: list[int | None] = []

        def answer_often() -> None:
            sent.extend(recorder.channels[0].send(COMMITTED, 5.0) for _ in range(5))

        answering = threading.Thread(target=answer_often)
        answering.start()
        stored = [association.send_c_store(film).get("Status") for _ in range(20)]
        answering.join()
    assert stored == [0x0000] * 20
    assert 0x0000 in sent


def test_stopping_the_node_does_not_wait_for_peers_that_await_answers() -> None:
    recorder = CommitmentRecorder()
    with (
        commitment_node(recorder) as listening,
        modality_association(listening.port) as association,
    ):
        send_n_action(association, build_request(REQUEST))
        started = time.monotonic()
        listening.stop()
        assert time.monotonic() - started < 3
