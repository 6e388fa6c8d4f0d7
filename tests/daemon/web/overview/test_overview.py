"""The overview over HTTP: its JSON, its links by role, and its changes."""

import json
import sqlite3
from pathlib import Path

import pytest

from storage.audit.records import AuditKind
from storage.store import Store
from tests.builders.store_rows import STUDY, new_instance
from tests.servers.website import PEER_WORDS, Site, fill, running_site

pytestmark = [pytest.mark.daemon, pytest.mark.network]


def test_the_json_has_what_the_page_shows_and_no_patient(site: Site, store: Store) -> None:
    fill(store)
    answer = site.ask("/api/overview")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    found = json.loads(answer.text)
    assert found["work"]["today"] == {
        "received": 3,
        "analysed": 1,
        "not_analysed": 1,
        "reported": 1,
        "delivered": 0,
    }
    assert found["work"]["to_report"]["count"] == 1
    assert (found["work"]["to_delivery"]["count"], found["work"]["undelivered"]) == (0, 3)
    assert [row["reason"] for row in found["parked"]] == ["status 0xA900"]
    texts = [fault["text"] for fault in found["faults"]]
    assert "1 parked job: a person has to decide." in texts
    waiting = {row["name"]: row["waiting_since"] is not None for row in found["destinations"]}
    assert waiting == {"pacs": False, "archive": True, "retired": True}
    for private in ("PAT4711", "ACC4712", STUDY, "1.2.840.", "4713", PEER_WORDS):
        assert private not in answer.text


def test_changes_since_the_page_are_counted_without_looks(site: Site, store: Store) -> None:
    event = json.loads(site.ask("/api/overview").text)["event"]

    def changes() -> int:
        return int(json.loads(site.ask(f"/api/overview/changed?event={event}").text)["changes"])

    assert changes() == 0
    store.audit.record(AuditKind.STUDY_VIEWED, actor="ann")
    assert changes() == 0
    store.record_instance(new_instance(), 0)
    assert changes() == 1
    for wrong in ("", "?event=x", "?event=-1", "?event=1e9", f"?event={'9' * 30}"):
        assert site.ask(f"/api/overview/changed{wrong}").status == 400


def test_a_page_does_not_load_itself_again(site: Site, store: Store) -> None:
    page = site.ask().text
    assert 'http-equiv="refresh"' not in page
    assert 'data-changes="./api/overview/changed?event=' in page
    assert '<a class="button quiet" href="./" data-refresh>Refresh</a>' in page


def test_a_caller_of_role_status_gets_no_link_to_studies(tmp_path: Path, store: Store) -> None:
    fill(store)
    with sqlite3.connect(tmp_path / "cxrd.sqlite") as connection:
        connection.execute("DELETE FROM node_facts")  # as in a store of an earlier version
    connection.close()
    with running_site(tmp_path) as site:
        page = site.ask().text
        assert site.ask("/api/overview").status == 200
    assert "1 parked job" in page
    assert "jobs?" not in page
    assert "./studies" not in page
