"""An S3 service that keeps objects and answers as a test scripts it."""

import contextlib
import hashlib
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Refusal:
    """An answer that refuses a request."""

    status: int
    code: str
    message: str = ""

    def body(self) -> bytes:
        """Return the document that S3 sends with it."""
        text = f"<Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>"
        return text.encode()


@dataclass(frozen=True)
class Sent:
    """The bytes of an answer to a GET, and the size that its header names."""

    data: bytes
    size: int


@dataclass
class ScriptedS3:
    """The objects, the requests, and the answers to the next requests.

    A request without a scripted answer is done. `always` answers every request.
    """

    endpoint: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    answers: deque[Refusal | Sent] = field(default_factory=deque)
    always: Refusal | None = None
    requests: list[str] = field(default_factory=list)
    connections: int = 0


def _handler(script: ScriptedS3) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            script.connections += 1
            super().setup()

        def do_PUT(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if not self._is_answered():
                script.objects[self.path] = data
                self._answer(200, b"")

        def do_GET(self) -> None:
            if self._is_answered():
                return
            if (data := script.objects.get(self.path)) is None:
                self._answer(404, Refusal(404, "NoSuchKey").body())
            else:
                self._answer(200, data)

        do_HEAD = do_GET  # noqa: N815 - the name that the library calls

        def do_DELETE(self) -> None:
            if not self._is_answered():
                script.objects.pop(self.path, None)
                self._answer(204, b"")

        def _is_answered(self) -> bool:
            script.requests.append(self.command)
            answer = script.always or (script.answers.popleft() if script.answers else None)
            if isinstance(answer, Refusal):
                self._answer(answer.status, answer.body())
            elif answer is not None:
                self._answer(200, answer.data, answer.size)
            return answer is not None

        def _answer(self, status: int, data: bytes, size: int | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data) if size is None else size))
            self.send_header("ETag", f'"{hashlib.md5(data).hexdigest()}"')  # noqa: S324
            self.send_header("Last-Modified", "Sun, 01 Mar 2026 12:00:00 GMT")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)
            self.close_connection = size is not None

        def log_message(self, *_arguments: Any) -> None:
            pass

    return Handler


@contextlib.contextmanager
def scripted_s3() -> Iterator[ScriptedS3]:
    """Run a service for the block."""
    script = ScriptedS3()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(script)) as server:
        script.endpoint = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield script
        server.shutdown()
