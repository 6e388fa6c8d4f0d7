"""Workitems of a worklist manager as values (PS3.3 C.30, PS3.4 table CC.2.5-3).

Texts are decoded; an absent attribute is an empty text or tuple. Date-times are DICOM DT values.
"""

from dataclasses import dataclass
from enum import StrEnum


class StepState(StrEnum):
    """Procedure Step State (0074,1000)."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"

    @property
    def is_final(self) -> bool:
        """Return True if the workitem cannot change any more."""
        return self in (StepState.COMPLETED, StepState.CANCELED)


class StepPriority(StrEnum):
    """Scheduled Procedure Step Priority (0074,1200); HIGH means STAT (PS3.3 C.30.2)."""

    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"


class Readiness(StrEnum):
    """Input Readiness State (0040,4041)."""

    INCOMPLETE = "INCOMPLETE"
    UNAVAILABLE = "UNAVAILABLE"
    READY = "READY"


@dataclass(frozen=True, slots=True)
class Code:
    """A coded value: Code Value, Coding Scheme Designator and Code Meaning."""

    value: str
    scheme: str
    meaning: str = ""

    def is_same(self, other: "Code") -> bool:
        """Return True if both codes are one concept; their meanings are for people."""
        return (self.value, self.scheme) == (other.value, other.scheme)


@dataclass(frozen=True, slots=True)
class ObjectReference:
    """An instance: SOP Class UID and SOP Instance UID."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class SeriesReference:
    """Instances of one series, as input or output of a workitem (PS3.3 table 10-3b).

    Without `instances` the whole series is meant, without `series_uid` the whole study.
    `retrieve_ae_titles` are DICOM nodes that hold them, `retrieve_urls` DICOMweb addresses.
    """

    study_uid: str
    series_uid: str = ""
    instances: tuple[ObjectReference, ...] = ()
    retrieve_ae_titles: tuple[str, ...] = ()
    retrieve_urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkitemPatient:
    """The patient of a workitem."""

    patient_id: str = ""
    issuer: str = ""
    name: str = ""
    birth_date: str = ""
    sex: str = ""


@dataclass(frozen=True, slots=True)
class RequestedProcedure:
    """An item of the Referenced Request Sequence (0040,A370): the order behind the workitem."""

    study_uid: str = ""
    accession_number: str = ""
    accession_issuer: str = ""
    placer_order_number: str = ""
    filler_order_number: str = ""
    requested_procedure_id: str = ""
    description: str = ""
    code: Code | None = None


@dataclass(frozen=True, slots=True)
class WorkitemFilter:
    """The workitems that a performer looks for; an empty field matches all.

    `codes` are Scheduled Workitem Codes, `station_names` Scheduled Station Name Codes; one of each
    is enough. `until` is the latest Scheduled Procedure Step Start DateTime, as a DT value.
    """

    state: StepState = StepState.SCHEDULED
    worklist_label: str = ""
    codes: tuple[Code, ...] = ()
    station_names: tuple[Code, ...] = ()
    patient_id: str = ""
    accession_number: str = ""
    ready_only: bool = True
    until: str = ""
    limit: int = 100


@dataclass(frozen=True, slots=True)
class FoundWorkitem:
    """A workitem as a search returns it."""

    uid: str
    state: StepState
    priority: StepPriority = StepPriority.MEDIUM
    worklist_label: str = ""
    codes: tuple[Code, ...] = ()
    station_names: tuple[Code, ...] = ()
    readiness: Readiness = Readiness.READY
    scheduled_start: str = ""
    patient_id: str = ""


@dataclass(frozen=True, slots=True)
class WorkitemDetails:
    """A workitem as its manager holds it; a manager never shows its Transaction UID.

    `progress` is a percentage. `outputs` are set once a performer has named its results.
    `cancel_reason` is the Reason For Cancellation, where the manager keeps one.
    """

    uid: str
    state: StepState
    priority: StepPriority = StepPriority.MEDIUM
    worklist_label: str = ""
    step_label: str = ""
    codes: tuple[Code, ...] = ()
    station_names: tuple[Code, ...] = ()
    readiness: Readiness = Readiness.READY
    scheduled_start: str = ""
    comments: str = ""
    patient: WorkitemPatient = WorkitemPatient()
    study_uid: str = ""
    requests: tuple[RequestedProcedure, ...] = ()
    inputs: tuple[SeriesReference, ...] = ()
    progress: float | None = None
    progress_description: str = ""
    outputs: tuple[SeriesReference, ...] = ()
    cancel_reason: str = ""


@dataclass(frozen=True, slots=True)
class Performed:
    """The work of a performer: the attributes that the final state requires.

    `started` and `ended` are DT values; `outputs` are the results, empty if there are none.
    """

    station_name: Code
    codes: tuple[Code, ...]
    started: str
    ended: str
    outputs: tuple[SeriesReference, ...] = ()
    description: str = ""


class EventKind(StrEnum):
    """Event Type of an N-EVENT-REPORT (PS3.4 table CC.2.4-1)."""

    STATE_REPORT = "STATE REPORT"
    CANCEL_REQUESTED = "CANCEL REQUESTED"
    PROGRESS_REPORT = "PROGRESS REPORT"
    MANAGER_STATUS = "MANAGER STATUS"
    ASSIGNED = "ASSIGNED"


@dataclass(frozen=True, slots=True)
class WorkitemEvent:
    """An event that a manager reports; `uid` is that of the workitem.

    `state` is set for a state report, `reason` and `reason_code` for a requested cancel,
    `station_names` for an assignment.
    """

    uid: str
    kind: EventKind
    state: StepState | None = None
    readiness: Readiness | None = None
    reason: str = ""
    reason_code: Code | None = None
    contact: str = ""
    progress: float | None = None
    station_names: tuple[Code, ...] = ()
