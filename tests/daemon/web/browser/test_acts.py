"""The confirmation pages and the page of the interface in a browser: they work, and are legible."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser

from storage.files.folder_spool import FolderSpool
from storage.records import JobKind, JobState, StudyKey
from storage.store import Store
from tests.daemon.web.actions.operators import (
    ALICE,
    HELD,
    KEY,
    fill,
    site_with_operators,
    store_of,
)
from tests.daemon.web.browser.conftest import BusyNode, Look
from tests.servers.browser import SCHEMES, WIDTHS, Visit, visiting
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network, pytest.mark.slow]

STUDY = f"study={KEY.study_instance_uid}&source={KEY.source}"
PAGES = {
    "retry": "actions/retry?state=parked",
    "discard": "actions/discard?state=parked&kind=commit",
    "release": f"actions/release?study={HELD.study_instance_uid}&source={HELD.source}",
    "analyse-again": f"actions/analyse-again?{STUDY}",
    "send-again": f"actions/send-again?{STUDY}&to=archive",
    "result": "actions/result",
    "docs": "api/docs",
}


@contextmanager
def visit(browser: Browser, folder: Path, **options: Any) -> Iterator[tuple[Visit, Store]]:
    with store_of(folder) as store:
        fill(store, FolderSpool(folder / "spool"))
        with (
            site_with_operators(folder) as site,
            visiting(browser, f"http://localhost:{site.port}/", ALICE, **options) as opened,
        ):
            yield opened, store


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_pages_are_legible(browser: Browser, tmp_path: Path, scheme: str) -> None:
    for width in WIDTHS:
        folder = tmp_path / width
        folder.mkdir()
        with visit(browser, folder, scheme=scheme, width=WIDTHS[width]) as (opened, _):
            for name, path in PAGES.items():
                opened.open(path)
                assert opened.accessibility() == [], name
                assert opened.overflow() <= 0, (name, width)
                opened.picture(f"acts-{name}-{scheme}-{width}")
            assert opened.problems == []


def test_a_confirmation_acts_and_its_result_is_told_once(browser: Browser, tmp_path: Path) -> None:
    with visit(browser, tmp_path) as (opened, store):
        page = opened.open(PAGES["retry"])
        page.get_by_role("button", name=re.compile("^Retry")).click()
        assert "jobs queued again" in page.locator(".banner[role=status]").inner_text()
        opened.picture("acts-told")
        page.reload()
        assert page.locator(".banner[role=status]").count() == 0
        assert len(store.jobs.list(state=JobState.PARKED, kind=JobKind.COMMIT)) == 0

        page = opened.open(PAGES["release"])
        page.get_by_role("checkbox").last.check()
        page.get_by_role("button", name="Release the study").click()
        assert store.results.study(HELD.study_instance_uid).hold is None

        page = opened.open(PAGES["send-again"])
        page.get_by_role("link", name="Cancel").click()
        assert store.jobs.list(state=JobState.QUEUED, kind=JobKind.DELIVER) == ()
        page = opened.open(PAGES["send-again"])
        page.keyboard.press("Tab")
        page.get_by_role("button", name="Send again").press("Enter")
        page.wait_for_load_state()
        assert len(store.jobs.list(state=JobState.QUEUED, kind=JobKind.DELIVER)) == 1


def test_a_real_study_is_analysed_again_and_nothing_is_sent_twice(
    look: Look, node: BusyNode
) -> None:
    with node.store() as store, look() as opened:
        (report,) = store.jobs.list(kind=JobKind.REPORT, state=JobState.DONE)[-1:]
        key = StudyKey.of_subject(report.subject)
        deliveries = len(store.jobs.list(kind=JobKind.DELIVER, limit=None))
        before = store.results.study(key.study_instance_uid, key.source)
        objects = [item.objects for item in before.instances]

        named = {"study": key.study_instance_uid, "source": key.source, "back": "jobs"}
        page = opened.open(f"actions/analyse-again?{urlencode(named)}")
        page.get_by_role("button", name="Analyse again").click()
        page.wait_for_load_state()

        wait_until(
            lambda: (
                store.jobs.get(report.id).generation > report.generation
                and store.jobs.get(report.id).state is JobState.DONE
            ),
            "the study is reported again",
            60,
        )
        study = store.results.study(key.study_instance_uid, key.source)
        assert [item.objects for item in study.instances] == objects
        assert len(store.jobs.list(kind=JobKind.DELIVER, limit=None)) == deliveries
        assert opened.problems == []
