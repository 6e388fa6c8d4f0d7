"""SOP classes of query and retrieval, and those of the objects that are retrieved."""

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    KeyObjectSelectionDocumentStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)
from pynetdicom import build_context, build_role
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from dicom_io.objects.classes import PLAIN_SYNTAXES

_IMAGE_CLASSES = tuple(
    str(uid)
    for uid in (
        ComputedRadiographyImageStorage,
        DigitalXRayImageStorageForPresentation,
        DigitalXRayImageStorageForProcessing,
        SecondaryCaptureImageStorage,
    )
)
FILM_CLASSES = (*_IMAGE_CLASSES, str(KeyObjectSelectionDocumentStorage))
"""Classes of what is retrieved: films, and the notes that reject films (IHE IOCM)."""

FILM_MODALITIES = frozenset({"", "CR", "DX", "DR", "RG", "XR", "OT", "SC", "KO"})
"""Modalities of the series that may hold such objects; '' is a series that names none."""

_COMPRESSED = tuple(
    str(uid)
    for uid in (
        JPEGLosslessSV1,
        JPEGLossless,
        JPEG2000Lossless,
        JPEG2000,
        JPEGLSLossless,
        JPEGLSNearLossless,
        JPEGBaseline8Bit,
        JPEGExtended12Bit,
        RLELossless,
        HTJ2KLossless,
        HTJ2K,
    )
)


def store_contexts() -> list[PresentationContext]:
    """Return the contexts in which a C-GET may bring films.

    Each compressed syntax has a context of its own: a peer that cannot convert a film sends it as
    it is kept.
    """
    return [
        *(build_context(uid, list(PLAIN_SYNTAXES)) for uid in FILM_CLASSES),
        *(build_context(uid, syntax) for uid in _IMAGE_CLASSES for syntax in _COMPRESSED),
    ]


def store_roles() -> list[SCP_SCU_RoleSelectionNegotiation]:
    """Return the roles for a C-GET: this side is the SCP of its C-STOREs (PS3.4 C.5.3)."""
    return [build_role(uid, scp_role=True) for uid in FILM_CLASSES]
