"""A worklist manager over the web: tokens, and bad, slow, partial and lying answers."""

import time
from collections.abc import Iterator

import pytest
from pydicom import Dataset

from dicom_io.http.client import Endpoint, HttpTimeouts
from dicom_io.ups import web
from dicom_io.ups.errors import (
    AlreadyInProgressError,
    FinalStateError,
    ManagerAnswerError,
    ManagerConfigurationError,
    ManagerUnreachableError,
    TransactionUidError,
    WorkitemClosedError,
    WorklistError,
)
from dicom_io.ups.web import WebManager
from dicom_io.ups.workitems import WorkitemFilter
from tests.servers.worklist.steps import chest_step
from tests.servers.worklist.web_manager import WebWorklist, running_web_manager
from tests.tools.ports import HOST, free_port

pytestmark = pytest.mark.network

OURS, OTHERS = "2.25.111", "2.25.222"
PROOF = "4f1c"


@pytest.fixture
def worklist() -> Iterator[WebWorklist]:
    with running_web_manager() as running:
        yield running


@pytest.fixture
def manager(worklist: WebWorklist) -> Iterator[WebManager]:
    with WebManager(endpoint(worklist)) as opened:
        yield opened


def endpoint(worklist: WebWorklist, token: str = "", seconds: float = 10.0) -> Endpoint:
    return Endpoint("RIS", worklist.url, token, timeouts=HttpTimeouts(2.0, seconds, seconds))


def step() -> Dataset:
    return chest_step("1.2.3", {"1.2.3.1": [("1.2.840.10008.5.1.4.1.1.1", "1.2.3.1.1")]})


def test_a_token_is_needed_where_the_server_asks_for_it(worklist: WebWorklist) -> None:
    worklist.token = PROOF
    with (
        WebManager(endpoint(worklist, "wrong")) as manager,
        pytest.raises(ManagerConfigurationError, match="allow it for this token") as caught,
    ):
        manager.probe()
    assert "wrong" not in str(caught.value)
    with WebManager(endpoint(worklist, PROOF)) as manager:
        assert manager.probe() == "offers UPS-RS"


def test_a_server_without_warnings_is_understood_by_the_state(
    worklist: WebWorklist, manager: WebManager
) -> None:
    worklist.has_warnings = False
    uid = worklist.schedule(step())
    worklist.change_state(uid, "IN PROGRESS", OTHERS)
    with pytest.raises(AlreadyInProgressError):
        manager.claim(uid, OURS)
    with pytest.raises(TransactionUidError):
        manager.progress(uid, OURS, 1)
    ours = worklist.schedule(step())
    manager.claim(ours, OURS)
    manager.claim(ours, OURS)
    with pytest.raises(FinalStateError):
        manager.complete(ours, OURS)
    worklist.take_back(ours)
    with pytest.raises(WorkitemClosedError, match="the workitem is CANCELED"):
        manager.complete(ours, OURS)
    assert worklist.states_of(uid) == ["SCHEDULED", "IN PROGRESS"]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (503, ManagerUnreachableError),
        (500, ManagerUnreachableError),
        (429, ManagerUnreachableError),
        (403, ManagerConfigurationError),
        (405, ManagerConfigurationError),
        (415, ManagerConfigurationError),
    ],
)
def test_each_http_status_has_its_error(
    worklist: WebWorklist, manager: WebManager, status: int, error: type[WorklistError]
) -> None:
    uid = worklist.schedule(step())
    worklist.fates.append(("claim", status))
    with pytest.raises(error, match=f"refused to hand over a workitem .HTTP {status}."):
        manager.claim(uid, OURS)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"<html>", "not JSON"),
        (b"[1, 2]", "not DICOM JSON"),
        (b'[{"00741000": {"vr": "CS", "Value": ["SCHE', "cut short"),
        (b'[{"00080018": {"vr": "UI", "Value": ["1.2.3"]}}]', "whose state cannot be read"),
        (b'[{"00741000": {"vr": "CS", "Value": ["SCHEDULED"]}}]', "a valid SOPInstanceUID"),
        (b'[{"00741000": 7}]', "not DICOM JSON"),
        (b'[{"zz": {"vr": "CS"}}]', "not DICOM JSON"),
        (b"[" * 5000, "not JSON"),
        (b'[{"00404021": {"vr": "SQ", "Value": ["x"]}}]', "not DICOM JSON"),
    ],
)
def test_a_malformed_body_names_the_manager(
    worklist: WebWorklist, manager: WebManager, body: bytes, problem: str
) -> None:
    worklist.raw_answer = body
    with pytest.raises(ManagerAnswerError, match=problem) as caught:
        manager.find(WorkitemFilter())
    assert "RIS" in str(caught.value)


def test_an_answer_without_end_and_a_slow_one_are_cut_off(
    worklist: WebWorklist, manager: WebManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "LONGEST_ANSWER", 1000)
    worklist.raw_answer = b" " * 100_000
    with pytest.raises(ManagerAnswerError, match="more than 1000 bytes"):
        manager.find(WorkitemFilter())
    worklist.seconds_before_answer = 3.0
    started = time.monotonic()
    with (
        WebManager(endpoint(worklist, seconds=0.5)) as impatient,
        pytest.raises(ManagerUnreachableError),
    ):
        impatient.find(WorkitemFilter())
    assert time.monotonic() - started < 2.5


def test_a_server_that_ignores_offset_is_asked_twice_at_most(
    worklist: WebWorklist, manager: WebManager
) -> None:
    worklist.ignores_offset = True
    for _ in range(110):
        worklist.schedule(step())
    assert len(manager.find(WorkitemFilter(limit=1000))) == 100
    assert worklist.operations == ["find", "find"]


def test_another_workitem_than_asked_for_is_refused(
    worklist: WebWorklist, manager: WebManager
) -> None:
    uid = worklist.schedule(step())
    worklist.steps["1.2.3.4"] = worklist.steps[uid]
    with pytest.raises(ManagerAnswerError, match="another workitem than the one asked for"):
        manager.get("1.2.3.4")


def test_a_server_that_is_not_there_is_unreachable() -> None:
    url = f"http://{HOST}:{free_port()}/dicom-web"
    with (
        WebManager(Endpoint("RIS", url)) as manager,
        pytest.raises(ManagerUnreachableError, match="no connection to RIS"),
    ):
        manager.probe()


def test_a_wrong_path_is_a_fault_of_the_configuration(worklist: WebWorklist) -> None:
    with (
        WebManager(Endpoint("RIS", f"{worklist.url}/deeper")) as manager,
        pytest.raises(ManagerConfigurationError, match="check the path in url"),
    ):
        manager.find(WorkitemFilter())


def test_events_over_the_web_are_not_asked_for(manager: WebManager) -> None:
    with pytest.raises(ManagerConfigurationError, match="receives no events"):
        manager.subscribe()
    manager.unsubscribe()
