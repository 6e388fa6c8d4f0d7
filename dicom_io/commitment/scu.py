"""Storage commitment on associations that we open: asking an archive, and answering a peer."""

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
from dicom_io.commitment.scp import take_answer
from dicom_io.errors import AssociationError
from dicom_io.peer.peers import Caller
from dicom_io.send.association import Destination, accepted_syntaxes, associate, proposals

_HANDLER_SECONDS = 10.0


class CommitmentSession:
    """An association with an archive that is asked for a commitment; a context manager.

    The archive may answer on it, before or after its response, or later on an association of its
    own (PS3.4 J.3.3). `on_answer` is called, from another thread, with what comes on this one.
    Entering raises AssociationError, not retryable where the archive does not offer the service.
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
        self._association.bind(evt.EVT_N_EVENT_REPORT, take_answer, [self._take])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        association, self._association = self._association, None
        # pynetdicom can hang in a release that begins while one of its handlers ends.
        for handler in self._handlers:
            handler.join(_HANDLER_SECONDS)
        if association is not None and association.is_established:
            association.release()

    def ask(self, request: CommitmentRequest) -> int | None:
        """Send the N-ACTION; the archive's status, or None where no response came.

        Raises AssociationError where the archive responds to something else.
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
        """Whether the archive answered on this association, waiting so long at most."""
        with self._changed:
            return self._changed.wait_for(lambda: transaction_uid in self._answered, seconds)

    def _take(self, answer: CommitmentAnswer, _: Caller) -> MessageStatus:
        status = self._on_answer(answer)
        with self._changed:
            self._handlers.append(threading.current_thread())
            self._answered.add(answer.transaction_uid)
            self._changed.notify_all()
        return status


def report(destination: Destination, answer: CommitmentAnswer) -> int | None:
    """Answer a peer on a new association, as its SCP (PS3.7 D.3.3.4).

    The peer's status, or None where no response came. Raises AssociationError.
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
