"""SOP classes and uncompressed transfer syntaxes of the objects this software sends."""

from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import VerificationPresentationContexts

PLAIN_SYNTAXES = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
"""Uncompressed transfer syntaxes, which every DICOM program reads and writes."""
VERIFICATION = str(VerificationPresentationContexts[0].abstract_syntax)
REPORT_CLASS = str(Comprehensive3DSRStorage)
REPORT_CLASSES = (REPORT_CLASS, str(ComprehensiveSRStorage), str(EnhancedSRStorage))
"""A report is sent as the first of these classes that the destination accepts."""
HEATMAP_CLASS = str(SecondaryCaptureImageStorage)
PRESENTATION_CLASS = str(GrayscaleSoftcopyPresentationStateStorage)
SEGMENTATION_CLASS = str(SegmentationStorage)
RESULT_CLASSES = (*REPORT_CLASSES, HEATMAP_CLASS, PRESENTATION_CLASS, SEGMENTATION_CLASS)

MAX_CONTEXTS = 128
"""Presentation contexts of one association: identifiers are odd single bytes (PS3.8 9.3.2.2)."""
