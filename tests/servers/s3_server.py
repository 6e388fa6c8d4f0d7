"""An S3 server (moto) in a process of its own.

It keeps the objects in memory: a test stops it with `paused` or cuts a proxy before it, and never
kills it.
"""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

ACCESS_KEY = "cxrd-test"
SECRET_KEY = "cxrd-test-secret"  # noqa: S105 - a key of the server of the tests
REGION = "us-east-1"

_SERVER = """
import logging, sys
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server
logging.getLogger("werkzeug").setLevel(logging.ERROR)
WSGIRequestHandler.protocol_version = "HTTP/1.1"
app = DomainDispatcherApplication(create_backend_app)
server = make_server(sys.argv[1], int(sys.argv[2]), app, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""


@dataclass(frozen=True)
class S3Server:
    """A running server: address and process."""

    host: str
    port: int
    process: "subprocess.Popen[str]"

    @property
    def endpoint(self) -> str:
        """URL of the server."""
        return f"http://{self.host}:{self.port}"

    def make_bucket(self, name: str) -> str:
        """Make an empty bucket and return its name."""
        request = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")
        with urllib.request.urlopen(request, timeout=20):
            return name

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the process for the block: it accepts connections and answers nothing."""
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)


@contextlib.contextmanager
def s3_server(
    host: str = "127.0.0.1", port: int = 0, *, prefix: tuple[str, ...] = ()
) -> Iterator[S3Server]:
    """Run a server for the block; skip the test if moto is not installed.

    `prefix` is put before the command, for example to run it in a network namespace.
    """
    if importlib.util.find_spec("moto") is None and not os.environ.get("CI"):
        pytest.skip("moto is not installed (pip install 'cxrd[dev]')")
    command = [*prefix, sys.executable, "-c", _SERVER, host, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield S3Server(host, int(process.stdout.readline()), process)
        finally:
            process.kill()
