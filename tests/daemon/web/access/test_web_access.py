"""Access to the web role, its address, and its stop."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from daemon.config.sections.web import WebConfig
from daemon.errors import ConfigError, RoleFailedError
from daemon.web.access.guard import HEADERS, is_own_name
from daemon.web.address import listening_socket
from tests.servers.website import Site
from tests.tools.paths import ROOT
from tests.tools.ports import HOST, free_port

pytestmark = [pytest.mark.daemon, pytest.mark.network]


@pytest.mark.parametrize(
    ("path", "method", "host", "status"),
    [
        ("/", "GET", "localhost", 200),
        ("/static/style.css", "GET", "localhost", 200),
        ("/healthz", "HEAD", "localhost", 200),
        ("/metrics", "GET", "localhost", 200),
        ("/nothing", "GET", "localhost", 404),
        ("/", "POST", "localhost", 405),
        ("/", "GET", "rebound.example", 400),
    ],
)
def test_every_answer_carries_the_headers(
    site: Site, path: str, method: str, host: str, status: int
) -> None:
    answer = site.ask(path, method, host)
    assert answer.status == status
    assert {name: answer.headers.get(name.lower()) for name in HEADERS} == HEADERS


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_than_get_are_refused(site: Site, method: str) -> None:
    for path in ("/", "/healthz", "/metrics"):
        assert site.ask(path, method).status == 405


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True),
        ("LocalHost:8080", True),
        ("127.0.0.1:8080", True),
        ("[::1]:8080", True),
        ("[::1]", True),
        ("rebound.example:8080", False),
        ("localhost.rebound.example", False),
        ("127.0.0.1.rebound.example", False),
        ("192.168.1.7:8080", False),
        ("0.0.0.0", False),  # noqa: S104 - to be refused
        ("[::1", False),
        ("", False),
    ],
)
def test_only_loopback_names_are_allowed_by_default(host: str, allowed: bool) -> None:
    assert is_own_name(host) is allowed


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])  # noqa: S104 - to be refused
def test_address_that_other_machines_can_reach_needs_tls(host: str) -> None:
    with pytest.raises(ConfigError, match=r"in clear: set web\.certificate and web\.key"):
        listening_socket(WebConfig(host=host, port=free_port()))


def test_unspecified_address_needs_names() -> None:
    certificate, key = Path("a"), Path("b")
    everywhere = WebConfig(host="0.0.0.0", certificate=certificate, key=key)  # noqa: S104
    with pytest.raises(ConfigError, match=r"list the names of this machine under web\.allowed_h"):
        listening_socket(everywhere)
    named = everywhere.model_copy(update={"port": free_port(), "allowed_hosts": ("cxrd.lan",)})
    listening_socket(named).close()
    assert named.names == {"cxrd.lan"}
    assert is_own_name("CXRD.lan:8080", named.names)
    assert not is_own_name("other.lan", named.names)


def test_a_request_with_two_lengths_ends_its_connection(site: Site) -> None:
    """RFC 9112 6.1: the body may hold a request that a proxy in front did not see."""
    smuggled = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    request = (
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n%s"
    )
    with socket.create_connection((HOST, site.port), 10) as client:
        client.sendall(request % (5 + len(smuggled), smuggled))
        answer = b""
        while chunk := client.recv(4096):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert b"connection: close" in answer.lower()


def test_port_in_use_is_one_line() -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(RoleFailedError, match=rf"port {port} on 127\.0\.0\.1 is in use; stop"):
            listening_socket(WebConfig(port=port))


def test_unknown_host_is_one_line() -> None:
    with pytest.raises(RoleFailedError, match=r"cannot listen on no\.such\.invalid:8080"):
        listening_socket(WebConfig(host="no.such.invalid"))


def test_url_has_brackets_around_ipv6() -> None:
    assert WebConfig().url == "http://127.0.0.1:8080/"
    assert WebConfig(host="::1", port=81).url == "http://[::1]:81/"


def test_role_stops_at_once_with_an_open_connection(site: Site) -> None:
    with socket.create_connection((HOST, site.port)) as visitor:
        visitor.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert visitor.recv(100).startswith(b"HTTP/1.1 200")
        visitor.sendall(b"GET /healthz HTTP/1.1\r\nHost:")
        started = time.monotonic()
        site.stop()
    assert time.monotonic() - started < 2


def test_log_names_the_page_which_stops_with_the_daemon(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"web": {"port": port}}))
    daemon = subprocess.Popen(
        [sys.executable, "-m", "daemon", "serve", "--only", "web"],
        cwd=tmp_path,
        env={
            **{name: value for name, value in os.environ.items() if name[:5] != "CXRD_"},
            "PYTHONPATH": str(ROOT),
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    with daemon:
        assert daemon.stderr is not None
        lines = iter(daemon.stderr.readline, "")
        ready = next(line for line in lines if "cxrd is ready" in line)
        assert f"http://127.0.0.1:{port}/" in ready
        site = Site(port, tmp_path / "data", lambda: None)
        assert f"(token: {tmp_path / 'data' / 'web_token'})" in ready
        assert site.ask("/healthz").status == 200
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(20) == 0
        rest = daemon.stderr.read()
    assert "Traceback" not in rest
    assert site.token not in ready + rest
    assert "uvicorn" not in rest
