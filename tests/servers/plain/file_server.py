"""A web server on loopback that serves one file, with Range, and can break off an answer."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class FileServer:
    """`cuts` are how many bytes the next answers send before the connection closes.

    `starts` collects where each answer began; `length` False leaves Content-Length out.
    """

    content: bytes
    cuts: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ranges: bool = True
    length: bool = True
    status: int = 200
    url: str = ""


@contextmanager
def serve(server: FileServer) -> Iterator[FileServer]:
    """Serve at ``<url>/<any name>`` until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            range_ = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            start = int(range_.group(1)) if range_ and server.ranges else 0
            size = len(server.content)
            if server.status != 200:
                self.send_error(server.status)
                return
            if start >= size:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{size}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            server.starts.append(start)
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            if server.length:
                self.send_header("Content-Length", str(size - start))
            self.end_headers()
            end = start + server.cuts.pop(0) if server.cuts else size
            self.wfile.write(server.content[start:end])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        server.url = f"http://127.0.0.1:{running.server_port}"
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            running.shutdown()
            thread.join()
