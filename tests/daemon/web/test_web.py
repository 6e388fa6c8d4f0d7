"""Contents of the status page, health and metrics."""

import json
import re
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from cxr_model.finding_text import NOT_CALIBRATED
from daemon.worker.logs.redaction import redact
from dicom_io.peer.tls import examine
from storage.records import JobKind
from storage.store import Store
from storage.tables.clock import utc_now
from tests.builders.certificates import Authority
from tests.builders.store_rows import STUDY, analysis, claim, new_instance, receive
from tests.servers.website import PEER_WORDS, Site, cells, fill, running_site

pytestmark = [pytest.mark.daemon, pytest.mark.network]


def test_page_shows_queue_destinations_images_and_model(site: Site, store: Store) -> None:
    fill(store)
    answer = site.ask()
    assert answer.status == 200
    rows = cells(answer.text)
    assert ["Deliver", "2", "0", "0", "1", "0"] in [row[:6] for row in rows]
    assert ["deliver to pacs", "1", "status 0xA900"] in [row[:3] for row in rows]
    assert 'href="./jobs?state=parked&amp;kind=deliver&amp;destination=pacs&amp;' in answer.text
    destinations = {row[0]: row[1:] for row in rows if len(row) == 8}
    assert [destinations["pacs"][place] for place in (0, 3, 5)] == ["0", "0", "1"]
    assert destinations["pacs"][6].endswith("status 0xA900")
    assert destinations["archive"][6].endswith("no answer")
    retired = destinations["retired (not in the configuration)"]
    assert [retired[place] for place in (0, 3, 5)] == ["0", "1", "0"]
    images = [row[2:] for row in rows if row[0] in {"1", "2", "3"} and len(row) == 9]
    assert images == [
        ["MODALITY", "not known", "1", "DX", "received", "", ""],
        ["MODALITY", "not known", "1", "DX", "not analysed", "LATERAL_VIEW", ""],
        ["MODALITY", "not known", "1", "DX", "analysed", "", "1"],
    ]
    assert "starter 1 <small>sha256 <code>cd…" in answer.text
    assert "RESEARCH USE ONLY" in answer.text


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz"])
def test_no_page_names_a_patient(site: Site, store: Store, path: str) -> None:
    fill(store)
    text = site.ask(path).text
    for private in ("PAT4711", "ACC4712", STUDY, "1.2.840.", "4713", PEER_WORDS):
        assert private not in text


@pytest.mark.parametrize("notes", [[NOT_CALIBRATED], ["low resolution"]])
def test_page_says_not_calibrated_by_the_newest_result(
    site: Site, store: Store, notes: list[str]
) -> None:
    receive(store, "1.1")
    job = claim(store, JobKind.ANALYSE)
    result = replace(analysis(utc_now()), notes=notes)
    store.results.record_analysis(job, int(job.subject), result)
    text = site.ask().text
    assert "starter 1 <small>" in text
    assert ("not calibrated" in text) is (NOT_CALIBRATED in notes)


def test_empty_store_has_a_readable_page(site: Site) -> None:
    answer = site.ask()
    assert answer.status == 200
    assert "No image has come yet" in answer.text
    assert "none yet" in answer.text
    assert "<h2>Parked</h2>" not in answer.text


def test_page_says_that_there_is_no_destination(tmp_path: Path, store: Store) -> None:
    with running_site(tmp_path, peers=[]) as site:
        assert "No peer receives anything" in site.ask().text


def test_text_of_senders_is_escaped(site: Site, store: Store) -> None:
    store.record_instance(new_instance(calling_ae_title="<b>&'\"", modality="<script>"), 0)
    page = site.ask().text
    assert "<script>" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;" in page


def test_page_contains_only_what_the_policy_allows(site: Site, store: Store) -> None:
    fill(store)
    page = site.ask().text
    links = re.findall(r"(?:src|href|action)=\"([^\"]*)\"", page)
    assert {"./static/style.css", "./healthz", "./readyz", "./metrics"} <= set(links)
    assert all(link.startswith(("./", "#")) for link in links)
    assert not re.search(
        r"<script(?! type=\"module\" src=\"\./static/)|<style|\sstyle=|\son\w+=", page
    )
    style = site.ask("/static/style.css")
    assert (style.status, style.headers["content-type"][:8]) == (200, "text/css")
    assert "url(" not in style.text
    assert "@import" not in style.text


def test_a_study_in_doubt_is_named_by_its_images(site: Site, store: Store) -> None:
    for uid, patient in (("1.2.840.1", "PAT4711"), ("1.2.840.2", "PAT4712")):
        store.record_instance(new_instance(uid, patient_id=patient, source="north"), 0)
    store.record_instance(new_instance("1.2.840.1", "corrected", patient_id="PAT4712"), 0)

    text = site.ask().text

    assert "1 study is in doubt, and nothing of it leaves" in text
    rows = cells(text)
    assert ["TWO_PATIENTS", "north", "1; 2"] in [[*row[:2], row[-1]] for row in rows if row]
    images = {row[0]: row[3:7] for row in rows if len(row) == 9}
    assert images["1"] == ["north", "1", "DX", "received, in doubt"]
    assert images["3"] == ["not known", "1", "DX", "received"]
    assert "PAT47" not in text
    assert "1.2.840" not in text


def test_newest_fifty_images_are_shown(site: Site, store: Store) -> None:
    for number in range(55):
        store.record_instance(new_instance(f"1.{number}"), 0)
    shown = [row[0] for row in cells(site.ask().text) if len(row) == 9 and row[0].isdigit()]
    assert shown == [str(number) for number in range(55, 5, -1)]


def test_low_disk_space_is_unhealthy_and_on_the_page(tmp_path: Path, store: Store) -> None:
    with running_site(tmp_path, spool={"min_free_mb": 2**40}) as site:
        answer = site.ask("/healthz")
        page = site.ask()
    checks = json.loads(answer.text)
    assert (answer.status, checks["status"]) == (503, "failing")
    assert checks["checks"]["store"] == "ok"
    assert "bytes free at" in checks["checks"]["spool"]
    assert page.status == 200
    assert "Spool: " in page.text
    assert "the disk has room" not in page.text


def test_broken_store_is_unhealthy_and_named_in_one_line(site: Site) -> None:
    with sqlite3.connect(site.data / "cxrd.sqlite") as connection:
        connection.execute("ALTER TABLE jobs RENAME TO lost")
    connection.close()
    answer = site.ask("/healthz")
    checks = json.loads(answer.text)["checks"]
    assert answer.status == 503
    assert "no such table" in checks["store"]
    assert checks["spool"] == "ok"
    broken = site.ask("/")
    assert broken.status == 503
    assert broken.text.startswith("cxrd: the store ")
    assert broken.text.count("\n") == 1
    assert site.metric("cxrd_store_up") == 0
    assert site.metric("cxrd_spool_writable") == 1
    assert "cxrd_jobs" not in site.ask("/metrics").text


def test_metrics_count_jobs_and_images(site: Site, store: Store) -> None:
    fill(store)
    assert site.metric("cxrd_jobs", kind="deliver", state="queued") == 2
    assert site.metric("cxrd_jobs", kind="deliver", state="parked") == 1
    assert site.metric("cxrd_jobs", kind="analyse", state="running") == 0
    assert site.metric("cxrd_jobs_parked") == 1
    assert site.metric("cxrd_instances", state="analysed") == 1
    assert site.metric("cxrd_instances", state="not_analysed") == 1
    assert 0 < site.metric("cxrd_oldest_queued_job_seconds", kind="analyse") < 60
    assert site.metric("cxrd_disk_free_bytes") > 0


def test_metrics_say_when_a_certificate_ends(tmp_path: Path, store: Store, pki: Authority) -> None:
    own = pki.of("cxrd")
    tls = {"certificate": own.certificate, "key": own.key, "ca": pki.ca}
    with running_site(tmp_path, tls=tls, listener={"tls": True}) as site:
        ends = site.metric("cxrd_certificate_end_timestamp_seconds", section="tls")
    assert ends == examine(own).not_after.timestamp()


def test_metrics_of_an_empty_store_are_zeros(site: Site) -> None:
    assert site.metric("cxrd_jobs", kind="analyse", state="queued") == 0
    assert site.metric("cxrd_oldest_queued_job_seconds", kind="analyse") == 0
    assert site.metric("cxrd_instances", state="received") == 0


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ("status 0xA900: MRN 123\nDOE^JANE", "status 0xA900"),
        ("status 0xC001", "status 0xC001"),
        ("no report of 1.2.840.113619.2.66.7: missing", "no report of …: missing"),
        ("2.25.3141592 is not there", "… is not there"),
        ("10.1.2.3:104 does not answer", "10.1.2.3:104 does not answer"),
    ],
)
def test_errors_lose_identifying_text(error: str, shown: str) -> None:
    assert redact(error) == shown
