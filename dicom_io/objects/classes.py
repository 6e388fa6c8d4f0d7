"""Transfer syntaxes: the two that every program knows, and all that are taken in."""

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

# What every DICOM program reads and writes.
PLAIN_SYNTAXES = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))

VERIFICATION = "1.2.840.10008.1.1"

# What this software sends: reports, as the first of these classes that an archive takes,
# pictures, presentation states and segmentations.
REPORT_CLASS = str(Comprehensive3DSRStorage)

REPORT_CLASSES = (REPORT_CLASS, str(ComprehensiveSRStorage), str(EnhancedSRStorage))

HEATMAP_CLASS = str(SecondaryCaptureImageStorage)

PRESENTATION_CLASS = str(GrayscaleSoftcopyPresentationStateStorage)

SEGMENTATION_CLASS = str(SegmentationStorage)

RESULT_CLASSES = (*REPORT_CLASSES, HEATMAP_CLASS, PRESENTATION_CLASS, SEGMENTATION_CLASS)

MAX_CONTEXTS = 128
"""Presentation context identifiers are odd numbers of one byte (PS3.8 9.3.2.2)."""
