"""An HTTP server of raw bytes: each connection or request is answered as a test scripts it."""

import contextlib
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BufferedReader

from tests.tools.ports import HOST


@dataclass(frozen=True)
class Request:
    """A request as it came: its first line, its headers by lower-case name, its body."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]


Answer = bytes | Callable[[socket.socket], object]
"""The bytes of an answer, or what to do with the connection, which is closed after it."""


@dataclass
class ScriptedHttp:
    """The requests that came, and the answers to the next; `always` follows the last of them."""

    port: int = 0
    requests: list[Request] = field(default_factory=list)
    answers: deque[Answer] = field(default_factory=deque)
    always: Answer | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def url(self, scheme: str = "http") -> str:
        return f"{scheme}://{HOST}:{self.port}/dicom-web"


def answer(
    status: str, body: bytes = b"", content_type: str = "application/dicom+json", **headers: str
) -> bytes:
    """Return an answer with its Content-Length; `_` stands for `-` in names of headers."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    if body:
        lines.append(f"Content-Type: {content_type}")
    lines += [f"{name.replace('_', '-')}: {text}" for name, text in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextlib.contextmanager
def scripted_http(
    *answers: Answer, always: Answer | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[ScriptedHttp]:
    """Run a server for the block."""
    script = ScriptedHttp(answers=deque(answers), always=always)
    open_ones: list[socket.socket] = []
    with socket.create_server((HOST, 0)) as listening:
        script.port = listening.getsockname()[1]
        accepting = threading.Thread(
            target=_accept, args=(listening, script, tls, open_ones), daemon=True
        )
        accepting.start()
        try:
            yield script
        finally:
            script.stop.set()
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for connection in open_ones:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


def _accept(
    listening: socket.socket,
    script: ScriptedHttp,
    tls: ssl.SSLContext | None,
    open_ones: list[socket.socket],
) -> None:
    with contextlib.suppress(OSError):
        while not script.stop.is_set():
            connection = listening.accept()[0]
            open_ones.append(connection)
            threading.Thread(target=_serve, args=(connection, script, tls), daemon=True).start()


def _serve(connection: socket.socket, script: ScriptedHttp, tls: ssl.SSLContext | None) -> None:
    connection.settimeout(10.0)
    with connection, contextlib.suppress(OSError, EOFError):
        plain = tls.wrap_socket(connection, server_side=True) if tls else connection
        with plain, plain.makefile("rb") as reader:
            while True:
                script.requests.append(_read(reader))
                said = script.answers.popleft() if script.answers else script.always
                if not isinstance(said, bytes):
                    if said is not None:
                        said(plain)
                    return
                plain.sendall(said)


def _read(reader: BufferedReader) -> Request:
    line = reader.readline().decode("latin-1").strip()
    if not line:
        raise EOFError
    headers: dict[str, str] = {}
    while each := reader.readline().decode("latin-1").strip():
        name, _, text = each.partition(":")
        headers[name.lower()] = text.strip()
    body = reader.read(int(headers.get("content-length", 0)))
    return Request(line, headers, body)
