"""/jobs: the list by filter, and one job with its history."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from storage.records import JobKind, JobState, Priority
from storage.store import Store
from tests.builders.store_rows import STUDY
from tests.servers.website import PEER_WORDS, Site, cells, fill, running_site

pytestmark = [pytest.mark.daemon, pytest.mark.network]

VIEWER = "a-token-for-who-only-looks"


def jobs(site: Site, query: str = "") -> dict[str, Any]:
    answer = site.ask(f"/api/jobs{query}")
    assert answer.status == 200
    found: dict[str, Any] = json.loads(answer.text)
    return found


def test_jobs_are_listed_by_filter_with_their_study(site: Site, store: Store) -> None:
    parked = fill(store)
    found = jobs(site)
    assert [job["state"] for job in found["jobs"]] == [
        "parked",
        "queued",
        "queued",
        "queued",
        "done",
        "done",
        "done",
    ]
    assert found["total"] == 7
    first = found["jobs"][0]
    assert (first["number"], first["destination"], first["study_instance_uid"]) == (
        parked,
        "pacs",
        STUDY,
    )
    assert (first["accession_number"], first["error"]) == ("ACC4712", "status 0xA900")
    assert [group["count"] for group in found["parked"]] == [1]
    assert jobs(site, "?state=queued&kind=deliver&destination=archive")["total"] == 1
    assert jobs(site, f"?error={quote('ANSWER')}")["total"] == 1
    second = jobs(site, "?rows=3&page=3&sort=number&order=asc")
    assert ([job["number"] for job in second["jobs"]], second["pages"]) == ([7], 3)


def test_the_page_leads_to_the_acts_and_keeps_the_filter(site: Site, store: Store) -> None:
    parked = fill(store)
    page = site.ask("/jobs?state=parked&rows=1&destination=pacs").text
    rows = [row for row in cells(page) if row and row[1:2] == [str(parked)]]
    assert len(rows) == 1
    assert f'href="./actions/retry?job={parked}&amp;back=jobs' in page
    assert "./actions/discard?state=parked&amp;kind=&amp;lane=pacs" in page
    assert f'name="job" value="{parked}"' in page
    assert 'href="./jobs?state=parked&amp;destination=pacs&amp;rows=1&amp;sort=changed' in page
    assert "PAT4711" not in page
    assert "patient DOE" not in page
    assert "No job matches this filter." in site.ask("/jobs?error=nothing").text


def test_stat_is_a_word_on_the_pages_and_a_metric(site: Site, store: Store) -> None:
    fill(store)
    pages = "/jobs", f"/studies/{STUDY}"
    assert not any("STAT</span>" in site.ask(page).text for page in pages)
    queued = [job for job in jobs(site)["jobs"] if job["state"] == "queued"]
    waiting = min(queued, key=lambda job: str(job["due_at"]))
    assert waiting["priority"] == "routine"
    store.jobs.set_priority(waiting["number"], Priority.STAT)

    assert [job["priority"] for job in jobs(site)["jobs"]].count("stat") == 1
    for page in (*pages, f"/jobs/{waiting['number']}"):
        assert "STAT</span>" in site.ask(page).text, page
    assert site.metric("cxrd_jobs_due", kind=waiting["kind"], priority="stat") == 1


@pytest.mark.parametrize(
    "query",
    ["state=broken", "kind=x", "page=0", "page=-1", "page=١", "rows=501", "sort=name", "order=up"],
)
def test_a_wrong_value_is_named(site: Site, query: str) -> None:
    name = query.partition("=")[0]
    answer = site.ask(f"/api/jobs?{quote(query, safe='=')}")
    assert answer.status == 400
    assert json.loads(answer.text)["error"].startswith(f"{name}: use ")


def test_a_job_has_its_history_and_its_whole_error(site: Site, store: Store) -> None:
    parked = fill(store)
    store.jobs.retry(parked, "ann")
    found = json.loads(site.ask(f"/api/jobs/{parked}").text)
    assert found["error"] == f"status 0xA900: {PEER_WORDS}"
    assert found["delivery"]["sop_instance_uid"] == "2.25.4713"
    assert [event["event"] for event in found["history"]] == [
        "queued first",
        "job parked",
        "job retried",
        "last change: queued",
    ]
    assert [event["actor"] for event in found["history"]] == ["", "pacs", "ann", ""]
    page = site.ask(f"/jobs/{parked}").text
    assert f'href="../studies/{STUDY}"' in page
    assert "status 0xA900: patient DOE^JANE is not known" in page
    (analysis,) = store.jobs.list(JobState.QUEUED, JobKind.ANALYSE)
    assert json.loads(site.ask(f"/api/jobs/{analysis.id}").text)["delivery"] is None
    for unknown in ("999", "0", "x", "1e3", "9" * 40):
        assert site.ask(f"/api/jobs/{unknown}").status == 404


@pytest.mark.parametrize("names", [False, True])
def test_only_operators_read_the_words_of_a_destination(
    tmp_path: Path, store: Store, names: bool
) -> None:
    parked = fill(store)
    web = {"tokens": [{"name": "ann", "role": "viewer", "token": VIEWER}], "patient_names": names}
    with running_site(tmp_path, web=web) as site:
        headers = {"Authorization": f"Bearer {VIEWER}"}
        page = site.ask_with(headers, f"/jobs/{parked}").text
        found = json.loads(site.ask_with(headers, f"/api/jobs/{parked}").text)
        everything = site.ask_with(headers, "/jobs").text
    assert ("DOE^JANE" in page, "DOE^JANE" in found["error"]) == (names, names)
    assert found["is_cut"] is not names
    assert "actions/" not in page
    assert "actions/retry?" not in everything
    assert "DOE^JANE" not in everything
