"""Each request of a performer, to a manager over DIMSE and to one over the web."""

import dataclasses
from collections.abc import Callable, Iterator

import pytest
from pydicom import Dataset

from dicom_io.http.client import Endpoint
from dicom_io.send.association import Destination
from dicom_io.ups.dimse import DimseManager
from dicom_io.ups.errors import (
    AlreadyInProgressError,
    FinalStateError,
    ManagerAnswerError,
    ManagerUnreachableError,
    NotInProgressError,
    TransactionUidError,
    UnknownWorkitemError,
    WorkitemClosedError,
)
from dicom_io.ups.manager import WorklistManager
from dicom_io.ups.web import WebManager
from dicom_io.ups.workitems import (
    Code,
    ObjectReference,
    Performed,
    SeriesReference,
    StepPriority,
    StepState,
    WorkitemFilter,
)
from tests.servers.worklist.dimse_manager import running_manager
from tests.servers.worklist.steps import Fate, Worklist, chest_step, code
from tests.servers.worklist.web_manager import running_web_manager
from tests.tools.ports import HOST

pytestmark = pytest.mark.network

CR = "1.2.840.10008.5.1.4.1.1.1"
SR = "1.2.840.10008.5.1.4.1.1.88.34"
STUDY, SERIES, FILM = "1.2.3.1", "1.2.3.1.1", "1.2.3.1.1.1"
OURS, OTHERS = "2.25.111", "2.25.222"
PERFORMED = Performed(
    station_name=Code("CXRD", "99CXRD", "cxrd"),
    codes=(Code("CXR-AI", "99TEST", "Röntgen-Analyse"),),
    started="20260101090000+0100",
    ended="20260101090010+0100",
    outputs=(
        SeriesReference("1.2.3.1", "1.2.3.1.9", (ObjectReference(SR, "1.2.3.1.9.1"),), ("PACS",)),
    ),
)


@pytest.fixture(params=["dimse", "web"])
def both(request: pytest.FixtureRequest) -> Iterator[tuple[Worklist, WorklistManager]]:
    if request.param == "dimse":
        with running_manager() as worklist:
            destination = Destination("RIS", "WORKLIST", HOST, worklist.port, "CXRD")
            with DimseManager(destination) as manager:
                yield worklist, manager
        return
    with running_web_manager() as on_web, WebManager(Endpoint("RIS", on_web.url)) as manager:
        yield on_web, manager


@pytest.fixture
def worklist(both: tuple[Worklist, WorklistManager]) -> Worklist:
    return both[0]


@pytest.fixture
def manager(both: tuple[Worklist, WorklistManager]) -> WorklistManager:
    return both[1]


def step(**options: str) -> Dataset:
    return chest_step(STUDY, {SERIES: [(CR, FILM)]}, **options)


def claimed(worklist: Worklist, manager: WorklistManager) -> str:
    uid = worklist.schedule(step())
    manager.claim(uid, OURS)
    return uid


def test_workitems_are_found_by_label_code_and_state(
    worklist: Worklist, manager: WorklistManager
) -> None:
    ours = worklist.schedule(step(label="AI", priority="HIGH"))
    worklist.schedule(step(label="READING"))
    taken = worklist.schedule(step(label="AI"))
    worklist.change_state(taken, "IN PROGRESS", OTHERS)
    (found,) = manager.find(WorkitemFilter(worklist_label="AI"))
    assert (found.uid, found.priority, found.patient_id) == (ours, StepPriority.HIGH, "PAT1")
    assert found.codes == (Code("CXR-AI", "99TEST", "Chest X-ray analysis"),)
    one = WorkitemFilter(codes=(Code("CXR-AI", "99TEST"),), worklist_label="AI")
    two = dataclasses.replace(one, codes=(*one.codes, Code("CT-AI", "99TEST")))
    other = dataclasses.replace(one, codes=(Code("CT-AI", "99TEST"),))
    assert [len(manager.find(wanted)) for wanted in (one, two, other)] == [1, 1, 0]
    assert [each.uid for each in manager.find(WorkitemFilter(state=StepState.IN_PROGRESS))] == [
        taken
    ]


def test_a_workitem_is_read_whole(worklist: Worklist, manager: WorklistManager) -> None:
    uid = worklist.schedule(step())
    details = manager.get(uid)
    assert (details.uid, details.state) == (uid, StepState.SCHEDULED)
    assert details.inputs == (
        SeriesReference(STUDY, SERIES, (ObjectReference(CR, FILM),), ("ARCHIVE",)),
    )
    assert (details.patient.patient_id, details.patient.sex) == ("PAT1", "F")
    (request,) = details.requests
    assert (request.accession_number, request.study_uid) == ("ACC1", STUDY)
    assert details.outputs == ()


def test_a_workitem_is_claimed_performed_and_completed(
    worklist: Worklist, manager: WorklistManager
) -> None:
    uid = claimed(worklist, manager)
    manager.progress(uid, OURS, 50.0, "läuft")
    assert manager.get(uid).progress_description == "läuft"
    manager.set_performed(uid, OURS, PERFORMED)
    manager.complete(uid, OURS)
    assert worklist.states_of(uid) == ["SCHEDULED", "IN PROGRESS", "COMPLETED"]
    assert worklist.steps[uid].outputs == {"1.2.3.1.9.1"}
    assert manager.get(uid).outputs == PERFORMED.outputs
    assert worklist.refusals == []


def test_a_workitem_is_cancelled_with_a_reason(
    worklist: Worklist, manager: WorklistManager
) -> None:
    uid = claimed(worklist, manager)
    manager.cancel(uid, OURS, Code("110514", "DCM", "Incorrect worklist entry"), "no chest film")
    assert worklist.states_of(uid)[-1] == "CANCELED"
    assert manager.get(uid).cancel_reason == "no chest film"


def test_each_change_may_be_repeated(worklist: Worklist, manager: WorklistManager) -> None:
    uid = claimed(worklist, manager)
    manager.claim(uid, OURS)
    for _ in range(2):
        manager.set_performed(uid, OURS, PERFORMED)
    for _ in range(2):
        manager.complete(uid, OURS)
    other = claimed(worklist, manager)
    for _ in range(2):
        manager.cancel(other, OURS)
    assert worklist.states_of(uid) == ["SCHEDULED", "IN PROGRESS", "COMPLETED"]
    assert worklist.states_of(other) == ["SCHEDULED", "IN PROGRESS", "CANCELED"]


@pytest.mark.parametrize("operation", ["claim", "performed", "complete", "cancel"])
@pytest.mark.parametrize("fate", [Fate.DIES_BEFORE, Fate.DIES_AFTER])
def test_a_change_whose_answer_is_lost_is_repeated_once(
    worklist: Worklist, manager: WorklistManager, operation: str, fate: Fate
) -> None:
    uid = worklist.schedule(step())
    steps: dict[str, Callable[[], None]] = {
        "claim": lambda: manager.claim(uid, OURS),
        "performed": lambda: manager.set_performed(uid, OURS, PERFORMED),
        "complete": lambda: manager.complete(uid, OURS),
        "cancel": lambda: manager.cancel(uid, OURS),
    }
    last = "CANCELED" if operation == "cancel" else "COMPLETED"
    steps.pop("complete" if operation == "cancel" else "cancel")
    for name, act in steps.items():
        if name == operation:
            worklist.fates.append((operation, fate))
            with pytest.raises(ManagerUnreachableError):
                act()
        act()
    assert worklist.states_of(uid) == ["SCHEDULED", "IN PROGRESS", last]


def test_what_another_performer_holds_cannot_be_touched(
    worklist: Worklist, manager: WorklistManager
) -> None:
    uid = worklist.schedule(step())
    worklist.change_state(uid, "IN PROGRESS", OTHERS)
    with pytest.raises(AlreadyInProgressError):
        manager.claim(uid, OURS)
    with pytest.raises(TransactionUidError):
        manager.progress(uid, OURS, 10)
    with pytest.raises(TransactionUidError):
        manager.complete(uid, OURS)
    worklist.fates.append(("claim", 0xC302))
    with pytest.raises(AlreadyInProgressError):
        manager.claim(uid, OURS)
    assert worklist.states_of(uid) == ["SCHEDULED", "IN PROGRESS"]


def test_a_search_ends_at_its_limit(worklist: Worklist, manager: WorklistManager) -> None:
    for _ in range(5):
        worklist.schedule(step())
    assert len(manager.find(WorkitemFilter(limit=3))) == 3
    assert len(manager.find(WorkitemFilter())) == 5


def test_a_workitem_with_a_broken_reference_is_refused(
    worklist: Worklist, manager: WorklistManager
) -> None:
    ds = step()
    ds.InputInformationSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = ""
    uid = worklist.schedule(ds)
    with pytest.raises(ManagerAnswerError, match="without a valid ReferencedSOPInstanceUID"):
        manager.get(uid)


def test_a_lost_association_is_opened_again(worklist: Worklist, manager: WorklistManager) -> None:
    uid = worklist.schedule(step())
    worklist.fates.append(("get", Fate.DIES_BEFORE))
    with pytest.raises(ManagerUnreachableError):
        manager.get(uid)
    assert manager.get(uid).uid == uid


def test_a_workitem_for_a_station_is_found_by_its_code(
    worklist: Worklist, manager: WorklistManager
) -> None:
    uid = worklist.schedule(step())
    worklist.schedule(step())
    worklist.assign(uid, code("CXRD"))
    (found,) = manager.find(WorkitemFilter(station_names=(Code("CXRD", "99TEST"),)))
    assert found.uid == uid


def test_each_refusal_has_its_error(worklist: Worklist, manager: WorklistManager) -> None:
    with pytest.raises(UnknownWorkitemError, match="it has no such workitem"):
        manager.get("1.2.3.999")
    with pytest.raises(UnknownWorkitemError):
        manager.claim("1.2.3.999", OURS)
    unclaimed = worklist.schedule(step())
    with pytest.raises(NotInProgressError):
        manager.progress(unclaimed, OURS, 10)
    with pytest.raises(NotInProgressError):
        manager.complete(unclaimed, OURS)
    uid = claimed(worklist, manager)
    with pytest.raises(FinalStateError):
        manager.complete(uid, OURS)
    worklist.take_back(uid)
    with pytest.raises(WorkitemClosedError):
        manager.complete(uid, OURS)
    with pytest.raises(WorkitemClosedError):
        manager.progress(uid, OURS, 10)
    with pytest.raises(WorkitemClosedError):
        manager.claim(uid, OURS)


def test_more_workitems_than_one_page_are_found(
    worklist: Worklist, manager: WorklistManager
) -> None:
    uids = {worklist.schedule(step()) for _ in range(130)}
    found = manager.find(WorkitemFilter(limit=1000))
    assert {each.uid for each in found} == uids
