"""Who may send: AE titles, and where given the hosts they call from."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address


@dataclass(frozen=True, slots=True)
class Peer:
    """A node that may open associations.

    `host` is an address or a name that resolves to one; None lets it call from anywhere. Several
    peers may share an AE title. One that does not send may only answer what it was asked.
    """

    ae_title: str
    host: str | None = None
    sends: bool = True


def is_known(peers: Sequence[Peer], ae_title: str, address: str) -> bool:
    """Whether one of the peers has this AE title and may call from this address."""
    return any(
        peer.ae_title == ae_title and (peer.host is None or _same_host(peer.host, address))
        for peer in peers
    )


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
