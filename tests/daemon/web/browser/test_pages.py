"""Every page in a browser: no error, no violation of accessibility, nothing beyond the window."""

import re

import pytest

from tests.daemon.web.browser.conftest import BusyNode, Look
from tests.daemon.web.browser.pages import ask, paths_of
from tests.servers.browser import WIDTHS

pytestmark = [pytest.mark.daemon, pytest.mark.network, pytest.mark.slow]


@pytest.fixture(scope="module")
def pages(node: BusyNode) -> list[str]:
    """The paths of the node that answer with a page."""
    found = [path for path in paths_of(node) if ask(node, path).is_page]
    assert {"/", "/studies", "/statistics"} <= set(found)
    return found


# Each scheme and each width once; the other two pairs take another minute and a half.
@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        ("wide", "light"),
        ("narrow", "dark"),
        pytest.param("wide", "dark", marks=pytest.mark.soak),
        pytest.param("narrow", "light", marks=pytest.mark.soak),
    ],
)
def test_every_page_is_sound(look: Look, pages: list[str], scheme: str, width: str) -> None:
    problems = {}
    with look(scheme=scheme, width=WIDTHS[width]) as visit:
        for path in pages:
            visit.problems.clear()
            page = visit.open(path)
            found = [*visit.problems, *visit.accessibility()]
            if visit.overflow() > 0:
                found.append(f"{visit.overflow()} pixels wider than the window")
            if not page.inner_text("h1").strip():
                found.append("no heading")
            if found:
                problems[path] = found
            visit.picture(f"{scheme}-{width}-{re.sub('[^a-z0-9.]+', '_', path[1:])}")
    assert problems == {}


def test_every_page_reads_without_script(look: Look, pages: list[str]) -> None:
    with look(script=False) as visit:
        for path in pages:
            page = visit.open(path)
            assert page.inner_text("main").strip()
        assert visit.problems == []


def test_the_keyboard_reaches_the_content_first(look: Look, pages: list[str]) -> None:
    with look() as visit:
        # The form of a login takes the focus itself.
        for path in [path for path in pages if path != "/login"]:
            page = visit.open(path)
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.textContent") == "Skip to content", path
            page.keyboard.press("Enter")
            assert page.evaluate("document.activeElement.id") == "content", path
