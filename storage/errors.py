"""What can go wrong in the store.

StorageError
├── OutOfSpaceError           retryable: the disk, the quota or the low-space watermark is reached
├── StoreUnavailableError     retryable: the database is locked, restarting or out of reach
├── SchemaError               the store is missing, older or newer than this software
├── SpoolError                retryable: the operating system refused to read or write a file
│   ├── SpoolUnavailableError the spool is not mounted, or none of its files can be used
│   └── UnsafePathError       not retryable: a path would leave the spool
├── IntegrityError            a spooled file is missing or is not what was written
├── TrailAlteredError         the audit trail is not as it was written
├── UnknownRecordError        no such instance, object or delivery
│   └── UnknownJobError       no such job
├── JobRunningError           the job is in a worker's hands just now
└── LeaseLostError            the job was given to another worker: nothing was recorded
"""

from typing import ClassVar


class StorageError(Exception):
    """Base of every error of this package; its text is one line for the operator."""

    retryable: ClassVar[bool] = False
    """Whether doing the same again later can succeed without anybody's help."""


class OutOfSpaceError(StorageError):
    """There is no room to keep what was given."""

    retryable = True


class StoreUnavailableError(StorageError):
    """The database did not answer in time."""

    retryable = True


class SchemaError(StorageError):
    """The database's tables are not the ones this version works with."""


class SpoolError(StorageError):
    """A file could not be read or written."""

    retryable = True


class SpoolUnavailableError(SpoolError):
    """No file can be read or written just now, which is the fault of none of them."""


class UnsafePathError(SpoolError):
    """A relative path points outside the spool."""

    retryable = False


class IntegrityError(StorageError):
    """A spooled file is gone or its bytes have changed."""


class TrailAlteredError(StorageError):
    """The audit trail is not as it was written; `number` is the first row of which that is true."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


class UnknownRecordError(StorageError):
    """What was asked for is not in the store."""


class UnknownJobError(UnknownRecordError):
    """There is no job of this number."""


class JobRunningError(StorageError):
    """The job is running and cannot be changed by hand."""


class LeaseLostError(StorageError):
    """The caller no longer holds the job, so nothing it brought was recorded."""
