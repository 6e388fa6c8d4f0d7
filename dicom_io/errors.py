"""Errors raised by this package.

DicomError
├── NotDicomError           the bytes are not a readable DICOM object
├── UndecodablePixelsError  the pixel data cannot be decoded to one grey image
├── ObjectError             a DICOM object cannot be built from the given content
├── MalformedMessageError   a peer's message does not conform to the standard
├── CertificateError        a certificate, key or CA file cannot be used
│   └── CertificateDateError  a certificate has expired or is not valid yet
├── PortInUseError          the address to listen on is not available              (retryable)
├── QueryError              a query was refused, or answered wrongly      (some are retryable)
├── AssociationError        no association with the peer                  (some are retryable)
└── HttpError               an HTTP exchange with a partner failed        (some are retryable)
    └── DicomwebError       an answer is not what DICOMweb prescribes     (some are retryable)
        └── MultipartError  a multipart body is malformed or beyond a limit

`retryable` is True if the same attempt may succeed later.
"""


class DicomError(Exception):
    """Base of every error raised by this package."""

    retryable: bool = False


class NotDicomError(DicomError):
    """The bytes are not a readable DICOM object."""


class UndecodablePixelsError(DicomError):
    """The pixel data is missing, malformed, too large or of an unsupported encoding."""


class ObjectError(DicomError):
    """A DICOM object cannot be built from the given content."""


class MalformedMessageError(DicomError):
    """A message of a peer cannot be processed; `status` is for the response (PS3.7 Annex C)."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class CertificateError(DicomError):
    """A certificate, key or CA file is missing, malformed or does not match its key or CA."""


class CertificateDateError(CertificateError):
    """A certificate has expired or is not valid yet; it is otherwise usable."""


class PortInUseError(DicomError):
    """The address to listen on is in use by another program or not of this machine."""

    retryable = True


class QueryError(DicomError):
    """A peer refused a query, or its answers cannot be used.

    A lack of resources is retryable. A query that the peer does not offer is not.
    """

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable


class AssociationError(DicomError):
    """An association with the peer could not be opened, or it broke.

    A network fault or a transient rejection is retryable. A permanent rejection is not: the
    operator has to change the configuration of one of the sides.
    """

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable


class UnmatchedResponseError(AssociationError):
    """A response does not answer its request; the association was ended."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=True)


class HttpError(DicomError):
    """An HTTP exchange with a partner failed: no connection, a refusal, or an unusable answer.

    `status` is the HTTP status of the answer, None without one. `retry_after` is the number of
    seconds that the server asked to wait, None if it named none.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = False,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.status = status
        self.retry_after = retry_after


class DicomwebError(HttpError):
    """A partner refused a DICOMweb request, or its answer is not what PS3.18 prescribes."""


class MultipartError(DicomwebError):
    """A multipart body is malformed, cut short, or beyond a limit (then `is_too_large`)."""

    def __init__(self, message: str, *, is_too_large: bool = False) -> None:
        super().__init__(message)
        self.is_too_large = is_too_large
