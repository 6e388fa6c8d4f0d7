"""Both sides of storage commitment: a node that records messages, and a modality that asks."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association

from dicom_io.commitment.answer_channel import AnswerChannel
from dicom_io.commitment.messages import (
    COMMITMENT_CLASS,
    COMMITMENT_INSTANCE,
    CommitmentAnswer,
    CommitmentRequest,
    MessageStatus,
    Reference,
)
from dicom_io.commitment.scp import CommitmentHandlers
from dicom_io.peer.peers import Caller, Peer
from dicom_io.receive.node import Node
from dicom_io.receive.store_request import StoreStatus
from dicom_io.send.association import Destination, Timeouts
from tests.servers.dicom.commitment_archive import HOST, Archive
from tests.servers.dicom.storage_node import CR

REQUEST = CommitmentRequest("2.25.1", (Reference(CR, "1.2.3.1"), Reference(CR, "1.2.3.2")))
COMMITTED = CommitmentAnswer("2.25.1", REQUEST.references)


@dataclass
class CommitmentRecorder:
    """Requests and answers that a node reports."""

    status: MessageStatus = MessageStatus.SUCCESS
    requests: list[tuple[CommitmentRequest, Caller]] = field(default_factory=list)
    channels: list[AnswerChannel] = field(default_factory=list)
    answers: list[tuple[CommitmentAnswer, Caller]] = field(default_factory=list)

    def on_request(
        self, request: CommitmentRequest, caller: Caller, channel: AnswerChannel
    ) -> MessageStatus:
        self.requests.append((request, caller))
        self.channels.append(channel)
        return self.status

    def on_answer(self, answer: CommitmentAnswer, caller: Caller) -> MessageStatus:
        self.answers.append((answer, caller))
        return self.status


@contextmanager
def commitment_node(recorder: CommitmentRecorder, **options: Any) -> Iterator[Node]:
    settings: dict[str, Any] = {"on_store": lambda _: StoreStatus.SUCCESS, **options}
    with Node(
        ae_title="CXRD",
        host=HOST,
        port=0,
        peers=[Peer("MODALITY"), Peer("ARCHIVE", sends=False)],
        require_called_ae_title=False,
        commitment=CommitmentHandlers(recorder.on_request, recorder.on_answer),
        **settings,
    ) as listening:
        yield listening


@contextmanager
def modality_association(
    port: int, archive: Archive | None = None, ae_title: str = "MODALITY"
) -> Iterator[Association]:
    """Open an association of a modality; `archive` records the answers on it."""
    handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, archive.on_event)] if archive else []
    association = AE(ae_title=ae_title).associate(
        HOST,
        port,
        contexts=[build_context(COMMITMENT_CLASS), build_context(CR)],
        evt_handlers=handlers,
    )
    assert association.is_established
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def send_n_action(association: Association, information: Dataset, **changes: Any) -> int | None:
    values: dict[str, Any] = {
        "action_type": 1,
        "class_uid": COMMITMENT_CLASS,
        "instance_uid": COMMITMENT_INSTANCE,
        **changes,
    }
    status, _ = association.send_n_action(information, **values)
    return int(status.Status) if "Status" in status else None


def commitment_destination(port: int) -> Destination:
    return Destination("archive", "ARCHIVE", HOST, port, "CXRD", Timeouts(2.0, 5.0, 5.0, 5.0))


@dataclass
class AnswerRecorder:
    """Answers of an archive on our association."""

    answers: list[CommitmentAnswer] = field(default_factory=list)

    def take(self, answer: CommitmentAnswer) -> MessageStatus:
        self.answers.append(answer)
        return MessageStatus.SUCCESS
