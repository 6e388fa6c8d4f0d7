"""The pages that act: each is confirmed, audited, and refused to others."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.files.folder_spool import FolderSpool
from storage.records import JobKind, JobState
from storage.store import Store
from tests.daemon.web.actions.operators import (
    ALICE,
    BOB,
    HELD,
    KEY,
    REPORT,
    VIEWER,
    Visitor,
    fields_of,
    fill,
    site_with_operators,
)
from tests.servers.website import Answer, Site

pytestmark = [pytest.mark.daemon, pytest.mark.network]

STUDY = f"study={KEY.study_instance_uid}&source={KEY.source}"
HELD_STUDY = f"study={HELD.study_instance_uid}&source={HELD.source}"


@pytest.fixture
def parked(tmp_path: Path, store: Store) -> list[int]:
    return fill(store, FolderSpool(tmp_path / "spool"))


@pytest.fixture
def operated(tmp_path: Path, parked: list[int]) -> Iterator[Site]:
    assert parked
    with site_with_operators(tmp_path) as site:
        yield site


@pytest.fixture
def alice(operated: Site) -> Visitor:
    return Visitor.of(operated, ALICE)


def acts(store: Store) -> list[tuple[str, str, str]]:
    kinds = ("job_", "study_released", "analysis_requested", "delivery_requested")
    rows = [row for row in store.audit.rows() if row.kind.startswith(kinds)]
    return [(row.kind, row.actor, row.host) for row in rows if row.kind != "job_parked"]


@pytest.mark.parametrize(
    ("act", "state", "kind"),
    [
        ("retry", JobState.QUEUED, "job_retried"),
        ("discard", JobState.DISCARDED, "job_discarded"),
    ],
)
def test_a_job_is_changed_after_a_confirmation(
    alice: Visitor, store: Store, parked: list[int], act: str, state: JobState, kind: str
) -> None:
    path = f"/actions/{act}?job={parked[0]}&back=jobs%3Fstate%3Dparked"
    asked = alice.get(path)
    assert f"{act.capitalize()} job {parked[0]}" in asked.text
    assert store.jobs.get(parked[0]).state is JobState.PARKED

    done = alice.confirm(path)

    assert done.headers["location"] == "../jobs?state=parked"
    assert store.jobs.get(parked[0]).state is state
    assert acts(store) == [(kind, "alice", "127.0.0.1")]
    told = f"Job {parked[0]} is "
    assert told in alice.get("/").text
    assert told not in alice.get("/").text


def test_all_jobs_of_a_list_are_retried_and_the_changed_are_listed(
    alice: Visitor, store: Store, parked: list[int]
) -> None:
    path = "/actions/retry?state=parked&kind=commit&lane=pacs&error=no+answer"
    page = alice.get(path)
    for number in parked[:2]:
        store.jobs.discard(number, "bob")
    done = alice.post("/actions/retry", fields_of(page))
    result = alice.follow("/actions/retry", done)
    assert f"Job {parked[2]} is queued again." in result.text
    for number in parked[:2]:
        assert f"Job {number} stays as it is: job {number} was discarded by bob at" in result.text
    assert alice.get("/actions/retry?state=parked&kind=answer").status == 404


def test_a_study_is_released_analysed_and_sent_again(alice: Visitor, store: Store) -> None:
    again = alice.confirm(f"/actions/analyse-again?{STUDY}")
    assert again.headers["location"] == "../studies/2.25.81?source=modality"
    assert "1 film is analysed again." in alice.get("/").text
    sent = alice.confirm(f"/actions/send-again?{STUDY}&to=archive&back=studies/2.25.81")
    assert sent.headers["location"] == "../studies/2.25.81"
    assert "1 object is sent to archive again." in alice.get("/").text
    assert store.jobs.list(kind=JobKind.DELIVER)[0].subject == f"{REPORT}@archive"
    asked = alice.get(f"/actions/release?{HELD_STUDY}").text
    assert asked.count('type="checkbox"') == 2
    alice.confirm(f"/actions/release?{HELD_STUDY}", ("set_aside", "1.9.P2"))
    assert "The study is released, 1 film(s) set aside" in alice.get("/").text
    assert [kind for kind, *_ in acts(store)] == [
        "analysis_requested",
        "delivery_requested",
        "study_released",
    ]


def test_a_held_study_cannot_be_sent_and_a_study_in_order_cannot_be_released(
    alice: Visitor, store: Store
) -> None:
    for act in ("analyse-again", "send-again"):
        page = alice.get(f"/actions/{act}?{HELD_STUDY}&to=pacs")
        assert "TWO_PATIENTS" in page.text
        assert 'action="../actions' not in page.text
    assert "nothing to release" in alice.get(f"/actions/release?{STUDY}").text
    fields = dict(fields_of(alice.get(f"/actions/analyse-again?{STUDY}")))
    alice.post("/actions/release", list(fields.items()))
    assert "is not held" in alice.get("/").text
    assert acts(store) == []


def test_two_browsers_press_at_once_and_one_act_happens(
    operated: Site, alice: Visitor, store: Store, parked: list[int]
) -> None:
    bob = Visitor.of(operated, BOB)
    paths = {
        f"/actions/retry?job={parked[0]}": "job_retried",
        f"/actions/discard?job={parked[1]}": "job_discarded",
        f"/actions/analyse-again?{STUDY}": "analysis_requested",
        f"/actions/send-again?{STUDY}&to=pacs": "delivery_requested",
    }
    for path, kind in paths.items():
        before = len(acts(store))
        press_at_once(path, alice, bob)
        (act,) = acts(store)[before:]
        assert act[0] == kind
        told = [visitor.get("/").text for visitor in (alice, bob)]
        late = [page for page in told if f" by {act[1]} at " in page]
        assert len(late) == 1, path


def press_at_once(path: str, *visitors: Visitor) -> list[Answer]:
    """Let each visitor open the confirmation, then all of them send its form at once."""
    forms = [fields_of(visitor.get(path)) for visitor in visitors]
    barrier = threading.Barrier(len(visitors))
    answers: list[Answer] = []

    def press(visitor: Visitor, form: list[tuple[str, str]]) -> None:
        barrier.wait(10)
        answers.append(visitor.post(path.partition("?")[0], form))

    threads = [
        threading.Thread(target=press, args=pair) for pair in zip(visitors, forms, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return answers


FORMS = {
    "/actions/retry": [("job", "1:1.parked.1")],
    "/actions/discard": [("job", "1:1.parked.1")],
    "/actions/release": [("study", "2.25.82"), ("source", "modality"), ("seen", "9.9.9.1")],
    "/actions/analyse-again": [("study", "2.25.81"), ("source", "modality"), ("seen", "9.9.9.1")],
    "/actions/send-again": [
        *(("study", "2.25.81"), ("source", "modality"), ("seen", "9.9.9.1"), ("to", "pacs")),
    ],
}


def test_a_viewer_a_forged_form_and_a_stale_form_change_nothing(
    operated: Site, alice: Visitor, store: Store
) -> None:
    viewer = Visitor.of(operated, VIEWER)
    before = store.jobs.list()
    for path, fields in FORMS.items():
        secret = dict(fields_of(viewer_form(alice)))["csrf"]
        assert viewer.get(f"{path}?job=1&{STUDY}").status == 403
        assert viewer.post(path, fields).status == 403
        assert alice.post(path, fields).status == 403
        assert alice.post(path, [*fields, ("csrf", "x" * 43)]).status == 403
        own = [*fields, ("csrf", secret)]
        assert alice.post(path, own, Origin="http://evil.example").status == 403
        assert alice.post(path, own).status == 303
        assert "has changed since you saw it" in alice.get("/").text
    assert store.jobs.list() == before
    assert acts(store) == []


def viewer_form(visitor: Visitor) -> Answer:
    return visitor.get(f"/actions/analyse-again?{STUDY}")


REFUSED = {
    "/actions/retry": 400,
    "/actions/retry?job=x": 400,
    f"/actions/retry?job={'9' * 30}": 400,
    "/actions/retry?job=4711": 404,
    "/actions/retry?state=lost": 400,
    "/actions/discard?state=parked&kind=lost": 400,
    "/actions/release?study=7.7": 404,
    "/actions/release": 400,
    f"/actions/send-again?{STUDY}&to=gone": 400,
    f"/actions/analyse-again?{STUDY}&film=x": 400,
}
FOREIGN = (
    "//evil.example/x",
    "https://evil.example/",
    "\\\\evil.example",
    "../../evil",
    "%2e%2e/evil",
    "javascript:alert(1)",
    "a\r\nSet-Cookie: x=1",
    "x" * 2000,
)


def test_an_unknown_job_or_study_is_refused_and_the_way_back_stays_here(
    alice: Visitor, parked: list[int]
) -> None:
    assert {path: alice.get(path).status for path in REFUSED} == REFUSED
    fields = dict(fields_of(alice.get(f"/actions/retry?job={parked[0]}")))
    for back in FOREIGN:
        answer = alice.post("/actions/retry", list({**fields, "back": back}.items()))
        place = answer.headers["location"]
        assert place.startswith("../")
        assert ".." not in place.removeprefix("../")
        assert not place.removeprefix("../").startswith(("/", "\\"))
        assert "set-cookie" not in answer.headers
