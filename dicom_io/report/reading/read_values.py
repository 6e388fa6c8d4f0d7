"""A report as it was read: patient, study, document, algorithm, images and findings.

Texts are decoded by the character set of the report; an absent one is an empty string. Dates and
times of patient and study are as in the object (DA, TM), because archives send malformed ones.
"""

from dataclasses import dataclass
from datetime import datetime

from dicom_io.report.content import ObjectReference, PriorReport


@dataclass(frozen=True, slots=True)
class CodedValue:
    """A coded concept: value, coding scheme designator and meaning (PS3.3 section 8)."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, slots=True)
class ReadPatient:
    """Identity of the patient (PS3.3 C.7.1.1); `name` is a PN with its component groups."""

    patient_id: str
    issuer: str
    name: str
    birth_date: str
    sex: str


@dataclass(frozen=True, slots=True)
class ReadOrder:
    """The imaging service request that the films answer (PS3.3 C.17.2).

    `accession_issuer` is the local name of the issuer, else its universal identifier.
    """

    accession_number: str
    accession_issuer: str
    placer_order_number: str
    filler_order_number: str
    requested_procedure_id: str
    description: str
    procedure: CodedValue | None


@dataclass(frozen=True, slots=True)
class ReadStudy:
    """The study of the films (PS3.3 C.7.2.1)."""

    study_instance_uid: str
    study_id: str
    date: str
    time: str
    description: str
    accession_number: str
    accession_issuer: str
    referring_physician: str


@dataclass(frozen=True, slots=True)
class ReadDocument:
    """The report itself: identity, state and time (PS3.3 C.17.2).

    `written` is aware if the report names its offset from UTC. The flags are Completion Flag,
    Verification Flag and Preliminary Flag as in the object.
    """

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    title: str
    written: datetime
    completion: str
    verification: str
    preliminary: str
    predecessors: tuple[ObjectReference, ...]


@dataclass(frozen=True, slots=True)
class ReadAlgorithm:
    """The model that made the findings; `sha256` is the hash of its bundle."""

    name: str
    version: str
    manufacturer: str
    sha256: str
    device_uid: str
    intended_use: str
    calibration: str


@dataclass(frozen=True, slots=True)
class ReadFinding:
    """One finding on one image.

    `label` is the NIH label of the code; empty if no label has the code. `probability` and
    `threshold` are from 0 to 1. `outline` has the corners of the region as (column, row) in pixels
    of the stored image, each once (PS3.3 C.18.6.1.2). Films have one frame, so no frame is named.
    """

    label: str
    code: CodedValue
    site: CodedValue
    result: CodedValue
    present: bool
    probability: float
    threshold: float
    tracking_uid: str
    tracking_identifier: str
    image: ObjectReference
    outline: tuple[tuple[float, float], ...] | None
    heatmap: ObjectReference | None


@dataclass(frozen=True, slots=True)
class ReadImage:
    """An analysed image: its reference, its findings present first, its sentences and notes."""

    reference: ObjectReference
    findings: tuple[ReadFinding, ...]
    sentences: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReadOmission:
    """Objects that were not analysed: the line of the report, its reason, the objects it names.

    A line on more than three objects names none of them.
    """

    line: str
    reason: str
    objects: tuple[ObjectReference, ...]


@dataclass(frozen=True, slots=True)
class ReadReport:
    """A report as it was read.

    `research_notice` is the first text of every report. `statements` are the sentences on the
    whole study, `explanations` the operating point, what maps and outlines mean, and the lines on
    the model. `procedures` are the procedures reported (TID 1207). `priors` are the AI reports on
    earlier studies that it names.
    """

    patient: ReadPatient
    study: ReadStudy
    orders: tuple[ReadOrder, ...]
    document: ReadDocument
    algorithm: ReadAlgorithm
    procedures: tuple[CodedValue, ...]
    images: tuple[ReadImage, ...]
    not_analysed: tuple[ReadOmission, ...]
    research_notice: str
    summary: str
    statements: tuple[str, ...]
    explanations: tuple[str, ...]
    priors: tuple[PriorReport, ...] = ()

    @property
    def findings(self) -> tuple[ReadFinding, ...]:
        """Return the findings of all images, in the order of the report."""
        return tuple(finding for image in self.images for finding in image.findings)
