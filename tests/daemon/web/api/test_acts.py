"""The acts of operators through the interface for programs."""

import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from storage.files.folder_spool import FolderSpool
from storage.queue.seen import SeenJob
from storage.records import JobState
from storage.store import Store
from tests.daemon.web.actions.operators import (
    ALICE,
    BOB,
    HELD,
    KEY,
    REPORT,
    VIEWER,
    bearer,
    fill,
    site_with_operators,
)
from tests.servers.website import Answer, Site

pytestmark = [pytest.mark.daemon, pytest.mark.network]

STUDY, DOUBTFUL = (f"/api/studies/{key.study_instance_uid}" for key in (KEY, HELD))


@pytest.fixture
def parked(tmp_path: Path, store: Store) -> list[int]:
    return fill(store, FolderSpool(tmp_path / "spool"))


@pytest.fixture
def operated(tmp_path: Path, parked: list[int]) -> Iterator[Site]:
    assert parked
    with site_with_operators(tmp_path) as site:
        yield site


def send(site: Site, path: str, body: Any = None, token: str = ALICE) -> tuple[int, Any]:
    """Send a JSON body; return the status and the document."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    answer = site.ask_with(bearer(token), path, "POST", body=data)
    return answer.status, document(answer)


def document(answer: Answer) -> Any:
    assert answer.headers["content-type"] == "application/json"
    found = json.loads(answer.text)
    if answer.status >= 400:
        assert list(found) == ["error"]
        assert found["error"]
    return found


def test_jobs_are_retried_and_discarded(operated: Site, store: Store, parked: list[int]) -> None:
    one, two, three = parked
    assert send(operated, f"/api/jobs/{one}/retry") == (200, {"done": [one], "refused": []})
    seen = document(operated.ask_with(bearer(VIEWER), f"/api/jobs/{two}"))["job"]["seen"]
    assert send(operated, f"/api/jobs/{two}/discard", {"seen": seen})[0] == 200
    status, late = send(operated, f"/api/jobs/{two}/discard", {"seen": seen}, BOB)
    assert status == 409
    assert late["error"].startswith(f"job {two} was discarded by alice at ")
    status, many = send(operated, "/api/jobs/retry", {"jobs": [{"job": three}, {"job": 4711}]})
    assert (status, many["done"]) == (200, [three])
    assert many["refused"][0]["job"] == 4711
    assert [store.jobs.get(number).state for number in parked] == [
        JobState.QUEUED,
        JobState.DISCARDED,
        JobState.QUEUED,
    ]


def test_studies_are_released_analysed_and_sent_again(operated: Site) -> None:
    acts = document(operated.ask_with(bearer(ALICE), f"{DOUBTFUL}/acts"))
    assert acts["held"].startswith("TWO_PATIENTS")
    assert [len(films) for films in acts["patients"]] == [1, 1]
    for act, body in (("analyse-again", {}), ("send-again", {"to": "pacs"})):
        status, refused = send(operated, f"{DOUBTFUL}/{act}", body)
        assert status == 409
        assert "is held" in refused["error"]
    set_aside = {"set_aside": ["1.9.P2"], "source": HELD.source, "seen": acts["seen"]}
    assert send(operated, f"{DOUBTFUL}/release", set_aside) == (
        200,
        {
            "study_instance_uid": HELD.study_instance_uid,
            "source": HELD.source,
            "set_aside": ["1.9.P2"],
        },
    )
    status, late = send(operated, f"{DOUBTFUL}/release", set_aside, BOB)
    assert (status, "was released by alice at" in late["error"]) == (409, True)
    assert send(operated, f"{STUDY}/analyse-again") == (
        200,
        {"queued": ["2.25.91"], "refused": []},
    )
    assert send(operated, f"{STUDY}/send-again", {"to": "archive"})[1]["queued"] == [REPORT]
    status, waits = send(operated, f"{STUDY}/send-again", {"to": "archive"})
    assert (status, "waits to be sent already" in waits["error"]) == (409, True)


REFUSED: Mapping[tuple[str, str], int] = {
    ("/api/jobs/4711/retry", ""): 404,
    ("/api/jobs/x/retry", ""): 400,
    (f"/api/jobs/{'9' * 40}/discard", ""): 400,
    ("/api/jobs/1/retry", "{"): 400,
    ("/api/jobs/1/retry", "[]"): 400,
    ("/api/jobs/1/retry", '{"sen": "1.parked.1"}'): 400,
    ("/api/jobs/1/retry", '{"seen": 1}'): 400,
    ("/api/jobs/1/retry", '{"seen": "x"}'): 400,
    ("/api/jobs/retry", ""): 400,
    ("/api/jobs/retry", '{"jobs": []}'): 400,
    ("/api/jobs/retry", '{"jobs": [{"job": "1"}]}'): 400,
    ("/api/jobs/retry", '{"jobs": [{"job": 99999999999999999999}]}'): 400,
    ("/api/jobs/retry", "[" * 60_000): 400,
    ("/api/jobs/retry", " " * 70_000): 413,
    ("/api/studies/7.7/release", ""): 404,
    (f"{STUDY}/release", ""): 409,
    (f"{STUDY}/analyse-again", '{"films": [4711]}'): 404,
    (f"{STUDY}/analyse-again", '{"films": []}'): 400,
    (f"{STUDY}/send-again", ""): 400,
    (f"{STUDY}/send-again", '{"to": "gone"}'): 400,
    (f"{STUDY}/send-again", '{"to": "pacs", "source": "other"}'): 404,
    (f"{STUDY}/send-again", '{"to": "pacs", "seen": "9.9.9.1"}'): 409,
}


def test_a_malformed_request_is_refused_with_one_sentence(operated: Site, store: Store) -> None:
    before = store.jobs.list()
    found = {(path, body): send(operated, path, body.encode())[0] for path, body in REFUSED}
    assert found == REFUSED
    _, fault = send(operated, "/api/jobs/retry", {"jobs": [{"job": "1", "x": 2}]})
    assert fault["error"].startswith("jobs.0.job: Input should be a valid integer; jobs.0.x: ")
    assert store.jobs.list() == before


def test_a_viewer_cannot_act_and_an_unknown_path_is_json(operated: Site) -> None:
    for path, _ in REFUSED:
        assert send(operated, path, {}, VIEWER)[0] == 403
    assert document(operated.ask_with(bearer(ALICE), "/api/nothing"))["error"]
    assert document(operated.ask_with({}, "/api/jobs"))["error"]


def test_two_programs_at_once_retry_a_job_once(
    operated: Site, store: Store, parked: list[int]
) -> None:
    seen = str(SeenJob.of(store.jobs.get(parked[0])))
    barrier = threading.Barrier(2)
    answers = []

    def press(token: str) -> None:
        barrier.wait(10)
        answers.append(send(operated, f"/api/jobs/{parked[0]}/retry", {"seen": seen}, token))

    threads = [threading.Thread(target=press, args=(token,)) for token in (ALICE, BOB)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(status for status, _ in answers) == [200, 409]
    assert len([row for row in store.audit.rows() if row.kind == "job_retried"]) == 1
