"""The login page and the refusals, in a browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from storage.store import Store
from tests.daemon.web.access.logins import PASSWORD, quick_hash
from tests.servers.browser import SCHEMES, WIDTHS, visiting
from tests.servers.website import Site, running_site
from tests.tools.ports import free_port

pytestmark = [pytest.mark.daemon, pytest.mark.network, pytest.mark.slow]


@pytest.fixture
def site(tmp_path: Path, store: Store) -> Iterator[Site]:
    """The web role with an account."""
    account = {"name": "ines", "role": "viewer", "password_hash": quick_hash()}
    with running_site(tmp_path, web={"port": free_port(), "accounts": [account]}) as answering:
        yield answering


def log_in(page: Page, password: str = PASSWORD) -> None:
    page.fill("#name", "ines")
    page.fill("#password", password)
    page.keyboard.press("Enter")


def url_of(site: Site) -> str:
    return f"http://localhost:{site.port}/"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_login_leads_to_the_page_that_was_asked_for(
    browser: Browser, site: Site, scheme: str, width: str
) -> None:
    with visiting(browser, url_of(site), scheme=scheme, width=WIDTHS[width]) as visit:
        visit.expected = {401, 403}
        page = visit.open("/jobs?state=parked")
        log_in(page, "wrong")
        expect(page.get_by_role("alert")).to_have_text("Name and password do not fit.")
        assert visit.accessibility() == []
        assert visit.overflow() == 0
        visit.picture(f"login-{scheme}-{width}")
        log_in(page)
        page.wait_for_url("**/jobs?state=parked")
        expect(page.locator("header")).to_contain_text("ines · viewer")
        denied = visit.open("/audit")
        expect(denied.get_by_role("alert")).to_contain_text("it needs admin")
        assert visit.accessibility() == []
        assert visit.overflow() == 0
        visit.picture(f"denied-{scheme}-{width}")
        page.get_by_role("link", name="Log in as another user").click()
        page.fill("#token", site.token)
        page.keyboard.press("Enter")
        expect(page.locator("header")).to_contain_text("token · admin")
        page.get_by_role("button", name="Log out").click()
        expect(page.locator("h1")).to_have_text("Log in")
        assert visit.problems == []


def test_link_of_another_site_opens_the_page_of_a_session(browser: Browser, site: Site) -> None:
    """SameSite=Strict keeps the cookie back; the answer makes the browser ask again."""
    with visiting(browser, url_of(site)) as visit:
        visit.expected = {401}
        log_in(visit.open("/login"))
        visit.page.wait_for_selector("nav.pages")
        link = f"data:text/html,<a href='{url_of(site)}jobs'>jobs</a>"
        visit.page.goto(link)
        visit.page.click("a")
        visit.page.wait_for_selector("nav.pages")
        assert visit.page.inner_text("h1") == "Jobs"


def test_link_of_another_site_leads_a_stranger_to_the_login(browser: Browser, site: Site) -> None:
    with visiting(browser, url_of(site)) as visit:
        visit.page.goto(f"data:text/html,<a href='{url_of(site)}jobs'>jobs</a>")
        asked: list[str] = []
        visit.page.on("request", lambda request: asked.append(request.url))
        visit.page.click("a")
        visit.page.wait_for_timeout(1000)
        assert visit.page.inner_text("h1") == "Log in"
        assert sum(url.endswith("/jobs") for url in asked) == 2
