"""The addresses at which the roles of this node listen, and their occupation."""

import errno
import socket
from dataclasses import dataclass

from daemon.config.settings import Config
from daemon.worker.role import RoleName


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address of a role; `encrypted` if callers use TLS there."""

    role: RoleName
    host: str
    port: int
    encrypted: bool
    shared: bool = False
    """True if the role shares it with other programs that do so, too (SO_REUSEPORT)."""
    section: str = ""
    """The section of the configuration that names it, if that is not the name of the role."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def named_in(self) -> str:
        """The section of the configuration that names the address."""
        return self.section or self.role


def addresses_of(config: Config, role: RoleName) -> tuple[Address, ...]:
    """Return the addresses at which a role listens; none for a role that only calls."""
    if role is RoleName.LISTENER:
        shared, hl7 = config.listener.reuse_port, config.hl7
        associations = tuple(
            Address(role, config.listener.host, port, encrypted, shared)
            for port, encrypted in config.listener.addresses
        )
        if hl7.port is None:
            return associations
        return (*associations, Address(role, hl7.host, hl7.port, hl7.tls, shared, "hl7"))
    if role is RoleName.WEB:
        return (
            Address(role, config.web.host, config.web.port, config.web.credentials is not None),
        )
    return ()


def is_taken(address: Address) -> bool:
    """Return True if the role cannot listen at the address: another program does.

    Raises OSError for an unusable address.

    The address is bound for an instant and not listened on, so no caller is answered and no role
    is kept from its port.
    """
    # As the listener does: IPv4 if a name has both families.
    family = min(entry[0] for entry in socket.getaddrinfo(address.host, address.port))
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.shared:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return True
    return False
