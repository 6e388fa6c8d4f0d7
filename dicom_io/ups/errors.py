"""Errors of a worklist manager, so that a caller never reads a status code.

WorklistError
├── ManagerUnreachableError      no answer, or none for now                       (retryable)
├── ManagerAnswerError           an answer that is malformed or does not fit       (retryable)
├── ManagerConfigurationError    the manager does not accept this node or service
└── WorkitemRefusedError         the manager answered with a failure status
    ├── UnknownWorkitemError     it has no such workitem                    (C307, HTTP 404, 410)
    ├── TransactionUidError      another performer holds the workitem       (C301)
    ├── AlreadyInProgressError   another performer has claimed the workitem (C302)
    ├── NotInProgressError       the workitem has not been claimed          (C310)
    ├── WorkitemClosedError      it is completed or cancelled               (C300, C311)
    └── FinalStateError          attributes of the final state are missing  (C304)
"""

from dicom_io.errors import DicomError


class WorklistError(DicomError):
    """Base of the errors of a worklist manager; the text names manager, fault and what to do."""


class ManagerUnreachableError(WorklistError):
    """The manager gave no answer in time, or said that it cannot answer for now."""

    retryable = True


class ManagerAnswerError(WorklistError):
    """The manager's answer is malformed, too large or belongs to another request."""

    retryable = True


class ManagerConfigurationError(WorklistError):
    """The manager rejects this node or does not offer the service: an operator has to act."""


class WorkitemRefusedError(WorklistError):
    """The manager refused a request.

    `status` is the DIMSE status (PS3.4 CC.2) or, over the web, the HTTP status; `detail` is the
    manager's comment, which may hold patient data.
    """

    def __init__(self, message: str, status: int, detail: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.detail = detail


class UnknownWorkitemError(WorkitemRefusedError):
    """The manager has no such workitem, or deleted it after its final state."""


class TransactionUidError(WorkitemRefusedError):
    """The Transaction UID is not that of the workitem: this performer does not hold it."""


class AlreadyInProgressError(WorkitemRefusedError):
    """The workitem is in progress at another performer."""


class NotInProgressError(WorkitemRefusedError):
    """The workitem has not been claimed, so that it cannot be updated or finished."""


class WorkitemClosedError(WorkitemRefusedError):
    """The workitem is completed or cancelled and cannot change any more."""


class FinalStateError(WorkitemRefusedError):
    """The manager misses attributes that the final state requires (PS3.4 CC.2.5.1.1)."""
