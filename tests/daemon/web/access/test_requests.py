"""Requests that try to leave the site, forge a host or header, or confuse the server."""

import json
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response

from daemon.web import app as web_app
from daemon.web.access.guard import HEADERS
from daemon.web.access.login import local_path
from daemon.web.access.roles import Role
from daemon.web.entry import Entry
from daemon.web.problems import BusyError, NotFoundError
from storage.errors import StorageError
from storage.store import Store
from tests.daemon.web.access.asgi import House, house_of, token_of
from tests.daemon.web.access.logins import BROWSER, OWN

ELSEWHERE = (
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/ /evil.example",
    "https://evil.example/",
    "https:evil.example",
    "javascript:alert(1)",
    "evil.example",
    "./x",
    "",
    "/%2f/evil.example",
    "/%2Fevil.example",
    "/%252fevil.example",
    "/%5cevil.example",
    "/%255Cevil.example",
    "/..//evil.example",
    "/../x",
    "/./x",
    "/%2e%2e/x",
    "/a/%2e%2e%2f/evil.example",
    "/x\r\nSet-Cookie: a=b",
    "/x%0d%0aSet-Cookie:%20a=b",
    "/x%00",
    "/x\x00",
    "/ü",
    "/" + "x" * 3000,
)


@pytest.fixture(scope="module")
def house(shared_folder: Path, shared_store: Store) -> House:
    return house_of(shared_folder, shared_store)


@pytest.mark.parametrize("wanted", ELSEWHERE)
def test_login_leads_to_no_other_site(house: House, wanted: str) -> None:
    assert local_path(wanted) == "/"
    fields = {"token": token_of(Role.ADMIN), "next": wanted}
    answer = house.post("/login", fields)
    assert (answer.status, answer.headers["location"]) == (303, "./")
    assert [name for name, _ in answer.all_headers].count("set-cookie") == 1
    page = house.ask("/login", headers=BROWSER)
    assert 'name="next"' not in page.text


@pytest.mark.parametrize(
    "wanted",
    [
        "/studies",
        "/studies/1.2.840.113619",
        "/studies?q=PAT%204711&sort=-date&page=2",
        "/studies/1.2/films/1/view?finding=Pleural_Thickening",
        "/studies?next=https://evil.example",
        "/studies?q=%0d%0a",
    ],
)
def test_login_leads_to_the_page_that_was_asked_for(house: House, wanted: str) -> None:
    refused = house.ask(wanted, headers=BROWSER)
    assert refused.status == 401
    shown = wanted.replace("&", "&amp;")
    assert f'<input type="hidden" name="next" value="{shown}">' in refused.text
    fields = {"token": token_of(Role.ADMIN), "next": wanted}
    answer = house.post("/login", fields)
    assert answer.headers["location"] == f".{wanted}"


def test_form_of_a_deep_page_leads_to_the_login(house: House) -> None:
    page = house.ask("/studies/1.2/films/1/view", headers=BROWSER)
    assert 'action="../../../../login"' in page.text
    assert 'href="../../../../static/style.css"' in page.text


def test_link_of_another_site_asks_again_so_that_the_cookie_is_sent(house: House) -> None:
    assert "refresh" not in house.ask("/studies", headers=BROWSER).headers
    linked = {**BROWSER, "Sec-Fetch-Site": "cross-site"}
    assert house.ask("/studies", headers=linked).headers["refresh"] == "0"
    own = {**BROWSER, "Sec-Fetch-Site": "same-origin"}
    assert "refresh" not in house.ask("/studies", headers=own).headers
    assert "refresh" not in house.ask("/actions/retry", "POST", linked).headers


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "localhost@evil.example",
        "evil.example@localhost",
        "localhost/evil",
        "localhost#evil",
        "localhost:80:80",
        "localhost:x",
        "local host",
        "",
        "[::1",
    ],
)
def test_other_hosts_are_refused(house: House, host: str) -> None:
    answer = house.ask("/", headers=house.bearer(Role.ADMIN), host=host)
    assert answer.status == 400
    assert "evil" not in answer.text
    assert (
        HEADERS.items() <= {name: answer.headers.get(name.lower(), "") for name in HEADERS}.items()
    )


@pytest.mark.parametrize(
    "path", ["/nothing", "/studies/", "/static/../app.py", "/static/%2e%2e/app.py", "//", "/%00"]
)
def test_unknown_paths_are_readable_pages(house: House, path: str) -> None:
    admin = house.bearer(Role.ADMIN)
    page = house.ask(path, headers={**admin, **BROWSER})
    assert page.status == 404
    assert "<h1>Not found</h1>" in page.text or "no such" in page.text
    assert "location" not in page.headers


def test_programs_get_errors_as_json(house: House) -> None:
    viewer, accept = house.bearer(Role.METRICS), {"Accept": "application/json"}
    for path, headers, status in (
        ("/nothing", {**viewer, **accept}, 404),
        ("/api/nothing", viewer, 404),
        ("/api/nothing", {}, 401),
        ("/", {**viewer, **accept}, 403),
        ("/", accept, 401),
    ):
        answer = house.ask(path, headers=headers)
        assert answer.status == status
        assert answer.headers["content-type"] == "application/json"
        assert json.loads(answer.text)["error"]
    answer = house.ask("/metrics", "DELETE", {**viewer, **accept})
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_error_names_the_role_that_is_needed(house: House) -> None:
    answer = house.ask("/", headers={**house.bearer(Role.METRICS), **BROWSER})
    assert answer.status == 403
    assert "Your role, metrics, does not allow this: it needs viewer." in answer.text


def test_program_needs_no_origin_and_no_secret(house: House) -> None:
    assert house.ask("/logout", "POST", house.bearer(Role.METRICS)).status == 303


def test_login_form_needs_a_page_of_this_site(house: House) -> None:
    body = f"token={token_of(Role.ADMIN)}".encode()
    for headers in ({}, {"Origin": "https://evil.example"}, {"Origin": "http://localhost:81"}):
        assert house.ask("/login", "POST", headers, body).status == 403
    assert house.ask("/login", "POST", {"Origin": "http://localhost"}, body).status == 303


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", '" onload="x', "\u202eevil"])
def test_text_of_a_request_is_not_shown(house: House, text: str) -> None:
    for path in (f"/{text}", f"/studies?q={text}"):
        page = house.ask(path, headers=BROWSER)
        assert text not in page.text
    answer = house.post("/login", {"token": text, "next": f"/{text}"}, headers=BROWSER)
    assert answer.status == 401
    assert text not in answer.text


def test_session_cookie_of_a_header_list_is_read(house: House) -> None:
    login = house.post("/login", {"token": token_of(Role.ADMIN)})
    pairs = [("Cookie", "other=1"), ("Cookie", login.session["Cookie"]), *OWN.items()]
    assert house.ask("/", headers=pairs).status == 200


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (RuntimeError("secret"), 500, "This node made a mistake; its log has the details."),
        (StorageError("the store is away"), 503, "the store is away"),
        (NotFoundError("There is no study 1.2."), 404, "There is no study 1.2."),
        (BusyError("Try later."), 503, "Try later."),
    ],
)
def test_errors_of_pages_are_readable(
    shared_folder: Path,
    shared_store: Store,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
    message: str,
) -> None:
    def fail(_request: Request) -> Response:
        raise error

    declared = web_app.all_entries
    failing = [Entry("/fail", fail, Role.VIEWER), Entry("/api/fail", fail, Role.VIEWER)]
    monkeypatch.setattr(web_app, "all_entries", lambda *rooms: [*failing, *declared(*rooms)])
    house = house_of(shared_folder, shared_store)
    page = house.ask("/fail", headers={**house.bearer(Role.VIEWER), **BROWSER})
    assert (page.status, message in page.text) == (status, True)
    assert "secret" not in page.text
    answer = house.ask("/api/fail", headers=house.bearer(Role.VIEWER))
    assert (answer.status, json.loads(answer.text)) == (status, {"error": message})
    for reply in (page, answer):
        assert {name: reply.headers.get(name.lower()) for name in HEADERS} == HEADERS
