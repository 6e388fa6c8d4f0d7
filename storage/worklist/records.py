"""The value objects of workitems."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from storage.records import ObjectRecord, Priority, StudyHold, StudyKey, StudyStatus


class WorkitemState(StrEnum):
    """The states of a workitem here. Each is committed before the message that it names is sent.

    found → claiming → in_progress → completing → completed
                ↓           └──────→ canceling  → canceled
             dropped
    """

    FOUND = "found"
    CLAIMING = "claiming"
    IN_PROGRESS = "in_progress"
    COMPLETING = "completing"
    CANCELING = "canceling"
    COMPLETED = "completed"
    CANCELED = "canceled"
    DROPPED = "dropped"  # another performer has it, or the manager ended it

    @property
    def is_final(self) -> bool:
        """True if the workitem has ended here."""
        return self in _FINAL


_FINAL = frozenset({WorkitemState.COMPLETED, WorkitemState.CANCELED, WorkitemState.DROPPED})


@dataclass(frozen=True, slots=True)
class WorkitemInput:
    """An instance that a workitem names as its input, or a whole series or study.

    The UIDs of what is not named are ''. `place` is the AE title or the URL that keeps it.
    """

    study_instance_uid: str
    series_instance_uid: str = ""
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True)
class WorkitemOutput:
    """An object made for a workitem, by the UIDs under which the destinations keep it."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    destinations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NewWorkitem:
    """A workitem of a manager that this node may perform.

    `transaction_uid` is the one with which it will be claimed. `attributes` is the data set of a
    workitem that a peer created here.
    """

    manager: str
    uid: str
    transaction_uid: str
    study: StudyKey
    inputs: tuple[WorkitemInput, ...] = ()
    priority: Priority = Priority.ROUTINE
    attributes: bytes | None = None


@dataclass(frozen=True, slots=True)
class Workitem:
    """A workitem as it is recorded here.

    `reason_code` and `reason` say why it is canceled or was dropped.
    """

    id: int
    manager: str
    uid: str
    state: WorkitemState
    transaction_uid: str
    study: StudyKey
    inputs: tuple[WorkitemInput, ...]
    outputs: tuple[WorkitemOutput, ...]
    reason_code: str
    reason: str
    priority: Priority
    cancel_requested_at: datetime | None
    found_at: datetime
    claimed_at: datetime | None
    ended_at: datetime | None
    updated_at: datetime

    @property
    def subject(self) -> str:
        """The subject of the PERFORM job."""
        return subject_of_workitem(self.manager, self.uid)


@dataclass(frozen=True, slots=True)
class PushedWorkitem:
    """A workitem that a peer created here, with its data set as it was created."""

    item: Workitem
    attributes: bytes


def subject_of_workitem(manager: str, uid: str) -> str:
    """Return the subject of the PERFORM job of a workitem. A UID has no @."""
    return f"{uid}@{manager}"


@dataclass(frozen=True, slots=True)
class DeliveredObject:
    """An object of a study that destinations have: `kept_uid` is its UID there.

    `sop_class_uid` is the class as which it was sent.
    """

    record: ObjectRecord
    kept_uid: str
    sop_class_uid: str
    destinations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StudyProgress:
    """The progress of the study of a workitem.

    Attributes:
        missing: the inputs that are not here; all of them if the study has no film here.
        is_working: True while an analysis, a report or a delivery is queued or running.
        hold: why the study is in doubt, if it is.
        parked: kind and reason of its parked jobs.
        status: the result of its last report; None before the first.
        detail: the reason for that status.
        delivered: the objects of its valid results that the destinations have.
    """

    missing: tuple[WorkitemInput, ...]
    is_working: bool
    hold: StudyHold | None
    parked: tuple[str, ...]
    status: StudyStatus | None
    detail: str
    delivered: tuple[DeliveredObject, ...]

    @property
    def is_delivered(self) -> bool:
        """True if the report is made, and the destinations have all of it."""
        is_blocked = self.missing or self.is_working or self.hold is not None or self.parked
        return bool(self.delivered) and not is_blocked


@dataclass(frozen=True, slots=True)
class Worklist:
    """The last look at the worklist of a manager, and its fault."""

    name: str
    asked_at: datetime | None = None
    wanted_at: datetime | None = None
    answered_at: datetime | None = None
    subscribed_at: datetime | None = None
    fault: str = ""


def encoded_inputs(inputs: Sequence[WorkitemInput]) -> list[list[str]]:
    """Return the inputs as the store keeps them."""
    return [
        [
            one.study_instance_uid,
            one.series_instance_uid,
            one.sop_class_uid,
            one.sop_instance_uid,
            one.place,
        ]
        for one in inputs
    ]


def encoded_outputs(outputs: Sequence[WorkitemOutput]) -> list[list[object]]:
    """Return the outputs as the store keeps them."""
    return [
        [
            one.study_instance_uid,
            one.series_instance_uid,
            one.sop_class_uid,
            one.sop_instance_uid,
            list(one.destinations),
        ]
        for one in outputs
    ]
