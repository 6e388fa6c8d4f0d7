"""A worklist manager over DIMSE: each request, and bad, slow, partial and lying answers."""

import time
from collections.abc import Iterator

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid

from dicom_io.send.association import Destination, Timeouts
from dicom_io.ups import messages
from dicom_io.ups.dimse import DimseManager
from dicom_io.ups.errors import (
    ManagerAnswerError,
    ManagerConfigurationError,
    ManagerUnreachableError,
)
from dicom_io.ups.manager import WorklistManager
from dicom_io.ups.workitems import (
    WorkitemFilter,
)
from tests.servers.worklist.dimse_manager import (
    PUSH,
    DimseWorklist,
    running_manager,
)
from tests.servers.worklist.steps import chest_step
from tests.tools.ports import HOST, free_port

pytestmark = pytest.mark.network

CR = "1.2.840.10008.5.1.4.1.1.1"
STUDY, SERIES, FILM = "1.2.3.1", "1.2.3.1.1", "1.2.3.1.1.1"
OURS = "2.25.111"
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


def test_a_status_that_is_no_matter_of_the_workitem_has_its_error(
    worklist: DimseWorklist, manager: DimseManager
) -> None:
    uid = claimed(worklist, manager)
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


def test_an_answer_without_end_is_cut_off(
    worklist: DimseWorklist, manager: DimseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "MAX_ANSWER_BYTES", 50_000)
    films = [(CR, f"1.2.3.1.1.{number}") for number in range(1000)]
    uid = worklist.schedule(chest_step(STUDY, {SERIES: films}))
    with pytest.raises(ManagerAnswerError, match="RIS: it sends an answer of more than"):
        manager.get(uid)
    monkeypatch.setattr(messages, "MAX_ANSWERS_BYTES", 5_000)
    worklist.steps.clear()
    for _ in range(20):
        worklist.schedule(step())
    with pytest.raises(ManagerAnswerError, match="MB to one request"):
        manager.find(WorkitemFilter())
