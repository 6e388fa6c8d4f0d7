"""What can go wrong in this room.

DicomError
├── NotDicomError           the bytes are not a DICOM object that can be read
├── UndecodablePixelsError  the object holds no pixels that can be shown as one grey image
├── ObjectError             a DICOM object cannot be built from the given content
├── MalformedMessageError   a peer's message is not what the standard asks for
├── CertificateError        a certificate, key or CA file cannot be used
│   └── CertificateDateError  a certificate is not valid on this day
├── PortInUseError          the address to listen on cannot be had                 (retryable)
└── AssociationError        no association with the peer                           (it depends)

`retryable` says whether trying the same again later can help.
"""


class DicomError(Exception):
    """Base of every error raised by this room."""

    retryable: bool = False


class NotDicomError(DicomError):
    """The bytes are not a readable DICOM object."""


class UndecodablePixelsError(DicomError):
    """The pixel data is missing, broken, too large or of a kind no decoder here reads."""


class ObjectError(DicomError):
    """A DICOM object cannot be built from the given content."""


class MalformedMessageError(DicomError):
    """A message of a peer cannot be acted on; `status` is the answer that says why (PS3.7 C)."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class CertificateError(DicomError):
    """A certificate, a key or a list of CAs is missing, expired or does not fit the others."""


class CertificateDateError(CertificateError):
    """A certificate has expired or is not valid yet; nothing else is wrong with it."""


class PortInUseError(DicomError):
    """The listening address is taken by another program or does not exist on this machine."""

    retryable = True


class AssociationError(DicomError):
    """No association with the peer could be opened, or it broke.

    A network fault or a transient rejection is retryable; a permanent rejection is not until
    somebody changes the configuration on either side.
    """

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable
