"""Hosts of a network on this machine: network namespaces whose cables meet in one switch.

A process belongs to the host in which the thread that started it was: see `Host.inside`. A socket
stays on the host on which it was made.
"""

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.tools.installed import require_tool

_NETWORK = "10.77.0"
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


@dataclass(frozen=True, slots=True)
class Host:
    """A host: its name, its address, and the names of its namespace, switch and socket there."""

    name: str
    address: str
    namespace: str
    _switch: str
    _socket: str

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Move this thread to the host until the block ends."""
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            _enter(Path("/run/netns") / self.namespace)
            try:
                yield
            finally:
                _set(here)
        finally:
            os.close(here)

    @property
    def prefix(self) -> tuple[str, ...]:
        """The words before a command whose process sees the name of this host as its own."""
        return ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', self.name)

    def cut_off(self) -> None:
        """Pull the cable: no packet comes or goes, and no connection is told."""
        _run("ip", "-n", self._switch, "link", "set", self._socket, "down")

    def join(self) -> None:
        """Plug the cable in."""
        _run("ip", "-n", self._switch, "link", "set", self._socket, "up")

    def set_kernel(self, name: str, value: str) -> None:
        """Set a kernel parameter of the host's network, such as `net/ipv4/tcp_migrate_req`."""
        with self.inside():
            (Path("/proc/sys") / name).write_text(value)


def _enter(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _set(descriptor)
    finally:
        os.close(descriptor)


def _set(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def network(*names: str) -> Iterator[list[Host]]:
    """Connect hosts of these names. Skip the test if the system does not let this user."""
    require_tool("ip")
    require_tool("unshare")
    if os.getuid() != 0:
        pytest.skip("network namespaces need root")
    mark = f"cxrd{os.getpid()}"
    switch = f"{mark}-switch"
    made: list[str] = []
    try:
        try:
            _run("ip", "netns", "add", switch)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespace can be made here: {error.stderr.strip()}")
        made.append(switch)
        _run("ip", "-n", switch, "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", switch, "link", "set", "bridge", "up")
        hosts = []
        for number, name in enumerate(names, start=1):
            namespace = f"{mark}-{name}"
            _run("ip", "netns", "add", namespace)
            made.append(namespace)
            hosts.append(_connected(switch, namespace, name, number))
        yield hosts
    finally:
        for namespace in made:
            _run("ip", "netns", "delete", namespace)


def _connected(switch: str, namespace: str, name: str, number: int) -> Host:
    socket, address = f"port{number}", f"{_NETWORK}.{number}"
    cable = ["type", "veth", "peer", "name", "eth0", "netns", namespace]
    _run("ip", "-n", switch, "link", "add", socket, *cable)
    _run("ip", "-n", switch, "link", "set", socket, "master", "bridge", "up")
    _run("ip", "-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
    for device in ("lo", "eth0"):
        _run("ip", "-n", namespace, "link", "set", device, "up")
    return Host(name, address, namespace, switch, socket)
