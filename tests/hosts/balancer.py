"""HAProxy with the file of `deploy/`, on a host."""

import contextlib
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.hosts.site import LISTENER_PORT
from tests.servers.hosts.namespaces import Host
from tests.tools.installed import require_tool
from tests.tools.paths import ROOT
from tests.tools.waiting import wait_until

CONFIGURATION = ROOT / "deploy" / "reverse-proxy" / "haproxy.cfg"


def adapted(folder: Path, listeners: Sequence[Host], ca: Path) -> Path:
    """Write the file with the addresses of this test."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    changes = {
        "/etc/haproxy/cxrd-ca.pem": str(ca),
        f"192.0.2.11:{LISTENER_PORT}": f"{listeners[0].address}:{LISTENER_PORT}",
        f"192.0.2.12:{LISTENER_PORT}": f"{listeners[1].address}:{LISTENER_PORT}",
        "    maxconn 2000\n": f"    maxconn 2000\n    stats socket {folder}/haproxy.sock\n",
    }
    for old, new in changes.items():
        assert old in text, f"{CONFIGURATION.name} has no {old}"
        text = text.replace(old, new)
    path = folder / "haproxy.cfg"
    path.write_text(text, encoding="utf-8")
    return path


@contextlib.contextmanager
def balancer(folder: Path, host: Host, listeners: Sequence[Host], ca: Path) -> Iterator[None]:
    """Run it before two listeners, of which at least one works."""
    program = require_tool("haproxy")
    path = adapted(folder, listeners, ca)
    with (folder / "haproxy.log").open("wb") as log, host.inside():
        process = subprocess.Popen([program, "-db", "-f", path], stdout=log, stderr=log)
    try:
        wait_until(lambda: (folder / "haproxy.sock").exists(), "HAProxy runs")
        wait_until(lambda: working(folder) == {"one", "two"}, "both listeners are ready")
        yield
    finally:
        process.terminate()
        process.wait(10)


def working(folder: Path) -> set[str]:
    """Return the names of the listeners that get associations."""
    with socket.socket(socket.AF_UNIX) as asked:
        asked.connect(str(folder / "haproxy.sock"))
        asked.sendall(b"show stat\n")
        answer = b"".join(iter(lambda: asked.recv(65536), b"")).decode()
    rows = [line.split(",") for line in answer.splitlines() if line.startswith("listeners,")]
    return {row[1] for row in rows if row[17] == "UP" and row[1] != "BACKEND"}
