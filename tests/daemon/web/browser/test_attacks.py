"""Attacks on every page: stored and reflected script, injected headers, paths, frames, forms."""

import re
from urllib.parse import quote

import pytest

from daemon.web.access.guard import HEADERS
from tests.daemon.web.browser.conftest import BusyNode, Look
from tests.daemon.web.browser.pages import ask, entries_of, paths_of

pytestmark = [pytest.mark.daemon, pytest.mark.network, pytest.mark.slow]

SCRIPTS = ("<script>alert(1)</script>", "\"'><img src=x onerror=alert(2)>", "javascript:alert(3)")
VALUES = (
    *SCRIPTS,
    "x\r\nSet-Cookie: owned=1",
    "../../../../etc/passwd",
    "//elsewhere.example/",
    "' OR 1=1 --",
    "%",
    "\u202egnp.exe",
    "0" * 3000,
    "\x00",
    "-1",
    "99999999999999999999",
    "NaN",
)
_ACTIVE = """
() => [...document.querySelectorAll('*')]
  .filter(e => e.getAttributeNames().some(n => n.startsWith('on'))
    || (e.localName === 'script' && !e.src)
    || (e.getAttribute('href') || '').trim().toLowerCase().startsWith('javascript:'))
  .map(e => e.outerHTML)
"""


def test_no_page_runs_what_a_header_says(look: Look, node: BusyNode) -> None:
    with look() as visit:
        visit.page.on("dialog", lambda dialog: visit.problems.append(f"dialog {dialog.message}"))
        shown = ""
        for path in [path for path in paths_of(node) if ask(node, path).is_page]:
            page = visit.open(path)
            assert page.evaluate(_ACTIVE) == [], path
            shown += page.inner_text("body")
        assert visit.problems == []
    assert "<b>1</b>" in shown, "the hostile film is on no page, so nothing was tried"


def test_no_page_repeats_a_script_of_its_url(node: BusyNode) -> None:
    for entry in entries_of(node):
        if entry.method != "GET":
            continue
        queries = [parameter.name for parameter in entry.parameters if parameter.place == "query"]
        for path in list(paths_of(node)):
            if not _is_of(entry.path, path):
                continue
            for value in VALUES:
                for name in queries or ["q"]:
                    answer = ask(node, f"{path}?{name}={quote(value)}")
                    _check(answer.status, answer.headers, answer.body, f"{path} {name}={value}")
            break


def test_no_path_reaches_another_file(node: BusyNode) -> None:
    for entry in entries_of(node):
        if entry.method == "GET" and "{" in entry.path:
            for value in VALUES:
                path = re.sub(r"{[^}]+}", quote(value, safe=""), entry.path)
                answer = ask(node, path)
                _check(answer.status, answer.headers, answer.body, path)
                assert answer.status in (400, 404), path


def test_every_answer_forbids_frames_and_foreign_scripts(node: BusyNode) -> None:
    for path in (*paths_of(node), "/nothing", "/studies/%00"):
        answer = ask(node, path)
        missing = {
            name: answer.headers.get(name.lower())
            for name, value in HEADERS.items()
            if answer.headers.get(name.lower()) != value
        }
        assert missing == {}, path


def test_a_form_without_the_secret_of_the_session_changes_nothing(
    look: Look, node: BusyNode
) -> None:
    posts = sorted(set(paths_of(node, "POST")) - {"/login", "/api/login"})
    assert "/logout" in posts
    with look() as visit:
        (cookie,) = visit.page.context.cookies()
        for path in posts:
            for body in (b"", b"csrf=", b"csrf=guessed"):
                answer = ask(
                    node, path, "POST", "", body, Cookie=f"{cookie['name']}={cookie['value']}"
                )
                assert answer.status == 403, path
        assert visit.open("/").inner_text("h1") == "Overview"


def _is_of(pattern: str, path: str) -> bool:
    return (
        re.fullmatch(re.sub(r"{[^}]+}", "[^/]+", re.sub(r"\.", r"\.", pattern)), path) is not None
    )


def _check(status: int, headers: dict[str, str], body: bytes, where: str) -> None:
    assert status < 500 or status == 503, f"{where}: {status} {body[:300]!r}"
    assert "owned" not in headers.get("set-cookie", ""), where
    assert "elsewhere.example" not in headers.get("location", ""), where
    assert b"root:x:0" not in body, where
    if headers.get("content-type", "").startswith("text/html"):
        for script in SCRIPTS[:2]:
            assert script.encode() not in body, where
        assert not re.search(rb"(?:href|src|action)=[\"']?javascript:", body), where
