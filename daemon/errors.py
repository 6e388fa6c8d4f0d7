"""Errors of the daemon.

    DaemonError
    ├── ChannelError     a destination as a whole fails                 (some are retryable)
    ├── ConfigError      config.yaml or the environment cannot be used
    ├── DecoderError      no process that reads images can be started           (retryable)
    ├── FhirError        a report or an answer does not fit FHIR
    ├── HeatError         the kept map of a finding cannot be drawn
    ├── Hl7Error         an HL7 message cannot be made, or a received one cannot be read
    ├── MllpError        an HL7 partner cannot be reached, or gives no usable answer (retryable)
    ├── ModelFailedError  the model gave an output that is not a result, so no film is analysed
    ├── RoleFailedError  a role could not start, so the daemon does not run
    ├── SyslogError      the syslog server cannot be reached                   (retryable)
    └── UsageError       a command names an object that does not exist

An error is `retryable` if the same call can succeed later without a change by the operator.
"""

from cxr_model.errors import ModelError
from dicom_io.errors import DicomError
from storage.errors import StorageError


class DaemonError(Exception):
    """Base of the errors of this package. The text is one line for the operator."""

    retryable = False


class ChannelError(DaemonError):
    """The destination cannot be reached, or refuses everything.

    A network fault is retryable. A refusal that lasts until somebody changes the configuration of
    one of the sides is not. `retry_after` is the wait in seconds that the destination asked for.
    """

    def __init__(self, message: str, *, retryable: bool, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.retry_after = retry_after


class ConfigError(DaemonError):
    """The configuration cannot be used. The text names the file, the key and the fix."""


class DecoderError(DaemonError):
    """No process that reads images can be started: too little memory or too many processes."""

    retryable = True


class FhirError(DaemonError):
    """A report cannot be given as FHIR resources, or a server's answer is not as FHIR says."""


class HeatError(DaemonError):
    """The kept map of a finding is damaged, or of a newer version."""


class Hl7Error(DaemonError):
    """An HL7 v2 message cannot be made, or a received message cannot be read."""


class MllpError(DaemonError):
    """An HL7 partner cannot be reached, broke the connection or gave no usable answer."""

    retryable = True


class ModelFailedError(DaemonError):
    """The model gave an output that is not a finite number: it must not analyse further films."""


class RoleFailedError(DaemonError):
    """A role cannot start."""


class SyslogError(DaemonError):
    """The syslog server cannot be reached or does not accept messages."""

    retryable = True


class UsageError(DaemonError):
    """An argument of a command names an object that does not exist or does not fit."""


ROOM_ERRORS = (DaemonError, StorageError, DicomError, ModelError)
"""The base of each package's errors: every error that the project raises on purpose."""
