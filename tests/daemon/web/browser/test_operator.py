"""The acts of an operator on a node that processed films: each asks first, and acts once."""

import pytest
from playwright.sync_api import Browser, expect

from storage.records import JobKind, JobState, StudyStatus
from tests.daemon.web.browser.conftest import VIEWER_TOKEN, BusyNode, Look
from tests.servers.browser import visiting
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network, pytest.mark.slow]


def parked_delivery(node: BusyNode) -> int:
    with node.store() as store:
        return store.jobs.list(kind=JobKind.DELIVER, state=JobState.PARKED, limit=1)[0].id


def study_of(node: BusyNode, patient: str) -> str:
    with node.store() as store:
        found = (store.results.instance(image.id) for image in store.status.recent_instances(50))
        return next(
            film.study_instance_uid
            for film in found
            if film is not None and film.patient_id == patient
        )


def test_two_windows_retry_a_job_once(browser: Browser, node: BusyNode) -> None:
    job = parked_delivery(node)
    with node.store() as store:
        before = store.jobs.get(job).claims
    with (
        visiting(browser, node.url, node.token) as first,
        visiting(browser, node.url, node.token) as second,
    ):
        for visit in (first, second):
            visit.open(f"/jobs/{job}").get_by_role("link", name=f"Retry job {job}").click()
            expect(visit.page.locator("h1")).to_have_text(f"Retry job {job}?")
        first.page.get_by_role("button", name=f"Retry job {job}").click()
        expect(first.page.locator("main, .banner").first).to_be_visible()
        second.page.get_by_role("button", name=f"Retry job {job}").click()
        expect(second.page.locator("body")).to_contain_text("was retried by token")
        assert first.problems == second.problems == []

    def is_parked_again() -> bool:
        with node.store() as store:
            return store.jobs.get(job).state is JobState.PARKED

    wait_until(is_parked_again, "the destination refused the object again")
    with node.store() as store:
        assert store.jobs.get(job).claims == before + 1


def test_cancel_changes_nothing(look: Look, node: BusyNode) -> None:
    job = parked_delivery(node)
    with look() as visit:
        visit.open(f"/jobs/{job}").get_by_role("link", name=f"Discard job {job}").click()
        visit.page.get_by_role("link", name="Cancel").click()
        expect(visit.page).to_have_url(f"{node.url}jobs/{job}")
        assert visit.problems == []
    with node.store() as store:
        assert store.jobs.get(job).state is JobState.PARKED


def test_a_job_is_discarded(look: Look, node: BusyNode) -> None:
    job = parked_delivery(node)
    with look() as visit:
        visit.open(f"/jobs/{job}").get_by_role("link", name=f"Discard job {job}").click()
        visit.page.get_by_role("button", name=f"Discard job {job}").click()
        expect(visit.page.locator("body")).to_contain_text("discarded")
        assert visit.problems == []
    with node.store() as store:
        assert store.jobs.get(job).state is JobState.DISCARDED


def test_the_buttons_of_a_study_lead_to_their_pages_and_back(look: Look, node: BusyNode) -> None:
    study = study_of(node, "PAT-1")
    with look() as visit:
        visit.open(f"/studies/{study}").get_by_role("link", name="Analyse again").first.click()
        expect(visit.page.locator("h1")).to_contain_text("again?")
        visit.page.get_by_role("link", name="Cancel").click()
        expect(visit.page).to_have_url(f"{node.url}studies/{study}")
        visit.page.get_by_label("Destination").select_option("pacs")
        visit.page.get_by_role("button", name="Send again").click()
        visit.page.get_by_role("button", name="Send again").click()
        expect(visit.page).to_have_url(f"{node.url}studies/{study}")
        expect(visit.page.locator(".banner[role=status]")).to_be_visible()
        assert visit.problems == []


def test_a_verdict_is_kept_with_its_reviewer(look: Look, node: BusyNode) -> None:
    study = study_of(node, "PAT-1")
    with look() as visit:
        page = visit.open(f"/studies/{study}")
        page.get_by_label("Your verdict").first.select_option("disagree")
        page.get_by_label("Your remark").first.fill("<b>rotated</b>")
        page.get_by_role("button", name="Save review").first.click()
        expect(page.locator("body")).to_contain_text("<b>rotated</b>")
        expect(page.locator("body")).to_contain_text("disagrees: token")
        assert visit.problems == []
    with node.store() as store:
        assert any(row.reviewer == "token" for row in store.reviews.labels())


def test_a_viewer_sees_no_buttons(look: Look, node: BusyNode) -> None:
    with look(VIEWER_TOKEN) as visit:
        page = visit.open(f"/jobs/{parked_delivery(node)}")
        assert page.get_by_role("link", name="Retry").count() == 0
        page = visit.open(f"/studies/{study_of(node, 'PAT-1')}")
        assert page.get_by_role("link", name="Analyse again").count() == 0
        assert visit.problems == []
        visit.expected = {403}
        visit.open("/audit")
        expect(page.locator("body")).to_contain_text("needs admin")


def test_the_study_of_two_patients_is_released(look: Look, node: BusyNode) -> None:
    study = study_of(node, "PAT-4")
    with look() as visit:
        visit.open(f"/studies/{study}").get_by_role("link", name="Release").click()
        visit.page.get_by_role("checkbox").first.check()
        visit.page.get_by_role("button", name="Release the study").click()
        expect(visit.page).to_have_url(f"{node.url}studies/{study}")
        assert visit.problems == []

    def is_reported() -> bool:
        with node.store() as store:
            return store.results.study(study).status is StudyStatus.REPORTED

    wait_until(is_reported, "the study is reported")


def test_the_audit_trail_names_the_acts(look: Look) -> None:
    with look() as visit:
        page = visit.open("/audit?kind=job_retried")
        expect(page.locator("tbody").first).to_contain_text("token")
        page.get_by_role("button", name="Verify now").click()
        # The page shows the result, or a link to it if the verification ends after the answer.
        ended, link = (
            page.get_by_text("none altered"),
            page.get_by_role("link", name="Show the result"),
        )
        expect(ended.or_(link).first).to_be_visible()
        if link.is_visible():
            link.click()
        expect(page.locator("main")).to_contain_text("none altered")
        assert visit.problems == []
