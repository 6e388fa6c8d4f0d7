"""One page in a browser, for the quick tests."""

import pytest
from playwright.sync_api import Browser

from storage.store import Store
from tests.servers.browser import visiting
from tests.servers.website import Site, fill

pytestmark = [pytest.mark.daemon, pytest.mark.network]


def test_login_leads_to_the_overview(browser: Browser, site: Site, store: Store) -> None:
    fill(store)
    with visiting(browser, f"http://localhost:{site.port}/", site.token) as visit:
        page = visit.open("/")
        assert page.inner_text("h1") == "Overview"
        assert "RESEARCH USE ONLY" in page.inner_text("header")
        assert visit.accessibility() == []
        assert visit.problems == []
