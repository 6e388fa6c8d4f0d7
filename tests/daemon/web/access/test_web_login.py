"""The token, sessions, throttling, connection limits and the audit of logins."""

import json
import logging
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from pydantic import SecretStr
from starlette.datastructures import Headers

from daemon.audit.logins import LoginAudit, LoginOutcome
from daemon.audit.repeats import MOST_HOSTS, OTHER_HOSTS, client_of
from daemon.config.sections.web import WebConfig
from daemon.config.settings import Config
from daemon.errors import ConfigError
from daemon.web import connection_limits
from daemon.web.access.authenticator import REPORT_SECONDS
from daemon.web.access.guard import HEADERS, TLS_HEADERS
from daemon.web.access.sessions import COOKIE, digest_of
from daemon.web.access.throttle import FAILURE_SECONDS, FAILURES
from daemon.web.access.token_file import load_tokens
from daemon.web.connection_limits import MAX_CONNECTIONS, REPEAT_SECONDS, RepeatFilter
from dicom_io.peer.tls import client_context
from storage.audit.records import AuditKind
from storage.hosts.web_sessions import MAX_SESSIONS
from storage.store import Store
from tests.builders.certificates import Authority
from tests.builders.stores.new import new_store
from tests.daemon.web.access.conftest import DoorOf
from tests.daemon.web.access.logins import (
    BROWSER,
    OWN,
    TOKEN,
    log_in,
    log_out,
    secret_of,
    session_of,
)
from tests.servers.website import Site, running_site
from tests.tools.clock import Clock
from tests.tools.ports import HOST, free_port
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]


@pytest.mark.parametrize("path", ["/", "/metrics", "/nothing"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic YTpi"},
        {"Cookie": f"{COOKIE}=guessed"},
        {"Cookie": f"{COOKIE}="},
        {"Cookie": "\x01;;=;"},
    ],
)
def test_request_without_token_is_refused(
    site: Site, store: Store, path: str, headers: dict[str, str]
) -> None:
    answer = site.ask_with(headers, path)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "cxrd_" not in answer.text
    assert site.ask_with({**headers, **BROWSER}, path).text.count('name="token"') == 1


def test_health_without_token_gives_only_the_status(site: Site) -> None:
    answer = site.ask_with({}, "/healthz")
    assert (answer.status, json.loads(answer.text)) == (200, {"status": "ok"})


def test_token_opens_a_session_and_logout_ends_it(site: Site) -> None:
    answer = log_in(site, site.token)
    assert (answer.status, answer.headers["location"]) == (303, "./")
    cookie = answer.headers["set-cookie"]
    for attribute in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"):
        assert attribute in cookie
    assert "Secure" not in cookie
    session = session_of(answer)
    assert site.ask_with({**session, **BROWSER}).status == 200
    assert site.ask_with(session, "/metrics").status == 200
    secret = secret_of(site.ask_with({**session, **BROWSER}))
    assert log_out(site, session, "").status == 403
    assert log_out(site, session, secret).status == 303
    assert site.ask_with(session).status == 401


def test_proxy_that_speaks_tls_gets_a_secure_cookie(site: Site) -> None:
    assert "; Secure" in log_in(site, site.token, Origin="https://localhost").headers["set-cookie"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://localhost:81"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_form_of_another_site_is_refused(site: Site, headers: dict[str, str]) -> None:
    assert log_in(site, site.token, **headers).status == 403
    session = session_of(log_in(site, site.token))
    answer = site.ask_with({**OWN, **session, **headers}, "/logout", "POST")
    assert answer.status == 403
    assert site.ask_with(session).status == 200


def test_wrong_token_is_refused_and_too_many_are_throttled(site: Site) -> None:
    answer = log_in(site, "wrong", **BROWSER)
    assert (answer.status, "That is not the token" in answer.text) == (401, True)
    assert "set-cookie" not in answer.headers
    session = session_of(log_in(site, site.token))
    for _ in range(FAILURES):
        log_in(site, "wrong")
    assert log_in(site, "wrong").status == 429
    assert site.ask_with(session).status == 200


def test_right_token_is_accepted_after_wrong_ones(site: Site) -> None:
    for _ in range(2 * FAILURES):
        log_in(site, "wrong")
    assert log_in(site, site.token).status == 303
    assert site.ask("/metrics").status == 200
    assert log_in(site, "wrong").status == 429


def test_long_form_is_refused(site: Site) -> None:
    assert log_in(site, "x" * 5000).status == 413


def test_malformed_forms_are_refused(site: Site) -> None:
    for body in (b"", b"token", b"token=", b"\xff\xfe", b"other=1"):
        answer = site.ask_with(OWN, "/login", "POST", body=body)
        assert answer.status == 401


def test_logout_is_only_posted(site: Site) -> None:
    assert site.ask("/logout").status == 405
    assert site.ask("/logout", "PUT").status == 405
    assert site.ask("/login", "PUT").status == 405


def test_sessions_and_failures_expire(door_of: DoorOf) -> None:
    reported: list[tuple[str, LoginOutcome]] = []
    clock = Clock()
    authenticator = door_of(lambda host, outcome, _: reported.append((host, outcome)), clock)
    login = authenticator.log_in(TOKEN, "a")
    cookie = Headers({"cookie": f"{COOKIE}={login.session}"})
    assert login.outcome is LoginOutcome.ACCEPTED
    for _ in range(12):
        assert authenticator.accepts(cookie, "a")
        clock.advance(3599)
    assert authenticator.accepts(cookie, "a")
    clock.advance(12)
    assert not authenticator.accepts(cookie, "a")
    other = authenticator.log_in(TOKEN, "a").session
    clock.advance(3600)
    assert not authenticator.accepts(Headers({"cookie": f"{COOKIE}={other}"}), "a")
    for _ in range(2 * FAILURES):
        authenticator.log_in("wrong", "b")
    assert authenticator.log_in("wrong", "b").outcome is LoginOutcome.THROTTLED
    assert authenticator.log_in("wrong", "a").outcome is LoginOutcome.REFUSED
    clock.advance(FAILURE_SECONDS)
    assert authenticator.log_in("wrong", "b").outcome is LoginOutcome.REFUSED
    assert reported == [
        *[("a", LoginOutcome.ACCEPTED)] * 2,
        *[("b", LoginOutcome.REFUSED)] * FAILURES,
        *[("b", LoginOutcome.THROTTLED)] * (FAILURES + 1),
        ("a", LoginOutcome.REFUSED),
        ("b", LoginOutcome.REFUSED),
    ]


def test_bearer_is_reported_once_an_hour_per_host(door_of: DoorOf) -> None:
    reported: list[tuple[str, LoginOutcome]] = []
    clock = Clock()
    authenticator = door_of(lambda host, outcome, _: reported.append((host, outcome)), clock)
    bearer = Headers({"authorization": f"Bearer {TOKEN}"})
    for host in ("10.0.0.1", "10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::2"):
        assert authenticator.accepts(bearer, host)
    clock.advance(REPORT_SECONDS)
    assert authenticator.accepts(bearer, "10.0.0.1")
    hosts = ["10.0.0.1", "10.0.0.2", "2001:db8::1", "10.0.0.1"]
    assert reported == [(host, LoginOutcome.BEARER) for host in hosts]


def test_bearers_of_many_hosts_are_reported_together(door_of: DoorOf) -> None:
    reported: list[str] = []
    authenticator = door_of(lambda host, *_: reported.append(host))
    for number in range(2 * MOST_HOSTS):
        assert authenticator.accepts(Headers({"authorization": f"Bearer {TOKEN}"}), f"host{number}")
    assert len(reported) == MOST_HOSTS + 1


def test_one_host_is_throttled_under_all_its_addresses(door_of: DoorOf) -> None:
    authenticator = door_of()
    outcomes = [
        authenticator.log_in("wrong", f"127.0.0.{number}").outcome for number in range(FAILURES + 1)
    ]
    assert outcomes == [LoginOutcome.REFUSED] * FAILURES + [LoginOutcome.THROTTLED]
    assert authenticator.log_in("wrong", "10.0.0.1").outcome is LoginOutcome.REFUSED


def test_many_hosts_are_throttled_together(door_of: DoorOf) -> None:
    authenticator = door_of()
    for number in range(MOST_HOSTS + FAILURES):
        assert authenticator.log_in("wrong", f"host{number}").outcome is LoginOutcome.REFUSED
    assert authenticator.log_in("wrong", "another").outcome is LoginOutcome.THROTTLED
    assert authenticator.log_in("wrong", "host0").outcome is LoginOutcome.REFUSED


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("127.0.0.1", "127.0.0.0/8"),
        ("127.4.5.6", "127.0.0.0/8"),
        ("::ffff:127.4.5.6", "127.0.0.0/8"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
    ],
)
def test_addresses_are_grouped_by_client(address: str, host: str) -> None:
    assert client_of(address) == host


@pytest.mark.parametrize(
    "cookies",
    [
        ['prefs={"dark":true}; MINE'],
        ['MINE; prefs={"dark":true}'],
        ["a b=1; MINE"],
        ["cart[0]=1; MINE"],
        ["x=\u00e4; MINE"],
        ["justvalue; MINE"],
        ["other=1", "MINE"],
        ["MINE", "other=1"],
    ],
)
def test_session_is_found_among_cookies_of_other_pages(cookies: list[str], door_of: DoorOf) -> None:
    authenticator = door_of()
    session = authenticator.log_in(TOKEN, "a").session
    raw = [
        (b"cookie", text.replace("MINE", f"{COOKIE}={session}").encode("latin-1"))
        for text in cookies
    ]
    assert authenticator.accepts(Headers(raw=raw), "a")


def test_refused_bearer_and_logout_are_reported(door_of: DoorOf) -> None:
    reported: list[LoginOutcome] = []
    authenticator = door_of(lambda _, outcome, __: reported.append(outcome))
    assert authenticator.accepts(Headers({"authorization": f"Bearer {TOKEN}"}), "a")
    assert not authenticator.accepts(Headers({"authorization": "Bearer wrong"}), "a")
    session = authenticator.log_in(TOKEN, "a").session
    cookie = Headers({"cookie": f"{COOKIE}={session}"})
    authenticator.log_out(cookie, "a")
    authenticator.log_out(cookie, "a")
    assert reported == [
        LoginOutcome.BEARER,
        LoginOutcome.REFUSED,
        LoginOutcome.ACCEPTED,
        LoginOutcome.LOGGED_OUT,
    ]


def test_oldest_session_ends_beyond_the_limit(door_of: DoorOf) -> None:
    clock = Clock()
    authenticator = door_of(own=clock)
    sessions = []
    for _ in range(MAX_SESSIONS + 1):
        sessions.append(authenticator.log_in(TOKEN, "a").session)
        clock.advance(1)
    is_open = [
        authenticator.accepts(Headers({"cookie": f"{COOKIE}={session}"}), "a") is not None
        for session in sessions
    ]
    assert is_open == [False] + [True] * MAX_SESSIONS


def main_digest(config: Config) -> bytes:
    """Return the digest of the main token as a start of the web role loads it."""
    path = config.data_dir / "cxrd.sqlite"
    is_there = path.exists()
    url = f"sqlite:///{path}"
    with Store.open(url, migrate=False) if is_there else new_store(path) as store:
        return load_tokens(config, store.web_tokens, "web", is_new_node=True)[0].digest


def test_token_is_created_once_and_private(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path)
    digest = main_digest(config)
    token = (tmp_path / "web_token").read_text().strip()
    assert len(token) >= 40
    assert main_digest(config) == digest == digest_of(token)
    assert stat.S_IMODE((tmp_path / "web_token").stat().st_mode) == 0o600
    other = Config(data_dir=tmp_path / "other", web=WebConfig(token=SecretStr(TOKEN)))
    assert main_digest(other) == digest_of(TOKEN)
    assert TOKEN not in repr(other)


def test_token_file_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "token"
    config = Config(data_dir=tmp_path, web=WebConfig(token_file=path))
    with pytest.raises(ConfigError, match="cannot be read"):
        main_digest(config)
    for text, message in (("", "one line"), ("a\nb", "one line"), ("short", "20 printable")):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            main_digest(config)
    path.write_text(f"{TOKEN}\r\n")
    assert main_digest(config) == digest_of(TOKEN)


@contextmanager
def site_with_short_timeout(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[Site]:
    monkeypatch.setattr(connection_limits, "REQUEST_SECONDS", 0.5)
    with running_site(folder) as site:
        yield site


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: loc",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n"
        b"Content-Length: 100\r\n\r\ntoken",
    ],
)
def test_slow_request_is_aborted(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    with (
        site_with_short_timeout(monkeypatch, tmp_path) as site,
        socket.create_connection((HOST, site.port)) as visitor,
    ):
        visitor.sendall(begun)
        visitor.settimeout(5)
        with suppress(ConnectionResetError):
            assert visitor.recv(1) == b""
        assert site.ask("/healthz").status == 200


def test_silent_tls_connection_is_aborted(
    tmp_path: Path, store: Store, pki: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = pki.of("cxrd")
    port = free_port()
    monkeypatch.setattr(connection_limits, "REQUEST_SECONDS", 0.5)
    web = {"port": port, "certificate": own.certificate, "key": own.key}
    with (
        running_site(tmp_path, web=web),
        socket.create_connection((HOST, port), 5) as visitor,
        suppress(ConnectionResetError),
    ):
        assert visitor.recv(1) == b""


def test_page_over_tls(tmp_path: Path, store: Store, pki: Authority) -> None:
    own = pki.of("cxrd")
    port = free_port()
    web = {"port": port, "certificate": own.certificate, "key": own.key}
    with running_site(tmp_path, web=web):
        context = client_context(pki.ca)
        with (
            socket.create_connection((HOST, port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as visitor,
        ):
            form = f"token={(tmp_path / 'web_token').read_text().strip()}".encode()
            visitor.sendall(
                b"POST /login HTTP/1.1\r\nHost: localhost\r\nOrigin: https://localhost\r\n"
                b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(form), form)
            )
            answer = b"".join(iter(lambda: visitor.recv(4096), b"")).decode()
        with socket.create_connection((HOST, port)) as silent:
            assert silent.fileno() > 0
            with (
                socket.create_connection((HOST, port)) as plain,
                context.wrap_socket(plain, server_hostname="localhost") as visitor,
            ):
                assert visitor.version() == "TLSv1.3"
    assert answer.startswith("HTTP/1.1 303")
    assert "; Secure" in answer
    for name, value in TLS_HEADERS.items():
        assert f"{name.lower()}: {value}" in answer.lower()


def test_logins_are_audited(site: Site, store: Store) -> None:
    log_in(site, site.token)
    log_in(site, "x" * 24)
    site.stop()
    rows = [row for row in store.audit.rows() if row.kind == AuditKind.LOGIN]
    assert [(row.outcome, row.host, row.detail) for row in rows] == [
        ("success", HOST, "accepted"),
        ("failure", HOST, "refused"),
    ]


def login_rows(store: Store) -> list[tuple[str, str]]:
    return [(row.host, row.detail) for row in store.audit.rows() if row.kind == AuditKind.LOGIN]


def test_bearer_is_audited(site: Site, store: Store) -> None:
    for _ in range(3):
        assert site.ask("/metrics").status == 200
    site.stop()
    assert login_rows(store) == [(HOST, "accepted as a bearer")]


def test_first_wrong_token_is_recorded_at_once_and_repeats_are_counted(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with LoginAudit(store.audit) as audit:
        audit.on_login("127.0.0.1", LoginOutcome.REFUSED)
        wait_until(lambda: len(login_rows(store)) == 1, "the first is recorded")
        for number in range(2, 250):
            audit.on_login(f"127.0.0.{number}", LoginOutcome.THROTTLED)
        audit.on_login("127.0.0.1", LoginOutcome.ACCEPTED)
        audit.on_login("127.0.0.1", LoginOutcome.ACCEPTED)
        audit.on_login("10.0.0.1", LoginOutcome.REFUSED)
        audit.on_login("10.0.0.1", LoginOutcome.REFUSED)
        audit.on_login("10.0.0.1", LoginOutcome.REFUSED)
    rows = [
        ("127.0.0.1", "refused"),
        ("127.0.0.1", "accepted"),
        ("127.0.0.1", "accepted"),
        ("10.0.0.1", "refused"),
        ("127.0.0.249", "throttled (248 times, from 127.0.0.0/8)"),
        ("10.0.0.1", "refused (2 times)"),
    ]
    assert login_rows(store) == rows
    logged = [record.getMessage() for record in caplog.records if record.name == "web"]
    assert logged == [f"login from {host}: {detail}" for host, detail in rows]


def test_rows_name_the_user_that_the_node_knows(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with LoginAudit(store.audit) as audit:
        audit.on_login("10.0.0.1", LoginOutcome.ACCEPTED, "ines")
        for _ in range(3):
            audit.on_login("10.0.0.1", LoginOutcome.REFUSED, "ines")
            audit.on_login("10.0.0.1", LoginOutcome.REFUSED)
        audit.on_login("10.0.0.1", LoginOutcome.PROXY, "eva")
    rows = [(row.actor, row.detail) for row in store.audit.rows() if row.kind == AuditKind.LOGIN]
    assert rows == [
        ("ines", "accepted"),
        ("ines", "refused"),
        ("unknown user", "refused"),
        ("eva", "accepted from a proxy"),
        ("ines", "refused (2 times)"),
        ("unknown user", "refused (2 times)"),
    ]
    assert "login of ines from 10.0.0.1: accepted" in caplog.messages


def test_counted_wrong_tokens_are_recorded_and_a_silent_host_is_forgotten(store: Store) -> None:
    rows = [("10.0.0.1", "refused"), ("10.0.0.1", "refused (2 times)")]
    with LoginAudit(store.audit, merge_seconds=0.5) as audit:
        for _ in range(3):
            audit.on_login("10.0.0.1", LoginOutcome.REFUSED)
        wait_until(lambda: login_rows(store) == rows, "the others are counted")
        wait_until(lambda: audit.counted_keys == 0, "the host is forgotten")
        audit.on_login("10.0.0.1", LoginOutcome.REFUSED)
        wait_until(lambda: login_rows(store) == [*rows, rows[0]], "it is recorded at once")


def test_wrong_tokens_of_many_hosts_are_counted_together(store: Store) -> None:
    with LoginAudit(store.audit) as audit:
        for number in range(MOST_HOSTS + 500):
            audit.on_login(f"host{number}", LoginOutcome.REFUSED)
    rows = login_rows(store)
    assert len(rows) == MOST_HOSTS + 2
    assert rows[-1] == (f"host{MOST_HOSTS + 499}", f"refused (499 times, from {OTHER_HOSTS})")


def test_logins_lost_in_a_hanging_store_are_logged(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(store.audit, "record", lambda *_, **__: answers.wait(60))
    with LoginAudit(store.audit, stop_seconds=0.2) as audit:
        for _ in range(5):
            audit.on_login("10.0.0.1", LoginOutcome.REFUSED)
        audit.on_login("10.0.0.1", LoginOutcome.ACCEPTED)
    answers.set()
    assert "6 login(s) are not in the audit trail: the store does not answer" in caplog.text


def test_warning_is_logged_once_a_minute_and_an_error_always() -> None:
    clock = Clock()
    repeats = RepeatFilter(clock.seconds)

    def logged(level: int) -> str:
        record = logging.LogRecord("x", level, "", 0, "Invalid.", (), None)
        return record.getMessage() if repeats.filter(record) else ""

    assert [logged(logging.WARNING) for _ in range(4)] == ["Invalid.", "", "", ""]
    assert logged(logging.ERROR) == "Invalid."
    clock.advance(REPEAT_SECONDS)
    assert logged(logging.WARNING) == "Invalid. (3 more before)"


def test_malformed_requests_do_not_fill_the_log(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(20):
        with socket.create_connection((HOST, site.port), 5) as visitor:
            visitor.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
            answer = b"".join(iter(lambda: visitor.recv(4096), b"")).decode().lower()
        assert answer.startswith("http/1.1 400")
        assert all(f"{name}: {value}".lower() in answer for name, value in HEADERS.items())
    assert len([record for record in caplog.records if record.name == "uvicorn.error"]) <= 1


def test_one_host_cannot_take_all_connections(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_limits, "client_of", lambda address: address)
    with ExitStack() as stack:
        for _ in range(2 * MAX_CONNECTIONS):
            stack.enter_context(
                socket.create_connection((HOST, site.port), 5, source_address=("127.0.0.2", 0))
            )
        assert site.ask("/healthz").status == 200


def test_a_connection_beyond_the_limit_is_told_so(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_limits, "MAX_CONNECTIONS", 1)
    with socket.create_connection((HOST, site.port), 5):
        answer = site.ask("/healthz")
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert {name: answer.headers.get(name.lower()) for name in HEADERS} == HEADERS
    assert site.ask("/healthz").status == 200


def test_a_trusted_proxy_has_room_for_many_clients(tmp_path: Path, store: Store) -> None:
    web = {"port": free_port(), "trusted_proxies": ["127.0.0.2"]}
    with running_site(tmp_path, web=web) as site:
        for host, most in (("127.0.0.2", 56), ("127.0.0.3", 32)):
            with ExitStack() as stack:
                connections = [
                    stack.enter_context(
                        socket.create_connection((HOST, site.port), 5, source_address=(host, 0))
                    )
                    for _ in range(60)
                ]
                assert sum(map(_is_open, connections)) == most


def _is_open(connection: socket.socket) -> bool:
    """Return True if the node answers on a connection."""
    try:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return connection.recv(4096).startswith(b"HTTP/1.1")
    except OSError:
        return False
