"""/audit: the trail by filter, its verification, and its export."""

import csv
import io
import json
import sqlite3
from typing import Any

import pytest

from daemon.audit.export import export_csv
from storage.audit.records import AuditKind, subject_of
from storage.store import Store
from tests.builders.store_rows import STUDY
from tests.servers.website import Site, fill
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]


def events(site: Site, query: str = "") -> dict[str, Any]:
    answer = site.ask(f"/api/audit{query}")
    assert answer.status == 200
    found: dict[str, Any] = json.loads(answer.text)
    return found


def verification(site: Site) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(site.ask("/api/audit/verification").text)
    return found


def verified(site: Site, body: bytes = b"") -> dict[str, Any]:
    """Verify the trail and return the result."""
    headers = {"Authorization": f"Bearer {site.token}", "Origin": "http://localhost"}
    assert site.ask_with(headers, "/api/audit/verification", "POST", body=body).status == 202
    wait_until(lambda: verification(site)["state"] != "running", "the verification ends", 20)
    return verification(site)


def test_events_are_listed_by_filter_newest_first(site: Site, store: Store) -> None:
    fill(store)
    # A login may be recorded meanwhile.
    found = events(site, "?rows=2&before=7")
    assert [event["number"] for event in found["events"]] == [6, 5]
    following = events(site, f"?rows=2&before={found['before']}")["events"]
    assert [event["number"] for event in following] == [4, 3]
    newest = [event["number"] for event in events(site)["events"]]
    assert newest == list(range(newest[0], 0, -1))
    (parked,) = events(site, "?kind=job_parked&outcome=failure&actor=PACS")["events"]
    assert (parked["study"], parked["actor"]) == (STUDY, "pacs")
    assert events(site, f"?subject={STUDY}&kind=login")["events"] == []
    assert events(site, "?until=2020-01-01")["events"] == []
    page = site.ask(f"/audit?subject={STUDY}").text
    assert f'href="./studies/{STUDY}"' in page
    assert "This is the end of the list." in page
    for wrong in ("kind=x", "outcome=x", "since=yesterday", "before=0", "rows=9999"):
        assert site.ask(f"/api/audit?{wrong}").status == 400


def test_hashes_of_secrets_are_not_shown(site: Site, store: Store) -> None:
    detail = '{"effective":{"web.token":"scrypt:0badc0de"},"salt":"5a17"}'
    store.audit.record(AuditKind.CONFIGURATION_CHANGED, detail=detail)
    (shown,) = events(site, "?kind=configuration_changed")["events"]
    assert shown["detail"] == '{"effective":{"web.token":"…"},"salt":"…"}'
    for path in ("/audit", "/api/audit"):
        text = site.ask(path).text
        assert "0badc0de" not in text
        assert "5a17" not in text


def test_a_verification_gives_the_head_and_knows_a_noted_one(site: Site, store: Store) -> None:
    assert verification(site)["state"] == "none"
    fill(store)
    found = verified(site)
    assert (found["state"], found["rows"]) == ("unaltered", int(found["head"].split(":")[0]))
    page = site.ask("/audit").text
    assert found["head"] in page
    assert "none altered" in page
    again = verified(site, json.dumps({"head": found["head"]}).encode())
    assert (again["state"], again["noted"]) == ("unaltered", found["head"])
    other = f"{found['rows']}:{'0' * 64}"
    assert verified(site, json.dumps({"head": other}).encode())["state"] == "altered"
    headers = {"Authorization": f"Bearer {site.token}", "Origin": "http://localhost"}
    bad = site.ask_with(headers, "/api/audit/verification", "POST", body=b'{"head": "7"}')
    assert bad.status == 400


def test_a_verification_names_the_first_altered_row(site: Site, store: Store) -> None:
    fill(store)
    with sqlite3.connect(site.data / "cxrd.sqlite") as connection:
        connection.execute("DROP TRIGGER audit_events_keep_update")
        connection.execute("UPDATE audit_events SET actor = 'nobody' WHERE number = 3")
    connection.close()
    found = verified(site)
    assert (found["state"], found["head"]) == ("altered", "")
    assert found["problem"].startswith("row 3 was altered")
    assert "Altered: row 3 was altered" in site.ask("/audit").text


def test_an_export_has_the_lines_of_the_command_and_is_recorded(site: Site, store: Store) -> None:
    fill(store)
    store.audit.record(AuditKind.LOGIN, actor="=1+1", subject=subject_of(study=STUDY))
    answer = site.ask("/audit/export")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="audit.csv"'
    sent = answer.text.splitlines()
    export_csv(store, site.data / "trail.csv", None, None)
    kept = (site.data / "trail.csv").read_text(encoding="utf-8").splitlines()
    assert kept[: len(sent)] == sent
    assert "'=1+1" in answer.text
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert (rows[-1]["kind"], rows[-1]["detail"]) == (
        "audit_exported",
        "csv: begun, to a browser or program",
    )
    recorded = events(site, "?kind=audit_exported")["events"]
    assert f"csv: {len(rows)} row(s) sent" in [event["detail"] for event in recorded]
    assert len(site.ask("/audit/export?until=2020-01-01").text.splitlines()) == 1


def test_an_export_as_messages_has_one_a_line(site: Site, store: Store) -> None:
    fill(store)
    lines = site.ask("/audit/export?form=dicom-xml").text.splitlines()
    recorded = [event["detail"] for event in events(site, "?kind=audit_exported")["events"]]
    assert f"dicom-xml: {len(lines)} row(s) sent" in recorded
    assert len(lines) >= 5
    assert all("<AuditMessage>" in line for line in lines)
