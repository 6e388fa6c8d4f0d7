"""The workitems of a test's worklist manager, after PS3.4 table CC.1.1-2 to the letter."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto

from pydicom import Dataset
from pydicom.uid import generate_uid

GLOBAL = "1.2.840.10008.5.1.4.34.5"
STATE_REPORT, CANCEL_REQUESTED, PROGRESS_REPORT, STATUS_CHANGE, ASSIGNED = 1, 2, 3, 4, 5


class RefusedError(Exception):
    """A failure or warning status of the standard."""

    def __init__(self, status: int) -> None:
        super().__init__(f"0x{status:04X}")
        self.status = status


class Fate(Enum):
    """The fault of one operation of the manager."""

    DIES_BEFORE = auto()
    """It ends the connection and does nothing."""
    DIES_AFTER = auto()
    """It carries the operation out and ends the connection without an answer."""
    LIES = auto()
    """It answers with success and does nothing."""


class ConnectionEndsError(Exception):
    """The manager ends the connection instead of giving an answer."""


@dataclass
class Step:
    """One workitem."""

    uid: str
    ds: Dataset
    transaction_uid: str = ""
    subscribers: set[str] = field(default_factory=set)

    @property
    def state(self) -> str:
        return str(self.ds.ProcedureStepState)

    @property
    def outputs(self) -> set[str]:
        """The SOP Instance UIDs of the results that the performer named."""
        return {
            str(reference.ReferencedSOPInstanceUID)
            for performed in self.ds.get("UnifiedProcedureStepPerformedProcedureSequence") or ()
            for series in performed.get("OutputInformationSequence") or ()
            for reference in series.get("ReferencedSOPSequence") or ()
        }


def code(value: str, scheme: str = "99TEST", meaning: str = "") -> Dataset:
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = value, scheme, meaning or value
    return ds


def chest_step(
    study_uid: str,
    series: dict[str, list[tuple[str, str]]],
    *,
    label: str = "AI",
    retrieve_ae: str = "ARCHIVE",
    patient_id: str = "PAT1",
    accession: str = "ACC1",
    priority: str = "MEDIUM",
    retrieve_url: str = "",
) -> Dataset:
    """Return the attributes of a new workitem; `series` has (class, instance) by series UID."""
    ds = Dataset()
    ds.ScheduledProcedureStepPriority = priority
    ds.ProcedureStepLabel = "Chest film analysis"
    ds.WorklistLabel = label
    ds.ScheduledProcessingParametersSequence = []
    ds.ScheduledStationNameCodeSequence = []
    ds.ScheduledStationClassCodeSequence = []
    ds.ScheduledStationGeographicLocationCodeSequence = []
    ds.ScheduledProcedureStepStartDateTime = "20260101080000"
    ds.ScheduledWorkitemCodeSequence = [code("CXR-AI", meaning="Chest X-ray analysis")]
    ds.CommentsOnTheScheduledProcedureStep = ""
    ds.InputReadinessState = "READY"
    ds.InputInformationSequence = []
    for series_uid, instances in series.items():
        item = Dataset()
        item.TypeOfInstances = "DICOM"
        item.StudyInstanceUID, item.SeriesInstanceUID = study_uid, series_uid
        item.ReferencedSOPSequence = []
        for sop_class, instance in instances:
            reference = Dataset()
            reference.ReferencedSOPClassUID = sop_class
            reference.ReferencedSOPInstanceUID = instance
            item.ReferencedSOPSequence.append(reference)
        if retrieve_ae:
            source = Dataset()
            source.RetrieveAETitle = retrieve_ae
            item.DICOMRetrievalSequence = [source]
        if retrieve_url:
            source = Dataset()
            source.RetrieveURL = retrieve_url
            item.WADORSRetrievalSequence = [source]
        ds.InputInformationSequence.append(item)
    ds.StudyInstanceUID = study_uid
    ds.PatientName, ds.PatientID = "Test^Patient", patient_id
    ds.PatientBirthDate, ds.PatientSex = "19600101", "F"
    ds.AdmissionID = ""
    ds.IssuerOfAdmissionIDSequence = []
    ds.AdmittingDiagnosesDescription = ""
    ds.AdmittingDiagnosesCodeSequence = []
    request = Dataset()
    request.StudyInstanceUID = study_uid
    request.AccessionNumber = accession
    request.RequestedProcedureID = "RP1"
    request.RequestedProcedureDescription = "Chest PA"
    request.RequestedProcedureCodeSequence = []
    ds.ReferencedRequestSequence = [request]
    ds.ProcedureStepState = "SCHEDULED"
    ds.ProcedureStepProgressInformationSequence = []
    ds.UnifiedProcedureStepPerformedProcedureSequence = []
    return ds


class Worklist:
    """All workitems of a manager; thread-safe.

    `transitions` lists each change of a state as (UID, state), `refusals` (operation, status).
    `fates` are consumed one by one by the operations that they name. `hook` is called with an
    operation and "before" or "after" it is carried out, and may wait, or kill a performer.
    `on_event` is called with receivers, UID, event type and information.
    """

    def __init__(self) -> None:
        self.steps: dict[str, Step] = {}
        self.transitions: list[tuple[str, str]] = []
        self.refusals: list[tuple[str, int]] = []
        self.operations: list[str] = []
        self.fates: list[tuple[str, Fate | int]] = []
        self.hook: Callable[[str, str], None] = lambda _operation, _moment: None
        self.on_event: Callable[[set[str], str, int, Dataset], None] = lambda *_: None
        self.global_subscribers: set[str] = set()
        self._lock = threading.RLock()

    @contextmanager
    def operation(self, name: str) -> Iterator[bool]:
        """Carry an operation out, unless its fate differs: yields False if it is to do nothing."""
        self.operations.append(name)
        self.hook(name, "before")
        fate = self._fate(name)
        if isinstance(fate, int):
            raise RefusedError(fate)
        if fate is Fate.DIES_BEFORE:
            raise ConnectionEndsError
        try:
            yield fate is not Fate.LIES
        except RefusedError as refused:
            self.refusals.append((name, refused.status))
            raise
        self.hook(name, "after")
        if fate is Fate.DIES_AFTER:
            raise ConnectionEndsError

    def schedule(self, ds: Dataset, uid: str = "") -> str:
        """Create a workitem and return its UID."""
        with self._lock:
            uid = uid or str(generate_uid())
            if uid in self.steps:
                raise RefusedError(0x0111)
            if ds.ProcedureStepState != "SCHEDULED":
                raise RefusedError(0xC309)
            kept = deepcopy(ds)
            kept.SOPClassUID, kept.SOPInstanceUID = "1.2.840.10008.5.1.4.34.6.1", uid
            step = self.steps[uid] = Step(uid, kept, subscribers=set(self.global_subscribers))
            self.transitions.append((uid, "SCHEDULED"))
            self._report_state(step)
            return uid

    def get(self, uid: str) -> Dataset:
        with self._lock:
            return deepcopy(self._step(uid).ds)

    def search(self, query: Dataset) -> list[Dataset]:
        with self._lock:
            return [step.ds for step in self.steps.values() if _matches(step.ds, query)]

    def update(self, uid: str, changes: Dataset) -> None:
        """N-SET: the performer's changes."""
        with self._lock:
            step = self._step(uid)
            if step.state in ("COMPLETED", "CANCELED"):
                raise RefusedError(0xC300)
            transaction = str(changes.get("TransactionUID") or "")
            if step.state == "IN PROGRESS" and transaction != step.transaction_uid:
                raise RefusedError(0xC301)
            if step.state == "SCHEDULED" and transaction:
                raise RefusedError(0xC310)
            if "ProcedureStepState" in changes:
                raise RefusedError(0x0106)
            changes = deepcopy(changes)
            changes.pop("TransactionUID", None)
            step.ds.update(changes)
            if "ProcedureStepProgressInformationSequence" in changes:
                self._report(step, PROGRESS_REPORT, changes)

    def change_state(self, uid: str, wanted: str, transaction: str) -> None:
        """N-ACTION type 1."""
        with self._lock:
            step = self._step(uid)
            if wanted not in ("IN PROGRESS", "COMPLETED", "CANCELED"):
                raise RefusedError(0xC303)
            if not transaction:
                raise RefusedError(0xC301)
            if step.state == "SCHEDULED":
                if wanted != "IN PROGRESS":
                    raise RefusedError(0xC310)
                step.transaction_uid = transaction
                self._set_state(step, wanted)
                return
            if transaction != step.transaction_uid:
                raise RefusedError(0xC301)
            if step.state == "IN PROGRESS":
                if wanted == "IN PROGRESS":
                    raise RefusedError(0xC302)
                if not _may_end(step.ds, wanted):
                    raise RefusedError(0xC304)
                self._set_state(step, wanted)
            elif step.state == wanted:
                raise RefusedError(0xB306 if wanted == "COMPLETED" else 0xB304)
            else:
                raise RefusedError(0xC300)

    def request_cancel(self, uid: str, requester: str, information: Dataset) -> None:
        """N-ACTION type 2."""
        with self._lock:
            step = self._step(uid)
            if step.state == "COMPLETED":
                raise RefusedError(0xC311)
            if step.state == "CANCELED":
                raise RefusedError(0xB304)
            if step.state == "SCHEDULED":
                self._set_state(step, "IN PROGRESS")
                self._set_state(step, "CANCELED")
                return
            event = deepcopy(information)
            event.RequestingAE = requester
            self._report(step, CANCEL_REQUESTED, event)

    def take_back(self, uid: str) -> None:
        """Cancel a workitem in progress on the manager's own account (PS3.4 CC.2.1.3)."""
        with self._lock:
            self._set_state(self._step(uid), "CANCELED")

    def subscribe(self, uid: str, receiver: str) -> None:
        """N-ACTION type 3 without a deletion lock."""
        with self._lock:
            if uid == GLOBAL:
                self.global_subscribers.add(receiver)
                for step in self.steps.values():
                    step.subscribers.add(receiver)
                return
            step = self._step(uid)
            step.subscribers.add(receiver)
            self._report_state(step)

    def unsubscribe(self, uid: str, receiver: str) -> None:
        """N-ACTION type 4."""
        with self._lock:
            if uid == GLOBAL:
                self.global_subscribers.discard(receiver)
                for step in self.steps.values():
                    step.subscribers.discard(receiver)
                return
            self._step(uid).subscribers.discard(receiver)

    def assign(self, uid: str, station: Dataset) -> None:
        """Name the station that is to perform a workitem."""
        with self._lock:
            step = self._step(uid)
            step.ds.ScheduledStationNameCodeSequence = [station]
            event = Dataset()
            event.ScheduledStationNameCodeSequence = [station]
            self._report(step, ASSIGNED, event)

    def states_of(self, uid: str) -> list[str]:
        """Return every state that a workitem has had, in order."""
        with self._lock:
            return [state for found, state in self.transitions if found == uid]

    def _step(self, uid: str) -> Step:
        if uid not in self.steps:
            raise RefusedError(0xC307)
        return self.steps[uid]

    def _fate(self, name: str) -> Fate | int | None:
        with self._lock:
            for index, (operation, fate) in enumerate(self.fates):
                if operation == name:
                    del self.fates[index]
                    return fate
        return None

    def _set_state(self, step: Step, state: str) -> None:
        step.ds.ProcedureStepState = state
        self.transitions.append((step.uid, state))
        self._report_state(step)

    def _report_state(self, step: Step) -> None:
        event = Dataset()
        event.ProcedureStepState = step.state
        event.InputReadinessState = step.ds.InputReadinessState
        self._report(step, STATE_REPORT, event)

    def _report(self, step: Step, kind: int, event: Dataset) -> None:
        if step.subscribers:
            self.on_event(set(step.subscribers), step.uid, kind, event)


def _may_end(ds: Dataset, state: str) -> bool:
    """Check the final state requirements (column Final State of table CC.2.5-3)."""
    if state == "CANCELED":
        progress = list(ds.get("ProcedureStepProgressInformationSequence") or ())
        if not progress or not progress[0].get("ProcedureStepDiscontinuationReasonCodeSequence"):
            return False
        if not progress[0].get("ProcedureStepCancellationDateTime"):
            now = datetime.now().strftime("%Y%m%d%H%M%S")  # noqa: DTZ005
            progress[0].ProcedureStepCancellationDateTime = now
        return True
    performed = list(ds.get("UnifiedProcedureStepPerformedProcedureSequence") or ())
    return bool(performed) and all(
        performed[0].get(keyword)
        for keyword in (
            "PerformedStationNameCodeSequence",
            "PerformedProcedureStepStartDateTime",
            "PerformedWorkitemCodeSequence",
            "PerformedProcedureStepEndDateTime",
            "OutputInformationSequence",
        )
    )


def _matches(ds: Dataset, query: Dataset) -> bool:
    for element in query:
        wanted, found = element.value, ds.get(element.keyword)
        if element.VR == "SQ":
            key = wanted[0] if wanted else Dataset()
            if any(each.value for each in key) and not any(
                _matches(item, key) for item in found or ()
            ):
                return False
        elif element.keyword in ("SpecificCharacterSet", "CodeMeaning") or not wanted:
            continue
        elif element.VR == "DT" and "-" in str(wanted):
            first, _, last = str(wanted).partition("-")
            if not (first <= str(found) <= (last or "9")):
                return False
        elif str(found) != str(wanted):
            return False
    return True
