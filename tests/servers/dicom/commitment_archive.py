"""A Storage Commitment SCP whose answers a test sets, allowed or not."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association

from dicom_io.commitment.messages import (
    COMMITMENT_CLASS,
    COMMITMENT_INSTANCE,
    CommitmentAnswer,
    Failure,
    Reference,
    build_answer,
)

HOST = "127.0.0.1"


def references(information: Dataset) -> tuple[Reference, ...]:
    return tuple(
        Reference(item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID)
        for item in information.ReferencedSOPSequence
    )


def all_committed(information: Dataset) -> CommitmentAnswer:
    return CommitmentAnswer(information.TransactionUID, references(information))


def all_failed(information: Dataset, reason: int) -> CommitmentAnswer:
    failed = tuple(Failure(reference, reason) for reference in references(information))
    return CommitmentAnswer(information.TransactionUID, (), failed)


def send_report(association: Association, answer: CommitmentAnswer) -> int | None:
    status, _ = association.send_n_event_report(
        build_answer(answer), answer.event_type, COMMITMENT_CLASS, COMMITMENT_INSTANCE
    )
    return int(status.Status) if "Status" in status else None


def call_back(
    port: int, answer: CommitmentAnswer, *, ae_title: str = "ARCHIVE", with_role: bool = True
) -> int | None:
    """Open an association as an archive does and answer on it."""
    roles = [build_role(COMMITMENT_CLASS, scp_role=True)] if with_role else []
    association = AE(ae_title=ae_title).associate(
        HOST, port, contexts=[build_context(COMMITMENT_CLASS)], ext_neg=list(roles)
    )
    assert association.is_established
    try:
        return send_report(association, answer)
    finally:
        association.release()


@dataclass
class Archive:
    """A Storage Commitment SCP. `replies` are the statuses of its responses, then 0x0000."""

    requests: list[Dataset] = field(default_factory=list)
    replies: list[int] = field(default_factory=list)
    answer: Callable[[Dataset], CommitmentAnswer] = all_committed
    on_same_association: bool = False
    before_response: bool = False
    statuses: list[int | None] = field(default_factory=list)
    answers: list[Dataset] = field(default_factory=list)
    port: int = 0
    stored: list[str] = field(default_factory=list)
    coerced_uid: str = ""

    def on_action(self, event: evt.Event) -> tuple[int, None]:
        information = event.action_information
        self.requests.append(information)
        status = self.replies.pop(0) if self.replies else 0x0000
        if status == 0x0000 and self.on_same_association:
            if self.before_response:
                self.statuses.append(send_report(event.assoc, self.answer(information)))
            else:
                threading.Timer(0.1, self._report, (event.assoc, information)).start()
        return status, None

    def _report(self, association: Association, information: Dataset) -> None:
        # The peer may have closed the association by now.
        with suppress(RuntimeError):
            self.statuses.append(send_report(association, self.answer(information)))

    def on_event(self, event: evt.Event) -> tuple[int, None]:
        self.answers.append(event.event_information)
        return (self.replies.pop(0) if self.replies else 0x0000), None

    def on_store(self, event: evt.Event) -> int | Dataset:
        self.stored.append(str(event.dataset.SOPInstanceUID))
        if not self.coerced_uid:
            return 0x0000
        response = Dataset()
        response.Status = 0xB000
        response.AffectedSOPInstanceUID = self.coerced_uid
        return response


@contextmanager
def running_archive(
    archive: Archive, port: int = 0, classes: tuple[str, ...] = ()
) -> Iterator[Archive]:
    """Run the archive and yield it."""
    ae = AE(ae_title="ARCHIVE")
    contexts = [build_context(uid) for uid in (COMMITMENT_CLASS, "1.2.840.10008.1.1", *classes)]
    for context in contexts[:1]:
        context.scu_role = context.scp_role = True
    handlers: list[Any] = [
        (evt.EVT_N_ACTION, archive.on_action),
        (evt.EVT_N_EVENT_REPORT, archive.on_event),
        (evt.EVT_C_STORE, archive.on_store),
    ]
    server = ae.start_server((HOST, port), block=False, contexts=contexts, evt_handlers=handlers)
    assert server is not None
    archive.port = int(server.server_address[1])
    try:
        yield archive
    finally:
        server.shutdown()
