"""A headless Chromium that records what goes wrong in a page."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, sync_playwright

from tests.tools.installed import require_tool

SCREENSHOTS = os.environ.get("SCREENSHOT_FOLDER")
"""Folder for a picture of each page that a test looks at; None: no pictures."""

SCHEMES = ("light", "dark")
WIDTHS = {"wide": 1280, "narrow": 380}

_LOOK_MILLISECONDS = 20
_QUIET_LOOKS = 5
"""Looks at the requests, one after another, that find none unanswered."""


@dataclass
class Visit:
    """A page in the browser, and the errors of its console and its requests so far.

    A request may be answered with one of the statuses `expected`.
    """

    page: Page
    base: str
    expected: set[int] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    _unanswered: set[Request] = field(default_factory=set)

    def open(self, path: str) -> Page:
        """Open a path of the site, and wait until its requests are answered."""
        self._unanswered.clear()
        self.page.goto(f"{self.base}{path.lstrip('/')}")
        # Playwright's own wait for an idle network takes half a second after the last request.
        quiet_looks = 0
        while quiet_looks < _QUIET_LOOKS:
            self.page.wait_for_timeout(_LOOK_MILLISECONDS)
            quiet_looks = 0 if self._unanswered else quiet_looks + 1
        return self.page

    def watch(self) -> None:
        """Record errors and requests from now on."""
        self.page.on("request", lambda request: self._unanswered.add(request))
        self.page.on("requestfinished", lambda request: self._unanswered.discard(request))
        self.page.on("requestfailed", lambda request: self._unanswered.discard(request))
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))
        self.page.on("response", self._on_response)

    def _on_console(self, message: ConsoleMessage) -> None:
        # The browser also writes a failed request to the console, without its URL.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.problems.append(f"console: {message.text}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.expected:
            self.problems.append(f"{response.status} for {urlsplit(response.url).path}")

    def accessibility(self) -> list[str]:
        """Return the serious and critical violations that axe-core finds in the page."""
        found: dict[str, Any] = Axe().run(self.page).response
        return [
            f"{violation['id']}: {node['target']} {node['failureSummary']}"
            for violation in found["violations"]
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than its window."""
        width: int = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return width

    def picture(self, name: str) -> None:
        """Keep a picture of the whole page, where a folder is set for it."""
        if SCREENSHOTS is not None:
            self.page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png", full_page=True)


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Run Debian's Chromium; skip the test where it is not installed."""
    program = require_tool("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visiting(
    browser: Browser,
    base: str,
    token: str = "",
    *,
    scheme: str = "light",
    width: int = 1280,
    script: bool = True,
) -> Iterator[Visit]:
    """Open a window of its own, logged in with the token unless that is empty."""
    with browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": width, "height": 900},
        java_script_enabled=script,
    ) as context:
        visit = Visit(context.new_page(), base)
        if token:
            visit.page.goto(base)
            visit.page.fill("#token", token)
            visit.page.click("main button")
            visit.page.wait_for_selector("nav.pages")
        visit.watch()
        yield visit
