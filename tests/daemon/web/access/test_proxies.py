"""Logins at a proxy, and the client behind it: only a trusted proxy is believed."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from daemon.audit.logins import LoginOutcome
from daemon.config.sections.web import WebConfig, WebRole
from daemon.web.access.guard import TLS_HEADERS
from daemon.web.access.proxies import LOG_SECONDS, Proxies, ProxyUser
from daemon.web.access.roles import Role
from daemon.web.access.sessions import SECURE_COOKIE
from daemon.web.access.throttle import FAILURES
from storage.store import Store
from tests.daemon.web.access.asgi import House, Reply, house_of, token_of
from tests.daemon.web.access.logins import BROWSER, OWN
from tests.tools.clock import Clock

PROXY, OTHER_PROXY, CLIENT = "192.0.2.1", "192.0.2.2", "198.51.100.7"
ROLES = {"ines": "admin", "otto": "metrics", "@radiology": "viewer", "@physics": "operator"}


@pytest.fixture
def house(shared_folder: Path, shared_store: Store) -> House:
    return house_of(
        shared_folder,
        shared_store,
        trusted_proxies=["192.0.2.0/30", "2001:db8::1"],
        proxy_user_header="X-Forwarded-User",
        proxy_groups_header="X-Forwarded-Groups",
        proxy_roles=ROLES,
    )


def role_of(reply: Reply) -> str:
    """Return the role that the page names; the status for a refused request."""
    found = re.search(r'class="muted">[^<]* · (\w+)</span>', reply.text)
    return found[1] if reply.status == 200 and found else str(reply.status)


@pytest.mark.parametrize(
    ("user", "groups", "role"),
    [
        ("ines", None, "admin"),
        ("ines", "radiology", "admin"),
        ("eva", "nurses, radiology", "viewer"),
        ("eva", "radiology,physics", "operator"),
        ("eva", "nurses", "403"),
        ("eva", "", "403"),
        ("eva", None, "403"),
        ("eva", "ines", "403"),
        ("radiology", "", "403"),
        ("INES", None, "403"),
        ("otto", None, "403"),
    ],
)
def test_user_or_group_gives_the_role(
    house: House, user: str, groups: str | None, role: str
) -> None:
    headers = {"X-Forwarded-User": user, **BROWSER}
    if groups is not None:
        headers["X-Forwarded-Groups"] = groups
    for client in (PROXY, "::ffff:192.0.2.1", "2001:db8::1"):
        assert role_of(house.ask("/", headers=headers, client=client)) == role


def test_user_without_a_role_is_told_so(house: House) -> None:
    headers = {"X-Forwarded-User": "<b>eva", **BROWSER}
    answer = house.ask("/", headers=headers, client=PROXY)
    assert answer.status == 403
    assert "logged in at the proxy as &lt;b&gt;eva" in answer.text
    assert "web.proxy_roles" in answer.text
    assert "checks" not in house.ask("/healthz", headers=headers, client=PROXY).text
    assert house.reported == [(PROXY, LoginOutcome.NO_ROLE, "<b>eva")]


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Forwarded-User", "")],
        [("X-Forwarded-User", "  ")],
        [("X-Forwarded-User", "(null)")],
        [("X-Forwarded-User", "@radiology")],
        [("X-Forwarded-User", "i\x01nes")],
        [("X-Forwarded-User", "i" * 65)],
        [("X-Forwarded-User", "ines"), ("X-Forwarded-User", "ines")],
        [("X-Forwarded-User", "eva"), ("x-forwarded-user", "ines")],
        [
            ("X-Forwarded-User", "eva"),
            ("X-Forwarded-Groups", "nurses"),
            ("X-Forwarded-Groups", "physics"),
        ],
    ],
)
def test_unclear_headers_are_refused(house: House, headers: Iterable[tuple[str, str]]) -> None:
    answer = house.ask("/", headers=[*headers, *BROWSER.items()], client=PROXY)
    assert answer.status == 400
    assert "The proxy sent X-Forwarded-User" in answer.text
    answer = house.ask("/", headers=[*headers, *house.bearer(Role.ADMIN).items()], client=PROXY)
    assert answer.status == 400


@pytest.mark.parametrize("client", [CLIENT, "127.0.0.1", "192.0.2.4", "unknown", "2001:db8::2"])
def test_headers_of_any_other_host_are_ignored_and_logged_once_a_minute(
    house: House, client: str, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {
        "X-Forwarded-User": "ines",
        "X-Forwarded-Groups": "physics",
        "X-Forwarded-For": PROXY,
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Prefix": "/healthz",
    }
    for _ in range(3):
        answer = house.ask("/", headers=headers, client=client)
        assert answer.status == 401
        assert "strict-transport-security" not in answer.headers
    (record,) = caplog.records
    assert record.getMessage() == (
        f"X-Forwarded-User from {client} ignored: the address is not in web.trusted_proxies"
        " (1 such request(s))"
    )
    assert house.reported == []


def test_ignored_headers_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    web = WebConfig(
        trusted_proxies=(PROXY,), proxy_user_header="X-User", proxy_roles={"ines": WebRole.ADMIN}
    )
    proxies = Proxies(web, clock.seconds)
    scope = {"client": (CLIENT, 1), "headers": [(b"x-user", b"ines")]}
    for wait in (0, 1, LOG_SECONDS):
        clock.advance(wait)
        assert proxies.user(scope) is None
    counts = [record.getMessage().partition("(")[2][:1] for record in caplog.records]
    assert counts == ["1", "2"]


def test_no_proxy_is_trusted_by_default(shared_folder: Path, shared_store: Store) -> None:
    house = house_of(shared_folder, shared_store)
    headers = {"X-Forwarded-User": "admin", "X-Forwarded-For": CLIENT, "Remote-User": "admin"}
    assert house.ask("/", headers=headers).status == 401
    house.ask("/", headers={**headers, "Authorization": "Bearer wrong"})
    assert house.reported == [("127.0.0.1", LoginOutcome.REFUSED, "")]


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ([], PROXY),
        ([CLIENT], CLIENT),
        ([f"10.0.0.1, {CLIENT}"], CLIENT),
        (["10.0.0.1", CLIENT], CLIENT),
        ([f"{CLIENT}, {OTHER_PROXY}"], CLIENT),
        ([f"10.0.0.1, {CLIENT} , {OTHER_PROXY}, 2001:db8::1"], CLIENT),
        ([f"{CLIENT}:50123"], CLIENT),
        (["[2001:db8::7]:50123"], "2001:db8::7"),
        (["2001:db8::7"], "2001:db8::7"),
        ([f"::ffff:{CLIENT}"], CLIENT),
        (["unknown"], PROXY),
        ([f"{CLIENT}, unknown"], PROXY),
        ([f"{CLIENT}, <script>, {OTHER_PROXY}"], OTHER_PROXY),
        ([""], PROXY),
    ],
)
def test_client_is_the_last_address_that_no_trusted_proxy_has(
    house: House, forwarded: list[str], client: str
) -> None:
    headers = [("X-Forwarded-For", value) for value in forwarded]
    house.ask("/", headers=[*headers, *house.bearer(Role.ADMIN).items()], client=PROXY)
    assert house.reported == [(client, LoginOutcome.BEARER, "admin")]


def test_failures_behind_a_proxy_are_counted_by_client(house: House) -> None:
    for _ in range(FAILURES + 1):
        answer = house.post(
            "/login", {"token": "wrong"}, headers={"X-Forwarded-For": CLIENT}, client=PROXY
        )
    assert answer.status == 429
    other = {"X-Forwarded-For": "198.51.100.8"}
    assert house.post("/login", {"token": "wrong"}, headers=other, client=PROXY).status == 401


@pytest.mark.parametrize(
    ("forwarded", "is_encrypted"),
    [
        (["https"], True),
        (["http"], False),
        (["HTTPS"], False),
        (["https,http"], False),
        (["https", "http"], False),
        (["https, https"], True),
        (["javascript"], False),
    ],
)
def test_scheme_is_that_of_the_browser(
    house: House, forwarded: list[str], is_encrypted: bool
) -> None:
    headers = [("X-Forwarded-Proto", value) for value in forwarded]
    answer = house.ask("/healthz", headers=headers, client=PROXY)
    assert (TLS_HEADERS.items() <= _titles(answer).items()) is is_encrypted
    answer = house.ask(
        "/login",
        "POST",
        [*headers, ("Origin", "http://localhost"), ("Sec-Fetch-Site", "same-origin")],
        f"token={token_of(Role.ADMIN)}".encode(),
        client=PROXY,
    )
    # Over TLS a page of the plain site is another site.
    assert answer.status == (403 if is_encrypted else 303)


def _titles(answer: Reply) -> dict[str, str]:
    return {name.title(): value for name, value in answer.headers.items()}


def test_session_over_tls_has_a_cookie_of_this_host_only(house: House) -> None:
    tls = {"X-Forwarded-Proto": "https"}
    own = {**tls, "Origin": "https://localhost"}
    login = house.post("/login", {"token": token_of(Role.ADMIN)}, headers=own, client=PROXY)
    cookie = login.headers["set-cookie"]
    assert cookie.startswith(f"{SECURE_COOKIE}=")
    for attribute in ("Secure", "HttpOnly", "SameSite=strict", "Path=/"):
        assert f"; {attribute}" in cookie
    assert "Domain" not in cookie
    assert role_of(house.ask("/", headers={**tls, **login.session}, client=PROXY)) == "admin"
    # A plain page or a neighbouring host could have set the cookie without the prefix.
    planted = {"Cookie": login.session["Cookie"].removeprefix("__Host-")}
    assert house.ask("/", headers={**tls, **planted}, client=PROXY).status == 401


@pytest.mark.parametrize(
    ("prefix", "path", "status"),
    [
        ("/cxrd", "/cxrd/metrics", 200),
        ("/cxrd/", "/cxrd/metrics", 200),
        ("/radiology/cxrd", "/radiology/cxrd/metrics", 200),
        ("/cxrd", "/metrics", 200),
        ("/cxrd", "/cxrdmetrics", 404),
        ("/cx", "/cxrd/metrics", 404),
        ("//cxrd", "//cxrd/metrics", 404),
        ("/c%20", "/c /metrics", 404),
        ("", "/cxrd/metrics", 404),
    ],
)
def test_prefix_of_a_proxy_is_taken_off(house: House, prefix: str, path: str, status: int) -> None:
    headers = {"X-Forwarded-Prefix": prefix, **house.bearer(Role.ADMIN)}
    assert house.ask(path, headers=headers, client=PROXY).status == status


def test_pages_and_redirects_below_a_prefix_are_relative(house: House) -> None:
    headers = {"X-Forwarded-Prefix": "/cxrd"}
    fields = {"token": token_of(Role.ADMIN), "next": "/jobs?state=parked"}
    login = house.post("/cxrd/login", fields, headers=headers, client=PROXY)
    assert (login.status, login.headers["location"]) == (303, "./jobs?state=parked")
    assert "Path=/;" in login.headers["set-cookie"]
    page = house.ask("/cxrd/", headers={**headers, **BROWSER, **login.session}, client=PROXY)
    assert page.status == 200
    assert not re.search(r'(?:href|src|action)="(?:/|https?:)', page.text)


def test_user_of_a_proxy_needs_the_secret_of_a_page(house: House) -> None:
    user = {"X-Forwarded-User": "ines", **BROWSER}
    page = house.ask("/", headers=user, client=PROXY)
    # There is no session here to end, so the page has no button for it.
    assert 'action="./logout"' not in page.text
    assert house.post("/logout", {}, headers=user, client=PROXY).status == 403
    eva = house.authenticator.accepts_user(ProxyUser("eva", Role.ADMIN), PROXY)
    ines = house.authenticator.accepts_user(ProxyUser("ines", Role.ADMIN), PROXY)
    for secret, status in (("", 403), ("guessed", 403), (eva.csrf, 403), (ines.csrf, 303)):
        answer = house.post("/logout", {"csrf": secret}, headers=user, client=PROXY)
        assert answer.status == status


def test_identity_of_the_proxy_comes_before_session_and_token(house: House) -> None:
    """A proxy may pass its own Authorization header, and a browser an old cookie."""
    login = house.post("/login", {"token": token_of(Role.ADMIN)})
    headers = {"X-Forwarded-User": "eva", "X-Forwarded-Groups": "radiology"}
    for other in (login.session, house.bearer(Role.ADMIN), {"Authorization": "Bearer ey.J.x"}):
        assert role_of(house.ask("/", headers={**headers, **other}, client=PROXY)) == "viewer"
    assert LoginOutcome.REFUSED not in [outcome for _, outcome, _ in house.reported]


def test_program_may_send_its_token_through_the_proxy(house: House) -> None:
    headers = {**house.bearer(Role.METRICS), "X-Forwarded-For": CLIENT}
    assert house.ask("/metrics", headers=headers, client=PROXY).status == 200


def test_login_at_a_proxy_is_reported_once_an_hour(house: House) -> None:
    headers = {"X-Forwarded-User": "ines", "X-Forwarded-For": CLIENT}
    for _ in range(3):
        house.ask("/", headers=headers, client=PROXY)
    assert house.reported == [(CLIENT, LoginOutcome.PROXY, "ines")]
    house.clock.advance(3600)
    house.ask("/", headers=headers, client=PROXY)
    assert len(house.reported) == 2


def test_names_may_have_any_letters(shared_folder: Path, shared_store: Store) -> None:
    house = house_of(
        shared_folder,
        shared_store,
        trusted_proxies=[PROXY],
        proxy_user_header="X-Forwarded-User",
        proxy_roles={"Jürgen Groß": "viewer", "josé": "operator"},
    )
    for name, role in (("Jürgen Groß", "viewer"), ("josé", "operator")):
        for encoding in ("utf-8", "latin-1"):
            raw = name.encode(encoding).decode("latin-1")
            answer = house.ask("/", headers=[("X-Forwarded-User", raw), *OWN.items()], client=PROXY)
            assert role_of(answer) == role
            assert name in answer.text


def test_secret_differs_by_user(house: House) -> None:
    secrets = {
        house.authenticator.accepts_user(ProxyUser(name, Role.VIEWER), PROXY).csrf
        for name in ("ines", "eva", "ines")
    }
    assert len(secrets) == 2
