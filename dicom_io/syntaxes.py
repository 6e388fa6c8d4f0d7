"""Transfer syntaxes, in the order in which they are preferred."""

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import ALL_TRANSFER_SYNTAXES

# What every DICOM program reads and writes.
PLAIN_SYNTAXES = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))

_LOSSLESS = (
    *PLAIN_SYNTAXES,
    str(ExplicitVRBigEndian),
    str(DeflatedExplicitVRLittleEndian),
    str(JPEGLosslessSV1),
    str(JPEGLossless),
    str(JPEGLSLossless),
    str(JPEG2000Lossless),
    str(HTJ2KLossless),
    str(HTJ2KLosslessRPCL),
    str(RLELossless),
)

# Everything known, so that nothing has to be transcoded to be sent here; a sender that offers a
# choice within one presentation context is asked for the lossless and simplest one.
RECEIVABLE_SYNTAXES = (
    *_LOSSLESS,
    *(str(uid) for uid in ALL_TRANSFER_SYNTAXES if str(uid) not in _LOSSLESS),
)
