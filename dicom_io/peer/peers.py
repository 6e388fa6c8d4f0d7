"""Who may send: AE titles, and where given the hosts and certificates they come with."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address


@dataclass(frozen=True, slots=True)
class Peer:
    """A node that may open associations.

    `host` is an address or a name that resolves to one; None lets it call from anywhere. Several
    peers may share an AE title. One that does not send may only answer what it was asked.
    With `tls` it has to come over TLS, and with `certificates` (SHA-256 fingerprints, lower case)
    has to show one of them.
    """

    ae_title: str
    host: str | None = None
    sends: bool = True
    tls: bool = False
    certificates: frozenset[str] = frozenset()

    def admits(self, caller: "Caller") -> bool:
        """Whether a caller is this peer: title, host, TLS and certificate."""
        return (
            self.ae_title == caller.ae_title
            and (self.host is None or _same_host(self.host, caller.address))
            and (caller.tls or not (self.tls or self.certificates))
            and (not self.certificates or caller.certificate in self.certificates)
        )


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the title it gives itself, and what the connection shows.

    `certificate` is the fingerprint of its verified client certificate, if it showed one.
    """

    ae_title: str
    address: str
    tls: bool = False
    certificate: str | None = None


def is_known(peers: Sequence[Peer], ae_title: str, address: str) -> bool:
    """Whether one of the peers has this AE title and may call from this address."""
    return any(
        peer.ae_title == ae_title and (peer.host is None or _same_host(peer.host, address))
        for peer in peers
    )


def is_admitted(peers: Sequence[Peer], caller: Caller) -> bool:
    """Whether the caller is one of the peers."""
    return any(peer.admits(caller) for peer in peers)


def _same_host(host: str, address: str) -> bool:
    caller = _plain(address)
    return caller is not None and caller in {_plain(one) for one in _addresses(host)}


def _addresses(host: str) -> list[str]:
    """Addresses of a host, looked up each time because they may change while the node runs."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [str(entry[4][0]) for entry in found]


def _plain(address: str) -> IPv4Address | IPv6Address | None:
    """An address without scope; an IPv4 one that came in over IPv6 counts as IPv4."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed
