"""Storage commitment on associations that this node opens, to request or to report one."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from pynetdicom import build_role, evt
from pynetdicom.association import Association

from dicom_io.commitment.messages import (
    COMMITMENT_CLASS,
    COMMITMENT_INSTANCE,
    REQUEST_ACTION,
    CommitmentAnswer,
    CommitmentRequest,
    MessageStatus,
    build_answer,
    build_request,
)
from dicom_io.commitment.scp import handle_event_report
from dicom_io.errors import AssociationError
from dicom_io.peer.peers import Caller
from dicom_io.send.association import Destination, accepted_syntaxes, associate, proposals

_HANDLER_SECONDS = 10.0


class CommitmentSession:
    """An association to request commitments from an archive; a context manager.

    The archive may answer on this association, before or after its response, or later on an
    association of its own (PS3.4 J.3.3). `on_answer` is called, from another thread, with each
    answer on this association. Entering raises AssociationError, which is not retryable if the
    archive does not offer the service.
    """

    def __init__(
        self,
        destination: Destination,
        on_answer: Callable[[CommitmentAnswer], MessageStatus],
    ) -> None:
        self._destination = destination
        self._on_answer = on_answer
        self._association: Association | None = None
        self._answered: set[str] = set()
        self._handlers: list[threading.Thread] = []
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        self._association = _associate(self._destination)
        self._association.bind(evt.EVT_N_EVENT_REPORT, handle_event_report, [self._record])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        association, self._association = self._association, None
        # pynetdicom can hang in a release that starts while one of its handlers ends.
        for handler in self._handlers:
            handler.join(_HANDLER_SECONDS)
        if association is not None and association.is_established:
            association.release()

    def send(self, request: CommitmentRequest) -> int | None:
        """Send the N-ACTION. Returns the archive's status, or None without a response.

        Raises AssociationError if the response is not one to this request.
        """
        association = self._association
        if association is None or not association.is_established:
            return None
        try:
            status, _ = association.send_n_action(
                build_request(request), REQUEST_ACTION, COMMITMENT_CLASS, COMMITMENT_INSTANCE
            )
        except (RuntimeError, ValueError):
            return None
        return _status_of(status.get("Status"))

    def wait(self, transaction_uid: str, seconds: float) -> bool:
        """Wait for an answer on this association. Returns False after `seconds` without one."""
        with self._changed:
            return self._changed.wait_for(lambda: transaction_uid in self._answered, seconds)

    def _record(self, answer: CommitmentAnswer, _: Caller) -> MessageStatus:
        status = self._on_answer(answer)
        with self._changed:
            self._handlers.append(threading.current_thread())
            self._answered.add(answer.transaction_uid)
            self._changed.notify_all()
        return status


def send_answer(destination: Destination, answer: CommitmentAnswer) -> int | None:
    """Send an N-EVENT-REPORT to a peer on a new association, as its SCP (PS3.7 D.3.3.4).

    Returns the peer's status, or None without a response. Raises AssociationError.
    """
    association = _associate(destination, as_scp=True)
    try:
        status, _ = association.send_n_event_report(
            build_answer(answer), answer.event_type, COMMITMENT_CLASS, COMMITMENT_INSTANCE
        )
    except (RuntimeError, ValueError):
        return None
    finally:
        if association.is_established:
            association.release()
    return _status_of(status.get("Status"))


def _associate(destination: Destination, *, as_scp: bool = False) -> Association:
    roles = [build_role(COMMITMENT_CLASS, scp_role=True)] if as_scp else []
    association = associate(destination, proposals([COMMITMENT_CLASS]), roles)
    if COMMITMENT_CLASS not in accepted_syntaxes(association):
        association.release()
        raise AssociationError(
            f"{destination.name} does not accept storage commitment from "
            f"{destination.calling_ae_title}; allow it there, or do without it in this node's "
            "configuration",
            retryable=False,
        )
    return association


def _status_of(status: object) -> int | None:
    return int(status) if isinstance(status, int) else None
