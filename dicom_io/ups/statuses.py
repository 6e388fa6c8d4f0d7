"""Meanings of the status of a response about a workitem (PS3.4 tables CC.2.1-2 to CC.2.8-5)."""

from dicom_io.ups.errors import (
    AlreadyInProgressError,
    FinalStateError,
    ManagerConfigurationError,
    ManagerUnreachableError,
    NotInProgressError,
    TransactionUidError,
    UnknownWorkitemError,
    WorkitemClosedError,
    WorkitemRefusedError,
    WorklistError,
)

MAY_NO_LONGER_BE_UPDATED = 0xC300
WRONG_TRANSACTION_UID = 0xC301
ALREADY_IN_PROGRESS = 0xC302
ONLY_SCHEDULED_BY_CREATE = 0xC303
FINAL_STATE_NOT_MET = 0xC304
UNKNOWN_WORKITEM = 0xC307
UNKNOWN_RECEIVING_AE = 0xC308
NOT_SCHEDULED_AT_CREATION = 0xC309
NOT_IN_PROGRESS = 0xC310
ALREADY_COMPLETED = 0xC311
PERFORMER_NOT_REACHED = 0xC312
PERFORMER_DECLINES = 0xC313
NO_EVENT_REPORTS = 0xC315
ALREADY_CANCELED_WARNING = 0xB304
ALREADY_COMPLETED_WARNING = 0xB306

_TEXTS = {
    MAY_NO_LONGER_BE_UPDATED: "the workitem may no longer be updated",
    WRONG_TRANSACTION_UID: "the Transaction UID is not that of the workitem",
    ALREADY_IN_PROGRESS: "the workitem is already in progress",
    ONLY_SCHEDULED_BY_CREATE: "a workitem becomes SCHEDULED by its creation alone",
    FINAL_STATE_NOT_MET: "attributes that the final state requires are missing",
    UNKNOWN_WORKITEM: "it has no such workitem",
    UNKNOWN_RECEIVING_AE: "it does not know the receiving AE title",
    NOT_IN_PROGRESS: "the workitem is not in progress",
    ALREADY_COMPLETED: "the workitem is already completed",
    PERFORMER_NOT_REACHED: "the performer cannot be contacted",
    PERFORMER_DECLINES: "the performer chooses not to cancel",
    NO_EVENT_REPORTS: "it does not report events",
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0110: "processing failure",
    0x0112: "no such SOP instance",
    0x0115: "invalid argument value",
    0x0118: "no such SOP class",
    0x0120: "missing attribute",
    0x0121: "missing attribute value",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0x0210: "duplicate invocation",
    0x0211: "unrecognised operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
}
_REFUSALS: dict[int, type[WorkitemRefusedError]] = {
    MAY_NO_LONGER_BE_UPDATED: WorkitemClosedError,
    ALREADY_COMPLETED: WorkitemClosedError,
    WRONG_TRANSACTION_UID: TransactionUidError,
    ALREADY_IN_PROGRESS: AlreadyInProgressError,
    FINAL_STATE_NOT_MET: FinalStateError,
    UNKNOWN_WORKITEM: UnknownWorkitemError,
    0x0112: UnknownWorkitemError,
    NOT_IN_PROGRESS: NotInProgressError,
}
_FOR_NOW = frozenset({0x0110, 0x0213})
_CONFIGURATION = frozenset({0x0118, 0x0122, 0x0124, 0x0211, UNKNOWN_RECEIVING_AE, NO_EVENT_REPORTS})


def is_success(status: int) -> bool:
    """Return True for success and for a warning, after which the request was carried out."""
    return status in (0x0000, 0x0001, 0x0107, 0x0116) or status >> 12 == 0xB


def error_of(name: str, action: str, status: int, comment: str = "") -> WorklistError:
    """Return the error for a failure status; `action` says what was asked, as "claim a workitem".

    The comment of a manager may hold patient data, so it is kept apart from the message.
    """
    meaning = _TEXTS.get(status, "failure")
    message = f"{name} refused to {action}: {meaning} (0x{status:04X})"
    if status in _FOR_NOW or status >> 8 == 0xA7:
        return ManagerUnreachableError(f"{message}; see its log if this goes on")
    if status in _CONFIGURATION:
        return ManagerConfigurationError(f"{message}; allow it there")
    return _REFUSALS.get(status, WorkitemRefusedError)(message, status, comment)
