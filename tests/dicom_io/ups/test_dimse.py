"""A worklist manager over DIMSE: each request, and bad, slow, partial and lying answers."""

import dataclasses
import time
from collections.abc import Callable, Iterator

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid

from dicom_io.send.association import Destination, Timeouts
from dicom_io.ups import messages
from dicom_io.ups.dimse import DimseManager
from dicom_io.ups.errors import (
    AlreadyInProgressError,
    FinalStateError,
    ManagerAnswerError,
    ManagerConfigurationError,
    ManagerUnreachableError,
    NotInProgressError,
    TransactionUidError,
    UnknownWorkitemError,
    WorkitemClosedError,
)
from dicom_io.ups.manager import WorklistManager
from dicom_io.ups.workitems import (
    Code,
    ObjectReference,
    Performed,
    SeriesReference,
    StepPriority,
    StepState,
    WorkitemFilter,
)
from tests.servers.worklist.dimse_manager import (
    PUSH,
    DimseWorklist,
    running_manager,
)
from tests.servers.worklist.steps import Fate, chest_step, code
from tests.tools.ports import HOST, free_port

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
QUICK = Timeouts(connect=2.0, association=2.0, response=0.5, network=2.0)


@pytest.fixture
def worklist() -> Iterator[DimseWorklist]:
    with running_manager() as running:
        yield running


@pytest.fixture
def manager(worklist: DimseWorklist) -> Iterator[DimseManager]:
    with DimseManager(destination(worklist.port)) as opened:
        yield opened


def destination(port: int, timeouts: Timeouts = QUICK) -> Destination:
    return Destination("RIS", "WORKLIST", HOST, port, "CXRD", timeouts)


def step(**options: str) -> Dataset:
    return chest_step(STUDY, {SERIES: [(CR, FILM)]}, **options)


def claimed(worklist: DimseWorklist, manager: DimseManager) -> str:
    uid = worklist.schedule(step())
    manager.claim(uid, OURS)
    return uid


def test_it_is_a_worklist_manager(manager: DimseManager) -> None:
    checked: WorklistManager = manager
    assert checked.probe() == "offers UPS Pull and UPS Watch"


def test_workitems_are_found_by_label_code_and_state(
    worklist: DimseWorklist, manager: DimseManager
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


def test_a_workitem_is_read_whole(worklist: DimseWorklist, manager: DimseManager) -> None:
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
    worklist: DimseWorklist, manager: DimseManager
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
    worklist: DimseWorklist, manager: DimseManager
) -> None:
    uid = claimed(worklist, manager)
    manager.cancel(uid, OURS, Code("110514", "DCM", "Incorrect worklist entry"), "no chest film")
    assert worklist.states_of(uid)[-1] == "CANCELED"
    assert manager.get(uid).cancel_reason == "no chest film"


def test_each_change_may_be_repeated(worklist: DimseWorklist, manager: DimseManager) -> None:
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
    worklist: DimseWorklist, manager: DimseManager, operation: str, fate: Fate
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
    worklist: DimseWorklist, manager: DimseManager
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


def test_each_refusal_has_its_error(worklist: DimseWorklist, manager: DimseManager) -> None:
    with pytest.raises(UnknownWorkitemError, match="it has no such workitem"):
        manager.get("1.2.3.999")
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
    worklist.fates += [("progress", 0x0110), ("progress", 0x0124)]
    with pytest.raises(ManagerUnreachableError, match=r"processing failure \(0x0110\)"):
        manager.progress(uid, OURS, 10)
    with pytest.raises(ManagerConfigurationError, match="not authorised"):
        manager.progress(uid, OURS, 10)


def test_events_are_subscribed_to_at_known_managers(
    worklist: DimseWorklist, manager: DimseManager
) -> None:
    with pytest.raises(ManagerConfigurationError, match="does not know the receiving AE title"):
        manager.subscribe()
    worklist.addresses["CXRD"] = (HOST, free_port())
    manager.subscribe()
    assert worklist.global_subscribers == {"CXRD"}
    uid = worklist.schedule(step())
    manager.unsubscribe(uid)
    assert worklist.steps[uid].subscribers == set()
    manager.unsubscribe()
    assert worklist.global_subscribers == set()


def test_a_manager_that_is_not_there_is_unreachable() -> None:
    with (
        DimseManager(destination(free_port())) as manager,
        pytest.raises(ManagerUnreachableError, match="no connection to RIS"),
    ):
        manager.find(WorkitemFilter())


def test_a_node_without_the_service_is_a_fault_of_the_configuration() -> None:
    with (
        running_manager(classes=(PUSH,)) as worklist,
        DimseManager(destination(worklist.port)) as manager,
        pytest.raises(ManagerConfigurationError, match="does not offer UPS Pull to CXRD"),
    ):
        manager.probe()


def test_a_silent_manager_costs_the_timeout_alone(
    worklist: DimseWorklist, manager: DimseManager
) -> None:
    uid = worklist.schedule(step())
    worklist.seconds_before_answer = 3.0
    started = time.monotonic()
    with pytest.raises(ManagerUnreachableError, match="gave no answer in time"):
        manager.get(uid)
    assert time.monotonic() - started < 2.5


def test_endless_answers_are_cut_off(worklist: DimseWorklist) -> None:
    worklist.raw_find_answers = [step()]
    worklist.raw_find_answers[0].SOPInstanceUID = "1.2.3"
    worklist.raw_find_answers[0].WorklistLabel = "OTHER"
    worklist.endless_answers = True
    with (
        DimseManager(destination(worklist.port), find_seconds=0.5) as manager,
        pytest.raises(ManagerUnreachableError, match="still answering a search after"),
    ):
        manager.find(WorkitemFilter(worklist_label="AI"))


def test_a_search_ends_at_its_limit(worklist: DimseWorklist, manager: DimseManager) -> None:
    for _ in range(5):
        worklist.schedule(step())
    assert len(manager.find(WorkitemFilter(limit=3))) == 3
    assert len(manager.find(WorkitemFilter())) == 5


@pytest.mark.parametrize(
    ("keyword", "value", "problem"),
    [
        ("SOPInstanceUID", "", "without a valid SOPInstanceUID"),
        ("ProcedureStepState", "DOING", "whose state cannot be read"),
    ],
)
def test_a_malformed_answer_names_the_manager(
    worklist: DimseWorklist, manager: DimseManager, keyword: str, value: str, problem: str
) -> None:
    answer = step()
    answer.SOPInstanceUID = str(generate_uid())
    setattr(answer, keyword, value)
    worklist.raw_find_answers = [answer]
    with pytest.raises(ManagerAnswerError, match=f"RIS: it gave a workitem {problem}"):
        manager.find(WorkitemFilter())


def test_a_workitem_with_a_broken_reference_is_refused(
    worklist: DimseWorklist, manager: DimseManager
) -> None:
    ds = step()
    ds.InputInformationSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = ""
    uid = worklist.schedule(ds)
    with pytest.raises(ManagerAnswerError, match="without a valid ReferencedSOPInstanceUID"):
        manager.get(uid)


def test_a_lost_association_is_opened_again(worklist: DimseWorklist, manager: DimseManager) -> None:
    uid = worklist.schedule(step())
    worklist.fates.append(("get", Fate.DIES_BEFORE))
    with pytest.raises(ManagerUnreachableError):
        manager.get(uid)
    assert manager.get(uid).uid == uid


def test_a_workitem_for_a_station_is_found_by_its_code(
    worklist: DimseWorklist, manager: DimseManager
) -> None:
    uid = worklist.schedule(step())
    worklist.schedule(step())
    worklist.assign(uid, code("CXRD"))
    (found,) = manager.find(WorkitemFilter(station_names=(Code("CXRD", "99TEST"),)))
    assert found.uid == uid


def test_an_answer_without_end_is_cut_off(
    worklist: DimseWorklist, manager: DimseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "MAX_ANSWER_BYTES", 100_000)
    films = [(CR, f"1.2.3.1.1.{number}") for number in range(2000)]
    uid = worklist.schedule(chest_step(STUDY, {SERIES: films}))
    with pytest.raises(ManagerAnswerError, match="RIS: it sends an answer of more than"):
        manager.get(uid)
    monkeypatch.setattr(messages, "MAX_ANSWERS_BYTES", 5_000)
    worklist.steps.clear()
    for _ in range(20):
        worklist.schedule(step())
    with pytest.raises(ManagerAnswerError, match="MB to one request"):
        manager.find(WorkitemFilter())
