"""The value objects of the store. All datetimes are aware and in UTC."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Self


@dataclass(frozen=True, slots=True)
class StudyKey:
    """The name of a study: two sources may use one Study Instance UID for different studies."""

    source: str
    study_instance_uid: str

    @property
    def subject(self) -> str:
        """The subject of the study's REPORT job."""
        return f"{self.study_instance_uid}@{self.source}"

    @classmethod
    def of_subject(cls, subject: str) -> Self:
        """Return the study of a REPORT job's subject. A UID has no @, a source may have one."""
        study, _, source = subject.partition("@")
        return cls(source, study)


RETENTION_EXPIRED = "113039"
"""The code of a rejection (DCM) that leaves the film a film of its patient."""


PRIORS_OF = "priors of "
"""The start of the subject of a search for earlier studies, and of the name of its orders."""


class JobKind(StrEnum):
    """The kinds of jobs, with the meaning of their subject and lane."""

    ANALYSE = "analyse"  # subject: the number of the instance
    REPORT = "report"  # subject: StudyInstanceUID@source
    DELIVER = "deliver"  # subject: SOPInstanceUID@destination; lane: the destination
    COMMIT = "commit"  # subject: StudyInstanceUID@destination; lane: the destination
    ANSWER = "answer"  # subject: the number of a peer's commitment request; lane: the peer
    RETRIEVE = "retrieve"  # subject: StudyInstanceUID@peer, after PRIORS_OF or not; lane: the peer
    PERFORM = "perform"  # subject: workitem UID@manager; lane: the manager


class Priority(IntEnum):
    """The priority of a film and of its jobs.

    BACKFILL is for films that were fetched from an archive: their jobs go when no other waits.
    """

    BACKFILL = -1
    ROUTINE = 0
    STAT = 1


class RetrievalPurpose(StrEnum):
    """The purposes of an order to fetch studies from an archive."""

    BACKFILL = "backfill"
    PRIOR = "prior"  # an earlier study of a patient, for a report with comparison
    INPUT = "input"  # of a workitem


class JobState(StrEnum):
    """The states of a job; `storage.queue.jobs` has the transitions."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    PARKED = "parked"
    DISCARDED = "discarded"


class ReceiptOutcome(StrEnum):
    """The results of recording a received instance."""

    NEW = "new"
    DUPLICATE = "duplicate"
    REVISION = "revision"
    KEPT_AGAIN = "kept_again"  # the same bytes as a purged revision
    RENEWED = "renewed"  # the same bytes as a revision that another patient or study replaced


class InstanceState(StrEnum):
    """The states of an instance."""

    RECEIVED = "received"
    ANALYSED = "analysed"
    NOT_ANALYSED = "not_analysed"


class ObjectKind(StrEnum):
    """The kinds of objects made here."""

    REPORT = "report"
    HEATMAP = "heatmap"
    SUMMARY = "summary"
    PRESENTATION_STATE = "presentation_state"
    SEGMENTATION = "segmentation"
    # Lossy copies: objects of their own beside their originals.
    HEATMAP_JPEG = "heatmap_jpeg"
    SUMMARY_JPEG = "summary_jpeg"


class StudyStatus(StrEnum):
    """The results of reporting a study."""

    REPORTED = "reported"
    NO_ELIGIBLE_IMAGE = "no_eligible_image"
    UNCHANGED = "unchanged"
    HELD = "held"  # in doubt: an operator, or a corrected film, decides


class StudyState(StrEnum):
    """The states of a study as its readers see them, the most urgent first."""

    HELD = "held"  # in doubt: an operator, or a corrected film, decides
    PARKED = "parked"  # a job of it waits for an operator
    WAITING = "waiting"  # an analysis is queued or running
    ANALYSED = "analysed"  # its report is due later, or runs
    NOT_ANALYSED = "not_analysed"  # it holds no film that may be analysed
    REPORTED = "reported"


class Verdict(StrEnum):
    """The verdicts of a reviewer on the call of a finding, present or absent."""

    AGREE = "agree"
    DISAGREE = "disagree"


class Standing(StrEnum):
    """The standings of an object made here: what it still says of its films."""

    VALID = "valid"
    SUPERSEDED = "superseded"  # a later report or a later revision of its film replaces it
    IN_DOUBT = "in_doubt"  # its study is held
    REJECTED = "rejected"  # its films were rejected


@dataclass(frozen=True, slots=True)
class Job:
    """A job as read from the store.

    `generation` counts its touches and its retries by hand, `claims` its claims. A worker holds
    the job while `claims` in the store is the number that the worker got with its claim.
    `priority` is a Priority.
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
    priority: int = 0


@dataclass(frozen=True, slots=True)
class ListedJob:
    """A job with its study; study and accession number are empty for a job without a study.

    `coerced_uid` is the UID under which the destination of a delivery keeps the object, if it chose
    another. `source` is that of the study; '' for a COMMIT job, whose study may have several.
    """

    job: Job
    study_instance_uid: str
    accession_number: str
    coerced_uid: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class NewInstance:
    """A received instance whose file is in the spool, before its acknowledgement.

    `source` scopes its UIDs, its revisions and its study.
    """

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
    source: str = ""
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    view_position: str = ""
    priority: Priority = Priority.ROUTINE


@dataclass(frozen=True, slots=True)
class Receipt:
    """The result of `Store.record_instance`."""

    outcome: ReceiptOutcome
    instance_id: int
    revision: int


@dataclass(frozen=True, slots=True)
class FindingRecord:
    """The result for one label: the raw logit, the calibrated probability and the threshold.

    `region` outlines the hottest area of its map: corners as (column, row) in pixels of the stored
    image; None if no outline is drawn. `heat` is the small map itself, encoded; it is given to be
    recorded, and `Results.heat` reads it: findings that are read have None.
    """

    label: str
    logit: float
    probability: float
    threshold: float
    present: bool
    region: tuple[tuple[float, float], ...] | None = None
    heat: bytes | None = None


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """A DICOM object made here.

    A report has no `instance_id`; a heatmap also has a `label`. After `purged_at` its file is gone.
    `source` is that of its films. `form` is the size of a picture, and for a report the form of the
    pictures that it names, and that it names earlier reports; empty for the default form.
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
    source: str = ""
    standing: Standing = Standing.VALID
    form: str = ""


@dataclass(frozen=True, slots=True)
class AnalysisRecord:
    """The result of analysing an instance, and the identity of the model."""

    analysed_at: datetime
    model_name: str
    model_version: str
    model_sha256: str
    findings: Sequence[FindingRecord]
    notes: Sequence[str] = ()
    objects: Sequence[ObjectRecord] = ()
    made_for: str = ""
    """The `Instance.identity_key` for which the objects were made."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One revision of a received instance with its results.

    After `purged_at` its file is gone; the row stays as a record. In a row of a version that did
    not record them, `source` is '', and the patient's issuer, name, birth date, sex and view are
    None.
    `rejected_by` is the code of a rejection; an operator dropped the instance from its study at
    `set_aside_at`. `priority` is that with which it was sent.
    `identity_key` names the identity of the patient that messages gave it; '' is that of its
    header. Its objects were made for the identity `made_for`.
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
    source: str
    issuer_of_patient_id: str | None
    patient_name: str | None
    patient_birth_date: str | None
    patient_sex: str | None
    view_position: str | None
    rejected_by: str | None
    set_aside_at: datetime | None
    findings: tuple[FindingRecord, ...]
    objects: tuple[ObjectRecord, ...]
    priority: int = 0
    identity_key: str = ""
    made_for: str = ""

    @property
    def has_past_objects(self) -> bool:
        """True if its objects were made for an identity of its patient that is past."""
        return bool(self.objects) and self.made_for != self.identity_key

    @property
    def is_rejected(self) -> bool:
        """True if a note rejected it for another reason than an expired retention time."""
        return self.rejected_by not in (None, RETENTION_EXPIRED)


@dataclass(frozen=True, slots=True)
class Rejection:
    """The code of a rejection note (DCM) and the SOP Instance UIDs that it names."""

    code: str
    sop_instance_uids: tuple[str, ...]


class HoldReason(StrEnum):
    """The reasons why a study is in doubt."""

    TWO_PATIENTS = "TWO_PATIENTS"
    FILM_MOVED = "FILM_MOVED"


@dataclass(frozen=True, slots=True)
class StudyHold:
    """The reason to hold a study. The text names films by their UIDs, and no patient."""

    reason: HoldReason
    detail: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


@dataclass(frozen=True, slots=True)
class StudyResults:
    """A study of one source: the latest revision of each instance, and its reports, oldest first.

    `reports` are those of the default form; `other_forms` are the last of them in other forms.
    `pending` counts the instances with a queued or running analysis. `status` is None before the
    first report. `hold` is None unless the study is in doubt.
    """

    source: str
    study_instance_uid: str
    instances: tuple[Instance, ...]
    reports: tuple[ObjectRecord, ...]
    pending: int
    status: StudyStatus | None
    detail: str | None
    hold: StudyHold | None
    other_forms: tuple[ObjectRecord, ...] = ()

    @property
    def last_reports(self) -> tuple[ObjectRecord, ...]:
        """The last report in all its forms, the default form first."""
        return (*self.reports[-1:], *self.other_forms)


@dataclass(frozen=True, slots=True)
class HeldFilm:
    """A film of a held study: the number and the UID of one revision."""

    number: int
    sop_instance_uid: str
    revision: int
    received_at: datetime
    calling_ae_title: str


@dataclass(frozen=True, slots=True)
class HeldStudy:
    """A study in doubt, since when, and its films by patient."""

    key: StudyKey
    hold: StudyHold
    since: datetime
    patients: tuple[tuple[HeldFilm, ...], ...]


@dataclass(frozen=True, slots=True)
class Delivery:
    """An object to be sent to a destination."""

    sop_instance_uid: str
    destination: str


@dataclass(frozen=True, slots=True)
class PendingDelivery:
    """The object and the destination of a DELIVER job. It may not leave while it is held.

    `coerced_uid` is the UID under which the destination keeps it, if it chose another.
    """

    object: ObjectRecord
    destination: str
    is_held: bool = False
    coerced_uid: str = ""


@dataclass(frozen=True, slots=True)
class InstanceName:
    """An instance as a storage commitment message names it.

    `coerced_uid` is the UID under which the destination keeps an object of this node, if it chose
    another; a request to the destination names that one.
    """

    sop_class_uid: str
    sop_instance_uid: str
    coerced_uid: str = ""


@dataclass(frozen=True, slots=True)
class CommitmentOrder:
    """A request for commitment to be sent. It is in the store before it is sent."""

    transaction_uid: str
    instances: tuple[InstanceName, ...]


@dataclass(frozen=True, slots=True)
class CommitmentStep:
    """The next step of a COMMIT job.

    Attributes:
        unanswered: number of requests just closed because their answer is overdue.
        order: the request to send, if there is one.
        answer_by: when the next answer to a sent request is due.
        refused: failure reasons of the objects that are not sent again automatically.
    """

    unanswered: int
    order: CommitmentOrder | None
    answer_by: datetime | None
    refused: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CommitmentOutcome:
    """The numbers of objects committed to, sent again, and left to the operator by an answer."""

    committed: int
    sent_again: int
    refused: int


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A peer's request for our commitment.

    `reuses_uid` is True if the peer used its transaction UID for another request before.
    """

    peer: str
    transaction_uid: str
    instances: tuple[InstanceName, ...]
    reuses_uid: bool


@dataclass(frozen=True, slots=True)
class KeptFile:
    """The file of one revision of a received instance, with its SOP class and its digest."""

    sop_class_uid: str
    spool_path: str
    sha256: str
