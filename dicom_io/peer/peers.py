"""Peers that may open associations, and the callers compared with them."""

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address


@dataclass(frozen=True, slots=True)
class Caller:
    """The calling side of an association: the AE title it gives and what its connection shows.

    `certificate` is the fingerprint of its verified client certificate, None without one.
    """

    ae_title: str
    address: str
    tls: bool = False
    certificate: str | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """A node that may open associations.

    `host` is an address or a name that resolves to one; None allows any host. Several peers may
    share an AE title. A peer with `sends=False` may report storage commitment, not store.
    With `tls` the peer must use TLS. With `certificates` (SHA-256 fingerprints, lower case) it must
    also show one of them.
    """

    ae_title: str
    host: str | None = None
    sends: bool = True
    tls: bool = False
    certificates: frozenset[str] = frozenset()

    def has_address(self, address: str) -> bool:
        """Return True if the peer may call from this address."""
        return self.host is None or is_same_host(self.host, address)

    def matches(self, caller: Caller) -> bool:
        """Return True if AE title, host, TLS and certificate of the caller are the peer's."""
        return (
            self.ae_title == caller.ae_title
            and self.has_address(caller.address)
            and self.has_connection(caller)
        )

    def has_connection(self, caller: Caller) -> bool:
        """Return True if the peer may call over a connection like the caller's."""
        if self.certificates:
            return caller.tls and caller.certificate in self.certificates
        return caller.tls or not self.tls


def is_same_host(host: str, address: str) -> bool:
    """Return True if the address is one of the host, a name or an address."""
    caller = _plain(address)
    return caller is not None and caller in {_plain(found) for found in _addresses(host)}


def _addresses(host: str) -> list[str]:
    """Return the addresses of a host, looked up each time because they may change."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [str(entry[4][0]) for entry in found]


def _plain(address: str) -> IPv4Address | IPv6Address | None:
    """Return an address without its scope, an IPv4 address mapped to IPv6 as IPv4."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed
