"""The value objects a report is made of."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from dicom_io.objects.source_header import required_uid


@dataclass(frozen=True, slots=True)
class ObjectReference:
    """Names one stored object the way PS3.3 C.17.2.1 does: study, series, instance and class."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str


Outline = Sequence[tuple[float, float]]
"""Corners of a closed outline, each once, as (column, row) in pixels of the stored image.

The centre of the top left pixel is (0.5, 0.5) (PS3.3 C.18.6.1.2).
"""


@dataclass(frozen=True, slots=True)
class ReportedFinding:
    """One finding on one image: its NIH label, calibrated probability and threshold (0 to 1).

    `heatmap` names the Secondary Capture that shows it, where one goes along with the report;
    `outline` is where the Grad-CAM map is hottest, at least three corners.
    """

    label: str
    probability: float
    threshold: float
    present: bool
    heatmap: ObjectReference | None = None
    outline: Outline | None = None


@dataclass(frozen=True, slots=True)
class ReportedImage:
    """An analysed image: its header (no pixels needed), findings, and notes on its reading."""

    dataset: Dataset
    findings: Sequence[ReportedFinding]
    notes: Sequence[str] = ()

    def reference(self) -> ObjectReference:
        """The image as evidence; ObjectError where a UID is missing."""
        return ObjectReference(
            required_uid(self.dataset, "SOPClassUID"),
            required_uid(self.dataset, "SOPInstanceUID"),
            required_uid(self.dataset, "SeriesInstanceUID"),
            required_uid(self.dataset, "StudyInstanceUID"),
        )


@dataclass(frozen=True, slots=True)
class NotAnalysed:
    """An object of the study that was not analysed, and why. No patient data in `detail`."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    reason: str
    detail: str
