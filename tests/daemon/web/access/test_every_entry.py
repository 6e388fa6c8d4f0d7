"""Every entry of the application is open to exactly the roles that it declares.

The entries are those of the built application, so a new page is tested without a new test.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import compile_path

from daemon.web import app as web_app
from daemon.web.access.guard import HEADERS
from daemon.web.access.proxies import ProxyUser
from daemon.web.access.roles import Role
from daemon.web.entry import Endpoint, Entry
from storage.store import Store
from tests.daemon.web.access.asgi import House, house_of, token_of
from tests.daemon.web.access.logins import OWN
from tests.tools.paths import ROOT

REACHED = "the endpoint of "
QUICK_METHODS = ("GET", "POST", "OPTIONS")
OTHER_METHODS = ("HEAD", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "BREW")
METHODS = QUICK_METHODS + OTHER_METHODS
CALLERS = (None, *Role)
PROXY = "192.0.2.1"


class Table:
    """The declared entries, and an application whose endpoints only say that they were reached."""

    def __init__(self, folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entries: list[Entry] = []
        declared = web_app.all_entries

        def replaced(*rooms: object) -> Sequence[Entry]:
            self.entries = list(declared(*rooms))  # type: ignore[arg-type]
            return [replace(entry, endpoint=_endpoint(entry)) for entry in self.entries]

        monkeypatch.setattr(web_app, "all_entries", replaced)
        self.house: House = house_of(
            folder,
            store,
            trusted_proxies=[PROXY],
            proxy_user_header="X-User",
            proxy_roles={role: role for role in ("metrics", "viewer", "operator", "admin")},
        )
        self._patterns = [(compile_path(entry.path)[0], entry) for entry in self.entries]

    @property
    def paths(self) -> Iterator[str]:
        """Paths that match the entries, each path once."""
        yield from dict.fromkeys(map(_filled, self.entries))

    def declared(self, path: str, method: str) -> Entry | None:
        asked = "GET" if method == "HEAD" else method
        for pattern, entry in self._patterns:
            if pattern.match(path) and entry.method == asked:
                return entry
        return None


def _endpoint(entry: Entry) -> Endpoint:
    def endpoint(_request: Request) -> Response:
        return PlainTextResponse(f"{REACHED}{entry.method} {entry.path}")

    return endpoint


def _filled(entry: Entry) -> str:
    """Return a path of an entry."""
    text = re.sub(r"\{\w+:path\}", "a/b.txt", entry.path)
    text = re.sub(r"\{\w+:int\}", "1", text)
    return re.sub(r"\{\w+\}", "1.2.840", text)


@pytest.fixture(scope="module")
def table(shared_folder: Path, shared_store: Store) -> Iterator[Table]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Table(shared_folder, shared_store, monkeypatch)


def _expected(entry: Entry | None, role: Role | None) -> int:
    """Return the status: 200 stands for a request that reaches its endpoint."""
    if entry is None:
        return 401 if role is None else 405
    if entry.role is None:
        return 200
    if role is None:
        return 401
    return 200 if role >= entry.role else 403


def _check(table: Table, role: Role | None, path: str, method: str, **options: object) -> None:
    entry = table.declared(path, method)
    answer = table.house.ask(path, method, **options)  # type: ignore[arg-type]
    case = f"{role} {method} {path}"
    assert answer.status == _expected(entry, role), case
    assert answer.text.startswith(REACHED) is (answer.status == 200), case
    assert {name: answer.headers.get(name.lower()) for name in HEADERS} == HEADERS, case
    if answer.status == 403:
        assert entry is not None
        needed = Role.VIEWER if entry.role is Role.STATUS else entry.role
        assert f"it needs {needed}" in answer.text, case
    if answer.status == 405:
        allowed = {each for each in METHODS if table.declared(path, each) is not None}
        assert set(answer.headers["allow"].split(", ")) == allowed, case


@pytest.mark.parametrize(
    "methods", [QUICK_METHODS, pytest.param(OTHER_METHODS, marks=pytest.mark.slow)], ids=" ".join
)
@pytest.mark.parametrize("role", CALLERS, ids=str)
def test_a_program_reaches_what_its_role_allows(
    table: Table, role: Role | None, methods: tuple[str, ...]
) -> None:
    headers: Mapping[str, str] = {} if role is None else table.house.bearer(role)
    for path in table.paths:
        for method in methods:
            if role is None and (entry := table.declared(path, method)) and entry.role is None:
                headers = OWN  # a form without a login must be of a page of this site
            _check(table, role, path, method, headers=headers)


@pytest.mark.parametrize("role", Role, ids=str)
def test_a_browser_reaches_what_its_role_allows(table: Table, role: Role) -> None:
    session = {**_session(table, role), **OWN}
    for path in table.paths:
        for method in ("GET", "POST"):
            _check(table, role, path, method, headers=session)


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.STATUS], ids=str)
def test_a_user_of_a_proxy_reaches_what_the_role_allows(table: Table, role: Role) -> None:
    user = {"X-User": str(role), **OWN}
    secret = table.house.authenticator.accepts_user(ProxyUser(str(role), role), PROXY).csrf
    for path in table.paths:
        for method in ("GET", "POST"):
            headers = {**user, "X-CSRF-Token": secret}
            _check(table, role, path, method, headers=headers, client=PROXY)


def _changes(table: Table) -> list[tuple[str, str, Entry]]:
    return [
        (_filled(entry), entry.method, entry)
        for entry in table.entries
        if entry.method not in ("GET", "HEAD") and entry.role is not None
    ]


def test_no_viewer_may_change_anything(table: Table) -> None:
    """Reviews and actions alike need an operator."""
    for path, method, entry in _changes(table):
        assert entry.role is not None
        assert entry.role >= Role.OPERATOR, f"{method} {path}"
        answer = table.house.ask(path, method, table.house.bearer(Role.VIEWER))
        assert answer.status == 403


def test_a_change_by_a_browser_needs_the_secret_and_a_page_of_this_site(table: Table) -> None:
    session = _session(table, Role.ADMIN)
    user = {"X-User": "admin"}
    changes = [*_changes(table), ("/logout", "POST", None)]
    for path, method, _ in changes:
        for headers in (
            {**session, **OWN, "X-CSRF-Token": ""},
            {**session, **OWN, "X-CSRF-Token": "guessed"},
            {**session, "Sec-Fetch-Site": "same-origin"},
            {**session, **OWN, "Origin": "https://elsewhere.example"},
            {**session, **OWN, "Origin": "null"},
            {**session, **OWN, "Sec-Fetch-Site": "cross-site"},
            {**session, **OWN, "Sec-Fetch-Site": "same-site"},
            {**user, **OWN},
            {**user, **OWN, "X-CSRF-Token": session["X-CSRF-Token"]},
        ):
            answer = table.house.ask(path, method, headers, client=PROXY)
            assert answer.status == 403, f"{method} {path} {headers}"
            assert REACHED not in answer.text


def test_no_page_of_another_site_may_embed_a_page(table: Table) -> None:
    session = _session(table, Role.ADMIN)
    link = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    picture = {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    frame = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    for path in table.paths:
        entry = table.declared(path, "GET")
        if entry is None or entry.role is None:
            continue
        for site in ("cross-site", "same-site"):
            for how, status in ((link, 200), (picture, 403), (frame, 403), ({}, 403)):
                headers = {**session, "Sec-Fetch-Site": site, **how}
                assert table.house.ask(path, headers=headers).status == status, path


def test_the_first_entry_of_a_path_is_the_one_that_answers(table: Table) -> None:
    """No entry is hidden behind another one, so that the declared role is the one that counts."""
    for entry in table.entries:
        headers = {**table.house.bearer(Role.ADMIN), **OWN}
        answer = table.house.ask(_filled(entry), entry.method, headers)
        assert answer.text == f"{REACHED}{entry.method} {entry.path}"


def _session(table: Table, role: Role) -> dict[str, str]:
    login = asyncio.run(table.house.authenticator.log_in(token_of(role), "127.0.0.1"))
    cookie = {"Cookie": f"cxrd_session={login.session}"}
    return {**cookie, "X-CSRF-Token": table.house.secret_of(cookie)}


def test_security_page_names_the_role_of_every_entry(table: Table) -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = page.split("| pages | least role |\n|---|---|\n")[1].split("\n\n")[0].splitlines()
    roles: dict[str, Role | None] = {}
    for row in rows:
        _, pages, least, _ = row.split("|")
        role = {"none": None, "the old reach (below)": Role.STATUS}.get(least.strip(), least)
        for path in re.findall(r"`(/[^`]*)`", pages.partition(";")[0].partition(", and")[0]):
            roles[path] = Role[role.strip(" `").upper()] if isinstance(role, str) else role
    for entry in table.entries:
        path = entry.path.removeprefix("/api") or "/"
        named = [each for each in roles if _covers(each, entry.path) or _covers(each, path)]
        declared = roles[max(named, key=len)]
        if entry.method != "GET" and declared is not None:
            declared = max(declared, Role.OPERATOR)
        assert entry.role == declared, f"{entry.method} {entry.path}"


def _covers(named: str, path: str) -> bool:
    """Return True if a path of the security page stands for the path of an entry."""
    if "…" in named:
        return re.fullmatch(named.replace("…", ".+"), path) is not None
    return path == named or path.startswith(f"{named.rstrip('/')}/")
