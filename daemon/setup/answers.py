"""The answers of `cxrd init`, each checked when it is given."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from daemon.config.fields import AETitle, Host, ListenHost, Port
from daemon.errors import UsageError
from daemon.worker.listening import Address, is_taken
from daemon.worker.role import RoleName
from dicom_io.peer.listening import listen_problem

Value = TypeVar("Value")

_AE_TITLE: TypeAdapter[str] = TypeAdapter(AETitle)
_HOST: TypeAdapter[str] = TypeAdapter(Host)
_LISTEN_HOST: TypeAdapter[str] = TypeAdapter(ListenHost)
_PORT: TypeAdapter[int] = TypeAdapter(Port)

_ANY_PORT = 0

LOCAL = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Pacs:
    """The archive that sends films, receives results, or both."""

    ae_title: str
    host: str
    port: int
    sends: bool
    receives: bool


@dataclass(frozen=True, slots=True)
class WebAccess:
    """The address of the web pages. Another address than this machine's needs a certificate."""

    host: str
    port: int
    certificate: str | None = None
    key: str | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answers:
    """All that the configuration needs beyond its defaults."""

    ae_title: str
    host: str
    port: int
    data_dir: str
    web: WebAccess
    pacs: Pacs | None = None
    database_url: str | None = None


def checked_ae_title(text: str) -> str:
    """Return an AE title. Raises UsageError."""
    return _checked(text, _AE_TITLE)


def checked_host(text: str) -> str:
    """Return an address to listen on. Raises UsageError, also for one of another machine."""
    host = _checked(text.strip(), _LISTEN_HOST)
    try:
        is_taken(Address(RoleName.LISTENER, host, _ANY_PORT, encrypted=False))
    except OSError as error:
        raise UsageError(
            f"this machine cannot listen there ({error.strerror}): name one of its own addresses"
        ) from None
    return host


def checked_peer_host(text: str) -> str:
    """Return the host of a peer. Raises UsageError, but not for a name that DNS does not know."""
    host = text.strip()
    if not host or any(each.isspace() for each in host):
        raise UsageError("name one host or address, such as pacs.hospital.example or 192.0.2.10")
    return _checked(host, _HOST)


def checked_port(text: str) -> int:
    """Return a port. Raises UsageError."""
    try:
        return _checked(text.strip(), _PORT)
    except UsageError:
        raise UsageError("a port is a number from 1 to 65535") from None


def free_port(
    host: str, role: RoleName, *, used: int | None = None, may_run: bool = False
) -> Callable[[str], int]:
    """Return a check that raises UsageError for a port on which this node could not listen.

    `used` is a port of another role at the same address. With `may_run` the node may run already:
    it holds its own ports.
    """

    def checked(text: str) -> int:
        port = checked_port(text)
        if port == used:
            raise UsageError(f"port {port} on {host} is this node's DICOM port; choose another")
        if may_run:
            return port
        section = "web" if role is RoleName.WEB else "listener"
        try:
            if is_taken(Address(role, host, port, encrypted=False)):
                raise UsageError(f"port {port} on {host} is in use; choose another")
        except OSError as error:
            raise UsageError(listen_problem(section, host, port, error)) from None
        return port

    return checked


def checked_file(folder: Path) -> Callable[[str], str]:
    """Return a check that raises UsageError for a file that is not there."""

    def checked(text: str) -> str:
        path = folder / Path(text.strip()).expanduser()
        if not path.is_file():
            raise UsageError(f"{path} is no file; write a certificate and its key as PEM files")
        return text.strip()

    return checked


def is_known(host: str) -> bool:
    """Return True if the name of a host has an address now."""
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True


def _checked(text: str, kind: TypeAdapter[Value]) -> Value:
    try:
        return kind.validate_python(text)
    except ValidationError as error:
        raise UsageError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
