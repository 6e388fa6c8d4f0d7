"""HTTP requests to one partner: no redirects, no proxies of the environment, no compression.

No error names a token, a path, a query or a part of a body: they may hold data of patients.
"""

import logging
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

import httpcore
import httpx

from dicom_io.errors import HttpError
from dicom_io.http.watched_stream import HandshakeError, Watch, WatchedTransport
from dicom_io.peer.tls_probe import problem_of

_LONGEST_RETRY_AFTER = 86_400.0
_CAUSES_LOOKED_AT = 8
_HIGHEST_PORT = 65_535
_WORDS_OF_A_URL = (("set tls: false, or name its TLS port", "correct url"), ("tls.", ""))
"""Remedies for a peer of DICOM, and those for a partner with a URL and keys of its own."""

_NETWORK_ERRORS = (
    httpx.HTTPError,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
)


@dataclass(frozen=True, slots=True)
class HttpTimeouts:
    """Timeouts in seconds.

    `connect` is for the connection and again for the TLS handshake, `wait` for each wait for a byte
    to come or go, `total` for a request and its answer.
    """

    connect: float = 10.0
    wait: float = 60.0
    total: float = 300.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A partner's service: its name in messages, its root URL, and the proof of identity for it.

    `token` is a bearer token (RFC 6750), empty for none. `tls` is the context for https.
    """

    name: str
    url: str
    token: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    timeouts: HttpTimeouts = HttpTimeouts()


class Reply:
    """An answer whose body is not read yet; its methods raise HttpError."""

    def __init__(self, response: httpx.Response, where: str) -> None:
        self._response = response
        self._where = where
        self.status = response.status_code
        self.content_type = response.headers.get("content-type", "")

    @property
    def retry_after(self) -> float | None:
        """Return the seconds to wait of a Retry-After header (RFC 9110 10.2.3), or None."""
        return _seconds(self._response.headers.get("retry-after", ""))

    def header(self, name: str) -> str:
        """Return a header of the answer, empty if it is absent."""
        return str(self._response.headers.get(name, ""))

    def chunks(self) -> Iterator[bytes]:
        """Yield the body in chunks of bounded size."""
        encoding = self._response.headers.get("content-encoding", "identity").lower()
        if encoding != "identity":
            raise HttpError(
                f"{self._where} compressed its answer, which the request does not accept",
                retryable=True,
                status=self.status,
            )
        yield from self._response.iter_raw()

    def read(self, limit: int) -> bytes:
        """Return the body of at most `limit` bytes."""
        body = bytearray()
        for chunk in self.chunks():
            body += chunk
            if len(body) > limit:
                raise HttpError(
                    f"{self._where} sent an answer of more than {limit} bytes",
                    retryable=True,
                    status=self.status,
                )
        return bytes(body)


class HttpClient:
    """Requests to one endpoint, one after the other, over one connection; a context manager.

    Raises HttpError for a malformed URL, and for a token that no header can hold.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        # At INFO and below these log URLs, which may name patients and studies.
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        try:
            self._url = httpx.URL(endpoint.url)
            is_valid = bool(self._url.host) and (self._url.port or 1) <= _HIGHEST_PORT
        except httpx.InvalidURL:
            is_valid = False
        if not is_valid:
            raise HttpError(f"the url of {endpoint.name} is not a URL")
        self._endpoint = endpoint
        self._watch = Watch()
        timeouts = endpoint.timeouts
        headers = {"User-Agent": "cxrd", "Accept-Encoding": "identity"}
        if endpoint.token:
            if not endpoint.token.isascii() or not endpoint.token.isprintable():
                raise HttpError(f"the token for {endpoint.name} holds more than printable ASCII")
            headers["Authorization"] = f"Bearer {endpoint.token}"
        self._client = httpx.Client(
            transport=WatchedTransport(endpoint.tls, self._watch),
            headers=headers,
            timeout=httpx.Timeout(timeouts.wait, connect=timeouts.connect),
            follow_redirects=False,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    @property
    def where(self) -> str:
        """Return name and address of the partner, for messages."""
        return f"{self._endpoint.name} ({self._url.netloc.decode('ascii')})"

    @contextmanager
    def request(
        self,
        method: str,
        path: str,
        *,
        params: Iterable[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        content: bytes | Iterable[bytes] | None = None,
        on_progress: Callable[[], object] = lambda: None,
        total: float | None = None,
    ) -> Iterator[Reply]:
        """Send a request and give the answer, which the caller reads within the context.

        `path` follows the root URL; an empty one is the root itself. `total` replaces the timeout
        of that name. `on_progress` is called about once a second. A content in pieces needs a
        Content-Length in `headers`, or is sent chunked. Raises HttpError if there is no whole
        answer, or a redirect.
        """
        seconds = self._endpoint.timeouts.total if total is None else total
        self._watch.begin(seconds, on_progress)
        root = self._endpoint.url.rstrip("/")
        url = f"{root}/{path}" if path else root
        query = urlencode(list(params), quote_via=quote)
        if query:
            url += f"?{query}"
        try:
            with self._client.stream(method, url, headers=headers, content=content) as response:
                if 300 <= response.status_code < 400:
                    raise HttpError(
                        f"{self.where} answered with a redirect (HTTP {response.status_code}), "
                        "which is not followed; set url to the final address",
                        status=response.status_code,
                    )
                yield Reply(response, self.where)
        except _NETWORK_ERRORS as error:
            raise self._failure(error, seconds) from error

    def _failure(self, error: Exception, total: float) -> HttpError:
        """Return the error for an exchange that broke, with its cause as far as it is known."""
        timeouts = self._endpoint.timeouts
        cause = _tls_cause(error)
        if cause is not None:
            problem = problem_of(cause, self._url.host, timeouts.connect)
            for of_a_peer, of_a_url in _WORDS_OF_A_URL:
                problem = problem.replace(of_a_peer, of_a_url)
            return HttpError(f"no TLS connection to {self.where}: {problem}", retryable=True)
        match error:
            case httpcore.ConnectTimeout() | httpcore.ConnectError():
                problem = (
                    f"no connection to {self.where}; check host and port in url, that it runs, and"
                    " the firewall between"
                )
            case httpcore.ReadTimeout():
                problem = f"{self.where} sent nothing for {timeouts.wait:.0f} s"
            case httpcore.WriteTimeout():
                problem = f"{self.where} took nothing for {timeouts.wait:.0f} s"
            case httpcore.TimeoutException():
                problem = f"the exchange with {self.where} was not over after {total:.0f} s"
            case httpcore.RemoteProtocolError():
                problem = f"{self.where} ended the connection before its answer was complete"
                if "Server disconnected" not in str(error) and "closed" not in str(error):
                    problem = f"{self.where} did not answer in HTTP; check the port in url"
            case _:
                problem = f"the connection to {self.where} broke"
        return HttpError(problem, retryable=True)


def _tls_cause(error: BaseException) -> OSError | None:
    """Return the reason why TLS failed, or None if something else did.

    A server of TLS 1.3 refuses a client certificate after the handshake.
    """
    if isinstance(error, HandshakeError):
        return error.cause
    cause: BaseException | None = error
    for _ in range(_CAUSES_LOOKED_AT):
        if cause is None or isinstance(cause, ssl.SSLError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def _seconds(text: str) -> float | None:
    """Return the seconds that a Retry-After names, as a number or as a date; None for neither."""
    if text.strip().isdecimal():
        return min(float(text), _LONGEST_RETRY_AFTER)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    seconds = date.timestamp() - datetime.now(UTC).timestamp()
    return min(max(0.0, seconds), _LONGEST_RETRY_AFTER)
