"""The value objects that go into the store and come out of it. All datetimes are aware, in UTC."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class JobKind(StrEnum):
    """What a job does, and what its subject names."""

    ANALYSE = "analyse"  # subject: the instance's number
    REPORT = "report"  # subject: the StudyInstanceUID
    DELIVER = "deliver"  # subject: SOPInstanceUID@destination; lane: the destination
    COMMIT = "commit"  # subject: StudyInstanceUID@destination; lane: the destination
    ANSWER = "answer"  # subject: the number of a peer's commitment request; lane: the peer


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    PARKED = "parked"
    DISCARDED = "discarded"


class ReceiptOutcome(StrEnum):
    """What a received instance is to the store."""

    NEW = "new"
    DUPLICATE = "duplicate"
    REVISION = "revision"
    KEPT_AGAIN = "kept_again"  # the same bytes, which had been purged


class InstanceState(StrEnum):
    """What has become of an instance."""

    RECEIVED = "received"
    ANALYSED = "analysed"
    NOT_ANALYSED = "not_analysed"


class ObjectKind(StrEnum):
    """What an object made here is."""

    REPORT = "report"
    HEATMAP = "heatmap"
    SUMMARY = "summary"
    PRESENTATION_STATE = "presentation_state"
    SEGMENTATION = "segmentation"
    # Lossy copies, each an object of its own beside the picture it was made from.
    HEATMAP_JPEG = "heatmap_jpeg"
    SUMMARY_JPEG = "summary_jpeg"


class StudyStatus(StrEnum):
    """How reporting a study ended."""

    REPORTED = "reported"
    NO_ELIGIBLE_IMAGE = "no_eligible_image"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it was when read. `generation` counts its touches, `claims` its claims: a worker
    holds the job only as long as `claims` in the store is the one it was given.
    """

    id: int
    kind: JobKind
    subject: str
    lane: str | None
    state: JobState
    attempts: int
    generation: int
    claims: int
    not_before: datetime
    worker: str | None
    lease_until: datetime | None
    last_error: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class NewInstance:
    """An instance whose bytes are in the spool and that is to be acknowledged."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    study_instance_uid: str
    series_instance_uid: str
    patient_id: str
    accession_number: str
    study_date: str
    modality: str
    calling_ae_title: str
    spool_path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What `Store.record_instance` made of an instance."""

    outcome: ReceiptOutcome
    instance_id: int
    revision: int


@dataclass(frozen=True, slots=True)
class FindingRecord:
    """The answer to one label: the raw logit, the calibrated probability, and the cut-off.

    `region` outlines where its map is hottest: corners as (column, row) in pixels of the stored
    image; None where none is drawn.
    """

    label: str
    logit: float
    probability: float
    threshold: float
    present: bool
    region: tuple[tuple[float, float], ...] | None = None


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """A DICOM object made here. All but a report name their instance, a heatmap its label too.

    Once `purged_at` is set its file is gone.
    """

    sop_instance_uid: str
    sop_class_uid: str
    kind: ObjectKind
    study_instance_uid: str
    instance_id: int | None
    label: str | None
    spool_path: str
    size: int
    sha256: str
    purged_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AnalysisRecord:
    """What the model said about an instance, and which model it was."""

    analysed_at: datetime
    model_name: str
    model_version: str
    model_sha256: str
    findings: Sequence[FindingRecord]
    notes: Sequence[str] = ()
    objects: Sequence[ObjectRecord] = ()


@dataclass(frozen=True, slots=True)
class Instance:
    """One revision of a received instance with everything known about it.

    Once `purged_at` is set its file is gone; the rest stays as a record.
    """

    id: int
    sop_instance_uid: str
    revision: int
    sop_class_uid: str
    transfer_syntax_uid: str
    study_instance_uid: str
    series_instance_uid: str
    patient_id: str
    accession_number: str
    study_date: str
    modality: str
    calling_ae_title: str
    spool_path: str
    size: int
    sha256: str
    received_at: datetime
    state: InstanceState
    reason: str | None
    detail: str | None
    notes: tuple[str, ...]
    analysed_at: datetime | None
    model_name: str | None
    model_version: str | None
    model_sha256: str | None
    purged_at: datetime | None
    received_again_at: datetime | None
    findings: tuple[FindingRecord, ...]
    objects: tuple[ObjectRecord, ...]


@dataclass(frozen=True, slots=True)
class StudyResults:
    """A study: the latest revision of each instance, and its reports, oldest first.

    `pending` counts those instances that still wait for an analysis under way or queued.
    `status` is None until the study was reported for the first time.
    """

    study_instance_uid: str
    instances: tuple[Instance, ...]
    reports: tuple[ObjectRecord, ...]
    pending: int
    status: StudyStatus | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """An object that is to go to a destination."""

    sop_instance_uid: str
    destination: str


@dataclass(frozen=True, slots=True)
class PendingDelivery:
    """What a DELIVER job has to send, and where to."""

    object: ObjectRecord
    destination: str


@dataclass(frozen=True, slots=True)
class InstanceName:
    """An instance as storage commitment names it."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class CommitmentOrder:
    """A request for commitment that is to be sent; it is in the store before it is."""

    transaction_uid: str
    instances: tuple[InstanceName, ...]


@dataclass(frozen=True, slots=True)
class CommitmentStep:
    """What a COMMIT job has to do next.

    `unanswered` requests were closed just now because no answer came in time. `order` is to be
    sent, if there is one; `answer_by` is when the next answer to one sent before is due. `refused`
    holds the failure reasons of objects for which nothing more is tried by itself.
    """

    unanswered: int
    order: CommitmentOrder | None
    answer_by: datetime | None
    refused: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CommitmentOutcome:
    """How many objects an answer committed to, had sent again, and left to a person."""

    committed: int
    sent_again: int
    refused: int


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A peer's request for our commitment. `reuses_uid` says that its transaction UID had been
    used for another request before."""

    peer: str
    transaction_uid: str
    instances: tuple[InstanceName, ...]
    reuses_uid: bool


@dataclass(frozen=True, slots=True)
class KeptFile:
    """One revision of a received instance: its class, and the file that must be as it was."""

    sop_class_uid: str
    spool_path: str
    sha256: str
