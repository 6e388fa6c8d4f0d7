"""A reverse proxy of HTTP with a gate before and after the server's work."""

import contextlib
import http.client
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.tools.ports import HOST


class Moment(Enum):
    """The moments at which the gate is asked."""

    ARRIVED = auto()
    DONE = auto()


@dataclass
class HttpGate:
    """`pass_on` gets the method and the moment of each request; if False, the connection ends."""

    url: str
    pass_on: Callable[[str, Moment], bool] = lambda _method, _moment: True
    seen: list[tuple[str, Moment]] = field(default_factory=list)

    def asked(self, method: str, moment: Moment) -> bool:
        self.seen.append((method, moment))
        return self.pass_on(method, moment)


def _handler(gate: HttpGate, server: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.close_connection = True
            if not gate.asked(self.command, Moment.ARRIVED):
                return
            onward = http.client.HTTPConnection(server, timeout=30)
            onward.request(self.command, self.path, body or None, dict(self.headers))
            answer = onward.getresponse()
            data = answer.read()
            onward.close()
            if not gate.asked(self.command, Moment.DONE):
                return
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "text/plain"))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            self.close_connection = False

        do_POST = do_GET  # noqa: N815 - the name that the library calls

        def log_message(self, *_arguments: object) -> None:
            pass

    return Handler


@contextlib.contextmanager
def http_gate(url: str) -> Iterator[HttpGate]:
    """Run a gate before the server of this URL for the block; its own URL has the same path."""
    parts = urlsplit(url)
    gate = HttpGate("")
    with ThreadingHTTPServer((HOST, 0), _handler(gate, parts.netloc)) as server:
        gate.url = f"http://{HOST}:{server.server_port}{parts.path}"
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield gate
        server.shutdown()
