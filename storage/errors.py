"""Errors of the store.

StorageError
├── OutOfSpaceError           retryable: the disk, the quota or the low-space watermark is reached
├── StoreUnavailableError     retryable: the database is locked, restarting or unreachable
│   └── StoreConflictError    two changes were in each other's way, and this one was undone
├── SchemaError               the store is missing, older or newer than this software
│   └── MovedError            the store was moved elsewhere, or is an unfinished copy
├── MoveError                 the store cannot be moved, or its copy differs
├── SpoolError                retryable: the operating system refused to read or write a file
│   ├── SpoolUnavailableError the spool is not mounted, or its disk fails for all files
│   └── UnsafePathError       not retryable: a path would leave the spool
├── IntegrityError            a spooled file is missing or altered
├── TrailAlteredError         the audit trail was altered
├── UnknownRecordError        no such instance, object or delivery
│   └── UnknownJobError       no such job
├── AmbiguousStudyError       several sources hold a study of this UID
├── StudyHeldError            the study is in doubt, or is not and cannot be released
├── StudyChangedError         the study changed during its report: none was recorded
├── JobRunningError           a worker is running the job
├── PatientMessageError       the control ID of a message was that of another message
│   └── NoPatientError        a message names no patient
├── ChangedMeanwhileError     the job or the study has changed since the operator saw it
└── LeaseLostError            another worker has the job: no result was recorded
"""

from typing import ClassVar


class StorageError(Exception):
    """Base of all errors of this package. The text is one line for the operator."""

    retryable: ClassVar[bool] = False
    """True if a retry may succeed without action by the operator."""


class OutOfSpaceError(StorageError):
    """The disk is full, or its quota or the low-space watermark is reached."""

    retryable = True


class StoreUnavailableError(StorageError):
    """The database did not answer in time."""

    retryable = True


class StoreConflictError(StoreUnavailableError):
    """The database has undone the whole change, which can be made again."""


class SchemaError(StorageError):
    """The database has the tables of another version, or no tables."""


class MovedError(SchemaError):
    """The store was moved to another database, or is the unfinished copy of one."""


class MoveError(StorageError):
    """The store cannot be moved to another database, or its copy differs from it."""


class SpoolError(StorageError):
    """A file could not be read or written."""

    retryable = True


class SpoolUnavailableError(SpoolError):
    """The spool as a whole is unavailable, not a single file."""


class UnsafePathError(SpoolError):
    """A relative path points outside the spool."""

    retryable = False


class IntegrityError(StorageError):
    """A spooled file is missing, or its bytes have changed."""


class TrailAlteredError(StorageError):
    """The audit trail was altered; `number` is the first altered row."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


class UnknownRecordError(StorageError):
    """An instance, object or delivery is not in the store."""


class UnknownJobError(UnknownRecordError):
    """The store has no job with this number."""


class AmbiguousStudyError(StorageError):
    """Several sources hold a study of the same Study Instance UID."""


class StudyHeldError(StorageError):
    """The study stays in doubt, or was not in doubt and cannot be released."""


class StudyChangedError(StorageError):
    """The study changed while its report was made, which was not recorded; the job is queued."""


class JobRunningError(StorageError):
    """The job is running and cannot be changed by hand."""


class JobEndedError(StorageError):
    """The job has ended and cannot be discarded."""


class ChangedMeanwhileError(StorageError):
    """The job or study has changed since the operator saw it, and stays as it is."""


class LeaseLostError(StorageError):
    """The caller no longer holds the job; its result was not recorded."""


class PatientMessageError(StorageError):
    """The control ID of a message about a patient was that of another message of the sender."""


class NoPatientError(PatientMessageError):
    """A Patient ID in a message is missing, or stands for an unknown one."""
