"""Matching of responses to requests, and the timeout of a response."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pynetdicom import evt
from pynetdicom.dimse_primitives import C_ECHO, C_STORE, N_ACTION, N_EVENT_REPORT

from dicom_io.commitment.answer_channel import pause_reactor
from dicom_io.commitment.messages import build_request
from dicom_io.commitment.scu import CommitmentSession, send_answer
from dicom_io.errors import AssociationError
from dicom_io.send.association import Destination, Timeouts, associate, proposals
from dicom_io.send.sender import Sender, echo
from dicom_io.send.store_status import Disposition
from tests.builders.images.films import chest_film, file_bytes
from tests.servers.dicom.commitment_archive import HOST, Archive, running_archive
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
from tests.servers.dicom.storage_archive import (
    FILM,
    SC,
    accept_and_read_no_more,
    destination,
    storage_archive,
)

pytestmark = pytest.mark.network

PIECE = 16 * 1024


def respond(event: evt.Event, kind: type[Any] = C_STORE, **changes: Any) -> None:
    """Send a successful response to the request of the event, with some values changed."""
    message = kind()
    message.MessageIDBeingRespondedTo = event.request.MessageID
    message.Status = 0x0000
    for keyword, value in changes.items():
        setattr(message, keyword, value)
    event.assoc.dimse.send_msg(message, event.context.context_id)


def test_a_second_response_to_the_first_object_does_not_answer_the_second() -> None:
    arrived: list[int | None] = []

    def answer_the_first_again(event: evt.Event) -> int:
        arrived.append(event.request.MessageID)
        if len(arrived) == 1:
            return 0x0000
        respond(event, MessageIDBeingRespondedTo=arrived[0])
        return 0xA900

    with storage_archive(answer_the_first_again) as there, Sender(there) as sender:
        assert sender.send(FILM).disposition is Disposition.DELIVERED
        second = sender.send(FILM)
        assert not sender.is_open
    assert (second.status, second.disposition) == (None, Disposition.RETRY)
    assert "ARCHIVE gave a response that does not answer" in second.detail
    assert "Message ID 1 instead of 2" in second.detail


@pytest.mark.parametrize(
    ("kind", "changes", "difference"),
    [
        (C_STORE, {"MessageIDBeingRespondedTo": 7}, "Message ID 7 instead of 1"),
        (C_STORE, {"AffectedSOPInstanceUID": "1.2.3"}, "another SOP Instance UID"),
        (C_ECHO, {}, "another service"),
    ],
)
def test_a_response_that_does_not_match_is_no_answer(
    kind: type[Any], changes: dict[str, Any], difference: str
) -> None:
    def answer_wrong(event: evt.Event) -> int:
        respond(event, kind, **changes)
        return 0xA900

    with storage_archive(answer_wrong) as there, Sender(there) as sender:
        result = sender.send(FILM)
    assert (result.status, result.disposition) == (None, Disposition.RETRY)
    assert difference in result.detail


def test_a_response_need_not_name_the_object() -> None:
    def answer_briefly(event: evt.Event) -> int:
        respond(event)
        return 0xA900

    with storage_archive(answer_briefly) as there, Sender(there) as sender:
        assert sender.send(FILM).disposition is Disposition.DELIVERED


def test_a_request_is_not_sent_after_its_response() -> None:
    arrived: list[int | None] = []

    def count(event: evt.Event) -> int:
        arrived.append(event.request.MessageID)
        return 0x0000

    with storage_archive(count) as there:
        association = associate(there, proposals([SC]))
        assert pause_reactor(association, time.monotonic() + 5)
        early = C_STORE()
        early.MessageIDBeingRespondedTo = 1
        early.Status = 0x0000
        association.dimse.msg_queue.put((1, early))
        with pytest.raises(AssociationError, match="before the request") as caught:
            association.send_c_store(dcmread(BytesIO(FILM)))
        assert caught.value.retryable
        assert not association.is_established
    assert arrived == []


def test_the_requests_of_an_association_are_numbered() -> None:
    numbers: list[int | None] = []

    def note(event: evt.Event) -> int:
        numbers.append(event.request.MessageID)
        return 0x0000

    with storage_archive(note) as there, Sender(there) as sender:
        for _ in range(3):
            sender.send(FILM)
    assert numbers == [1, 2, 3]


def test_an_echo_is_answered_by_its_own_response() -> None:
    def answer_another(event: evt.Event) -> int:
        respond(event, C_ECHO, MessageIDBeingRespondedTo=9)
        return 0x0000

    with storage_archive(on_echo=answer_another) as there:
        answer = echo(there)
    assert not answer.ok
    assert answer.retryable
    assert "Message ID 9 instead of 1" in answer.diagnosis


@dataclass
class ConfusedArchive(Archive):
    """Responds with success to messages that it did not receive, then with a failure."""

    numbers: list[int | None] = field(default_factory=list)

    def on_action(self, event: evt.Event) -> tuple[int, None]:
        respond(event, N_ACTION, MessageIDBeingRespondedTo=9)
        return 0x0110, None

    def on_event(self, event: evt.Event) -> tuple[int, None]:
        self.numbers.append(event.request.MessageID)
        wrong = (event.request.MessageID or 0) + 8
        respond(event, N_EVENT_REPORT, MessageIDBeingRespondedTo=wrong)
        return 0x0110, None


def test_a_request_for_commitment_is_answered_by_its_own_response() -> None:
    with (
        running_archive(ConfusedArchive()) as there,
        CommitmentSession(commitment_destination(there.port), AnswerRecorder().take) as session,
        pytest.raises(AssociationError, match="Message ID 9 instead of 1"),
    ):
        session.send(REQUEST)


def test_an_answer_to_a_peer_is_answered_by_its_own_response() -> None:
    with (
        running_archive(ConfusedArchive()) as there,
        pytest.raises(AssociationError, match="Message ID 9 instead of 1"),
    ):
        send_answer(commitment_destination(there.port), COMMITTED)


def test_an_answer_on_the_association_of_the_peer_has_its_own_response() -> None:
    recorder, modality = CommitmentRecorder(), ConfusedArchive()
    with (
        commitment_node(recorder) as listening,
        modality_association(listening.port, modality) as association,
    ):
        send_n_action(association, build_request(REQUEST))
        assert recorder.channels[0].send(COMMITTED, 5.0) == 0x0110
        assert recorder.channels[0].send(COMMITTED, 5.0) == 0x0110
    first, second = modality.numbers
    assert first != second


def relay(source: socket.socket, target: socket.socket, pause: Callable[[], object]) -> None:
    with suppress(OSError):
        while data := source.recv(PIECE):
            target.sendall(data)
            pause()
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def slow_line(there: Destination, pause: float, timeouts: Timeouts) -> Iterator[Destination]:
    """Relay connections to `there` with a pause in seconds after each 16 KiB."""
    stop_pausing = threading.Event()
    with socket.socket() as listening, socket.socket() as onward:
        # Bytes in this buffer are acknowledged, so it must be small.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE)
        listening.bind((HOST, 0))
        listening.listen()
        onward.connect((there.host, there.port))
        with ThreadPoolExecutor(2) as pool:

            def begin() -> None:
                connection, _ = listening.accept()
                with connection:
                    back = pool.submit(relay, onward, connection, lambda: None)
                    relay(connection, onward, lambda: stop_pausing.wait(pause))
                    back.result()

            relaying = pool.submit(begin)
            yield replace(there, port=listening.getsockname()[1], timeouts=timeouts)
            stop_pausing.set()
            relaying.result()


LARGE = file_bytes(chest_film(np.zeros((512, 512), np.uint16), sop_class=SC))
HUGE = file_bytes(chest_film(np.zeros((3000, 3000), np.uint16), sop_class=SC))
SHORT = Timeouts(connect=10, association=10, response=2, network=2)


@pytest.mark.slow
def test_sending_an_object_may_take_longer_than_the_timeout_of_its_response() -> None:
    called_at: list[float] = []
    with (
        storage_archive() as there,
        slow_line(there, 0.1, SHORT) as slow,
        Sender(slow) as sender,
    ):
        started = time.monotonic()
        result = sender.send(LARGE, on_progress=lambda: called_at.append(time.monotonic()))
        took = time.monotonic() - started
    assert took > SHORT.response
    assert result.disposition is Disposition.DELIVERED
    assert len(called_at) >= 2


class HookError(Exception):
    """Raised by a caller to end the wait."""


def test_an_exception_of_the_caller_ends_the_sending() -> None:
    arrived: list[int | None] = []

    def count(event: evt.Event) -> int:
        arrived.append(event.request.MessageID)
        return 0x0000

    def stop() -> None:
        raise HookError

    with (
        storage_archive(count) as there,
        slow_line(there, 0.1, SHORT) as slow,
        Sender(slow) as sender,
    ):
        with pytest.raises(HookError):
            sender.send(HUGE, on_progress=stop)
        assert not sender.is_open
    assert arrived == []


def test_a_peer_that_receives_all_and_does_not_respond_times_out() -> None:
    with socket.create_server((HOST, 0)) as listening, ThreadPoolExecutor(1) as pool:
        connection = pool.submit(accept_and_read_no_more, listening)
        there = destination(listening.getsockname()[1], timeouts=replace(SHORT, response=1))
        with Sender(there) as sender:
            result = sender.send(LARGE)
        connection.result().close()
    assert (result.status, result.disposition) == (None, Disposition.RETRY)
