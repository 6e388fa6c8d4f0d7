"""Content of a report: images, findings and references, as value objects."""

from collections.abc import Sequence
from dataclasses import dataclass

from dicom_io.objects.algorithm import Algorithm
from dicom_io.objects.source_header import Identity, required_uid
from dicom_io.read.image_header import ImageHeader


@dataclass(frozen=True, slots=True)
class ObjectReference:
    """Reference to one stored object: study, series, instance and class (PS3.3 C.17.2.1)."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str


Outline = Sequence[tuple[float, float]]
"""Corners of a closed outline as (column, row) in pixels of the stored image, each corner once.

The centre of the top left pixel is (0.5, 0.5) (PS3.3 C.18.6.1.2).
"""


@dataclass(frozen=True, slots=True)
class ReportedFinding:
    """One finding on one image: its NIH label, calibrated probability and threshold (0 to 1).

    `heatmap` refers to the Secondary Capture of the finding, if there is one. `outline` encloses
    the hottest part of the Grad-CAM map; it has at least three corners.
    """

    label: str
    probability: float
    threshold: float
    present: bool
    heatmap: ObjectReference | None = None
    outline: Outline | None = None


@dataclass(frozen=True, slots=True)
class ReportedImage:
    """An analysed image: header (pixels not needed), findings, and notes of the decoder.

    `revision` counts the films that arrived under this SOP Instance UID, from 1; the report names
    every later one. `film` is the `uids.film_key` of the image.
    """

    header: ImageHeader
    findings: Sequence[ReportedFinding]
    notes: Sequence[str] = ()
    revision: int = 1
    film: str = ""

    def reference(self) -> ObjectReference:
        """Return a reference to the image. Raises ObjectError if a UID is missing."""
        return ObjectReference(
            required_uid(self.header, "SOPClassUID"),
            required_uid(self.header, "SOPInstanceUID"),
            required_uid(self.header, "SeriesInstanceUID"),
            required_uid(self.header, "StudyInstanceUID"),
        )


@dataclass(frozen=True, slots=True)
class NotAnalysed:
    """An object of the study that was not analysed, with the reason.

    `detail` contains no patient data.
    """

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class PriorReport:
    """An AI report on an earlier study of the same patient.

    `study_date` is YYYYMMDD, or empty if the study has none. `said` repeats the findings of that
    report, without patient data.
    """

    reference: ObjectReference
    study_date: str
    said: str


@dataclass(frozen=True, slots=True)
class ReportContent:
    """The content of a report.

    `statements` are sentences on the whole study that its reader must know, such as films that were
    rejected. Each becomes a comment directly below the summary. They contain no patient data.
    `priors` are the earlier reports to name, the youngest study first; None names none and says
    nothing of them, an empty sequence says that there is none.
    """

    sources: Sequence[ReportedImage]
    not_analysed: Sequence[NotAnalysed]
    algorithm: Algorithm
    predecessor: ObjectReference | None
    identity: Identity
    statements: Sequence[str] = ()
    priors: Sequence[PriorReport] | None = None
