"""Requests end in bounded time and memory whatever the server does, and name no patient."""

import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dicom_io.errors import HttpError
from dicom_io.http.client import Endpoint, HttpClient, HttpTimeouts
from dicom_io.peer.tls import ClientCertificate, client_context, server_context
from tests.builders.certificates import Authority
from tests.servers.plain.scripted_http import Answer, ScriptedHttp, answer, scripted_http

pytestmark = pytest.mark.network
QUICK = HttpTimeouts(connect=5.0, wait=0.3, total=5.0)
PATH = "studies/1.2.3.4.5.6"
TOKEN = "secret-1"  # noqa: S105


def endpoint(script: ScriptedHttp, timeouts: HttpTimeouts = QUICK, token: str = "") -> Endpoint:
    return Endpoint("PACS", script.url(), token, timeouts=timeouts)


def get(to: Endpoint, limit: int = 1000, on_progress: Callable[[], object] = lambda: None) -> bytes:
    with (
        HttpClient(to) as client,
        client.request(
            "GET", PATH, params=[("PatientName", "Doe")], on_progress=on_progress
        ) as reply,
    ):
        return reply.read(limit)


def failure(
    said: Answer | None, timeouts: HttpTimeouts = QUICK, *, token: str = ""
) -> tuple[HttpError, float]:
    """Return the error of a request that is answered so, and the seconds it took."""
    with scripted_http(always=said) as script:
        since = time.monotonic()
        with pytest.raises(HttpError) as caught:
            get(endpoint(script, timeouts, token))
        seconds = time.monotonic() - since
    error = caught.value
    for secret in ("\n", "1.2.3.4.5.6", "Doe", "secret"):
        assert secret not in str(error)
    assert str(error).startswith(("PACS (127.0.0.1:", "no ", "the "))
    return error, seconds


def then_closed(data: bytes) -> Answer:
    return lambda connection: connection.sendall(data)


def dribble(first: bytes, piece: bytes, spacing: float = 0.0) -> Answer:
    """Return an answer that goes on until the client ends the connection."""

    def send(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(piece)
            time.sleep(spacing)

    return send


def test_a_request_carries_its_query_and_token_and_one_connection_serves_many() -> None:
    found = []
    with (
        scripted_http(answer("200 OK", b"a"), answer("200 OK", b"bc")) as script,
        HttpClient(endpoint(script, token=TOKEN)) as client,
    ):
        for method, content in (("GET", None), ("POST", b"xyz")):
            with client.request(method, "p", params=[("k", "ä b")], content=content) as reply:
                found.append((reply.status, reply.read(2)))
    assert found == [(200, b"a"), (200, b"bc")]
    first, second = script.requests
    assert first.line == "GET /dicom-web/p?k=%C3%A4%20b HTTP/1.1"
    assert first.headers["authorization"] == f"Bearer {TOKEN}"
    assert (second.line.split()[0], second.body) == ("POST", b"xyz")


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (None, "ended the connection before its answer was complete"),
        (then_closed(b"HTTP/1.1 200 OK\r\nContent-Le"), "ended the connection before"),
        (answer("200 OK", b"abc")[:-1], "sent nothing for"),
        (then_closed(answer("200 OK", b"abc")[:-1]), "ended the connection before"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "did not answer in HTTP; check the port in url"),
        (answer("200 OK", 1001 * b"a"), "an answer of more than 1000 bytes"),
        (answer("200 OK", b"abc", Content_Encoding="gzip"), "compressed its answer"),
    ],
)
def test_an_answer_that_is_no_whole_answer_is_an_error(said: Answer | None, problem: str) -> None:
    error, _ = failure(said)
    assert problem in str(error)
    assert error.retryable


def test_an_endless_body_is_read_up_to_the_limit() -> None:
    error, _ = failure(dribble(b"HTTP/1.1 200 OK\r\n\r\n", 100 * b"a"))
    assert "more than 1000 bytes" in str(error)


def test_a_server_without_an_answer_is_waited_for_as_long_as_one_wait() -> None:
    error, seconds = failure(lambda connection: connection.recv(1))
    assert "sent nothing for 0 s" in str(error)
    assert 0.3 <= seconds < 3


@pytest.mark.parametrize(
    ("first", "piece"),
    [(b"HTTP/1.1 200 OK\r\nA: ", b"a"), (b"HTTP/1.1 200 OK\r\n\r\n", b"a")],
)
def test_a_byte_now_and_then_does_not_prolong_the_whole(first: bytes, piece: bytes) -> None:
    slow = HttpTimeouts(connect=5.0, wait=5.0, total=0.5)
    error, seconds = failure(dribble(first, piece, 0.05), slow)
    assert "was not over after" in str(error)
    assert 0.5 <= seconds < 3


def test_a_server_that_reads_nothing_is_not_waited_for_longer_than_one_wait() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        to = Endpoint("PACS", f"http://127.0.0.1:{port}/", timeouts=QUICK)
        with (
            HttpClient(to) as client,
            pytest.raises(HttpError, match=r"PACS .* (took|sent) nothing for 0 s"),
            client.request("POST", "studies", content=bytes(32 << 20)),
        ):
            pass


def test_progress_is_reported_while_the_answer_is_waited_for() -> None:
    seen: list[float] = []

    def slow(connection: socket.socket) -> None:
        while len(seen) < 2:
            time.sleep(0.05)
        connection.sendall(answer("200 OK", b"abc"))

    with scripted_http(slow) as script:
        patient = HttpTimeouts(connect=5.0, wait=20.0, total=20.0)
        body = get(endpoint(script, patient), on_progress=lambda: seen.append(time.monotonic()))
    assert body == b"abc"
    assert seen[1] - seen[0] > 0.5


def test_an_error_of_the_progress_ends_the_exchange_and_is_raised() -> None:
    def lost() -> None:
        raise LookupError("the lease is lost")

    with scripted_http(lambda connection: connection.recv(1)) as script:
        patient = HttpTimeouts(connect=5.0, wait=20.0, total=20.0)
        with pytest.raises(LookupError):
            get(endpoint(script, patient), on_progress=lost)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect"])
def test_a_redirect_is_not_followed(status: str) -> None:
    with scripted_http() as other:
        said = answer(status, Location=f"{other.url()}/?PatientName=Doe")
        error, _ = failure(said, token=TOKEN)
        assert other.requests == []
    assert "redirect" in str(error)
    assert not error.retryable


def test_nothing_is_logged_of_a_request(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), scripted_http(always=answer("200 OK", b"a")) as script:
        get(endpoint(script, token=TOKEN))
    assert caplog.text == ""


def test_a_connection_refused_says_what_to_check() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(HttpError, match=r"no connection to PACS .*; check host and port in url"):
        get(Endpoint("PACS", f"http://127.0.0.1:{port}", timeouts=QUICK))


def test_a_token_that_no_header_can_hold_is_an_error_that_hides_it() -> None:
    with pytest.raises(HttpError) as caught:
        HttpClient(Endpoint("PACS", "https://pacs", "secret\nX: 1"))
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(Endpoint("PACS", "https://pacs", "secret"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("999999999", 86400.0),
        ("Fri, 01 Jan 2021 00:00:00 GMT", 0.0),
        ("Fri, 01 Jan 99999999999999 00:00:00 GMT", None),
        ("soon", None),
        ("nan", None),
        ("-5", None),
    ],
)
def test_the_wait_that_the_server_asks_for_is_read(text: str, seconds: float | None) -> None:
    with (
        scripted_http(answer("503 Busy", Retry_After=text)) as script,
        HttpClient(endpoint(script)) as client,
        client.request("GET", "p") as reply,
    ):
        assert reply.retry_after == seconds


@pytest.mark.parametrize("url", ["https://pacs:99999/", "https:///path"])
def test_a_malformed_url_is_an_error(url: str) -> None:
    with pytest.raises(HttpError, match="the url of PACS is not a URL"):
        HttpClient(Endpoint("PACS", url))


def over_tls(pki: Authority, *, mtls: bool = False, ca: Path | None = None, shows: bool) -> bytes:
    context = server_context(
        pki.of("pacs"),
        ca=pki.ca,
        client_certificate=ClientCertificate.REQUIRED if mtls else ClientCertificate.NONE,
    )
    with scripted_http(always=answer("200 OK", b"safe"), tls=context) as script:
        own = client_context(ca or pki.ca, pki.of("cxrd") if shows else None)
        return get(Endpoint("PACS", script.url("https"), tls=own, timeouts=QUICK))


def test_the_server_is_verified_and_a_client_certificate_shown(
    pki: Authority, strangers: Authority
) -> None:
    assert over_tls(pki, shows=False) == b"safe"
    assert over_tls(pki, mtls=True, shows=True) == b"safe"
    with pytest.raises(HttpError, match="its CA is not known here; add the CA's certificate to ca"):
        over_tls(pki, ca=strangers.ca, shows=False)
    with pytest.raises(HttpError, match="it asks for a client certificate; set certificate"):
        over_tls(pki, mtls=True, shows=False)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it speaks no TLS on this port; correct url"),
        (b"", "it ended the connection at the TLS handshake; .* correct url"),
        (None, "no answer to the TLS handshake within 0 s"),
    ],
)
def test_a_server_without_tls_is_named_so(pki: Authority, said: bytes | None, problem: str) -> None:
    closing = threading.Event()

    def serve(listening: socket.socket) -> None:
        connection = listening.accept()[0]
        with connection:
            if said is None:
                closing.wait(10)
            else:
                connection.recv(4096)
                connection.sendall(said)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = threading.Thread(target=serve, args=(listening,))
        serving.start()
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/"
        quick = HttpTimeouts(connect=5.0 if said is not None else 0.3, wait=5.0, total=5.0)
        to = Endpoint("PACS", url, tls=client_context(pki.ca), timeouts=quick)
        with pytest.raises(HttpError, match=f"no TLS connection to PACS .*: {problem}") as caught:
            get(to)
        closing.set()
        serving.join()
    assert caught.value.retryable
