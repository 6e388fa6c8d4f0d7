"""Who counts as one visitor, whatever address is used, and how many are told apart."""

import ipaddress
from collections.abc import Collection

MOST_HOSTS = 100

FURTHER = "further hosts"
"""Those that come when MOST_HOSTS are told apart."""

_LOOPBACK = "127.0.0.0/8"

_IPV6_PREFIX = 64


def one_host(address: str) -> str:
    """What the addresses of one visitor share: this machine has 127.0.0.0/8, others an IPv6 /64."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is None:
            return str(ipaddress.ip_network((ip, _IPV6_PREFIX), strict=False))
        ip = ip.ipv4_mapped
    return _LOOPBACK if ip.is_loopback else str(ip)


def told_apart(address: str, known: Collection[str]) -> str:
    """The host that an address stands for among those known; FURTHER where they are too many."""
    host = one_host(address)
    return host if host in known or len(known) < MOST_HOSTS else FURTHER
