"""Routing: the source of a film by its sender, and the destinations of a source's results.

Every peer that sends has a source: `source`, or its name. Results go by these rules:

1. `results_of` of a receiving peer decides alone: `own`, `all`, or the sources that it lists.
2. Without it, a peer whose source is that of a peer that sends gets the results of that source.
3. Without it, another peer that receives gets the results of all sources.
4. A source with no destination by rules 1 to 3, none of whose peers receives, goes to the one peer
   that sends and receives. With two or more of those the configuration must say to which.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from itertools import combinations

import yaml

from daemon.config.partners.destination import DestinationConfig
from daemon.config.partners.dicomweb import DicomwebClientConfig
from daemon.config.peers import PeerConfig
from daemon.config.receivers import ResultsOf
from daemon.errors import ConfigError

Receiver = PeerConfig | DestinationConfig
Party = Receiver | DicomwebClientConfig
"""All that sends films or receives results."""


@dataclass(frozen=True, slots=True)
class Routing:
    """The names of the destinations by source, in the order of the configuration."""

    table: Mapping[str, tuple[str, ...]]
    crossings: tuple[tuple[str, str], ...]
    """Source and destination, where the results of a peer that receives go to another source."""

    @classmethod
    def of(cls, peers: Sequence[Party]) -> "Routing":
        """Return the routing of these receivers and senders. Raises ValueError if there is none."""
        _check_results_of(peers)
        table = {
            source: tuple(peer.name for peer in peers if source in _wanted(peer, peers))
            for source in sources_of(peers)
        }
        table |= _fallback(peers, [source for source, names in table.items() if not names])
        return cls(table, _crossings(peers, table))

    def destinations(self, source: str) -> tuple[str, ...]:
        """Return the destinations of a source's results; none for an unknown source."""
        return self.table.get(source, ())

    def allows(self, source: str, destination: str) -> bool:
        """Return True if results of this source may go to this destination."""
        return destination in self.destinations(source)


def sources_of(peers: Iterable[Party]) -> tuple[str, ...]:
    """Return the sources of the peers that send, each once."""
    return tuple(dict.fromkeys(peer.effective_source for peer in peers if peer.sends))


def sources_by_title(peers: Iterable[PeerConfig]) -> Mapping[str, str]:
    """Return the source of each AE title that peers of only one source send with."""
    senders = [peer for peer in peers if peer.sends]
    by_title = {
        title: sources_of(peer for peer in senders if peer.ae_title == title)
        for title in (peer.ae_title for peer in senders)
    }
    return {title: found[0] for title, found in by_title.items() if len(found) == 1}


def source_of_caller(peers: Iterable[PeerConfig], ae_title: str, address: str) -> str:
    """Return the source of the peer that sends with this AE title from this address.

    Raises ConfigError if peers of different sources match, or none matches.
    """
    titled = [peer for peer in peers if peer.sends and peer.ae_title == ae_title]
    found = sources_of(titled)
    if len(found) > 1:
        found = sources_of(peer for peer in titled if peer.as_caller.has_address(address))
    if len(found) != 1:
        meaning = f"two sources ({', '.join(found)})" if found else "no peer that sends"
        raise ConfigError(
            f"{ae_title} at {address} is {meaning}: correct host and source of the peers"
            " with this AE title"
        )
    return found[0]


def check_senders(peers: Sequence[PeerConfig]) -> None:
    """Raise ValueError if two peers that send differ in source but not in AE title and host."""
    for first, second in combinations([peer for peer in peers if peer.sends], 2):
        if (
            first.ae_title == second.ae_title
            and first.effective_source != second.effective_source
            and _may_be_one_host(first.host, second.host)
        ):
            raise ValueError(
                f"peers: {first.name!r} and {second.name!r} send as {first.ae_title} and cannot be"
                " told apart by their host: give both the same source, or each its own host or"
                " AE title"
            )


def _may_be_one_host(first: str | None, second: str | None) -> bool:
    return first is None or second is None or _canonical(first) == _canonical(second)


def _canonical(host: str) -> str:
    try:
        address = ip_address(host.strip().strip("[]"))
    except ValueError:
        return host.strip().rstrip(".").casefold()
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def _check_results_of(peers: Sequence[Party]) -> None:
    known = sources_of(peers)
    listed = ", ".join(known) or "none"
    for peer in peers:
        if peer.results_of is ResultsOf.OWN and peer.effective_source not in known:
            raise ValueError(
                f"peer {peer.name} has results_of: own, and no peer that sends has the source"
                f" {peer.effective_source!r}: set its source; the sources are: {listed}"
            )
        if isinstance(peer.results_of, tuple):
            unknown = [name for name in peer.results_of if name not in known]
            if unknown:
                raise ValueError(
                    f"peer {peer.name} has results_of {unknown[0]!r}, which is the source of no"
                    f" peer that sends; the sources are: {listed}"
                )


def _wanted(peer: Party, peers: Sequence[Party]) -> tuple[str, ...]:
    """Return the sources whose results a peer gets by the first three rules."""
    known = sources_of(peers)
    if not peer.receives:
        return ()
    if isinstance(peer.results_of, tuple):
        return peer.results_of
    is_own = peer.results_of is None and peer.effective_source in known
    if peer.results_of is ResultsOf.OWN or is_own:
        return (peer.effective_source,)
    return known


def _fallback(peers: Sequence[Party], without: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """Return the destination of each source that has none by rule 4. Raises ValueError."""
    both = [peer for peer in peers if peer.sends and peer.receives]
    open_to_it = [peer for peer in both if peer.results_of is None]
    receiving = {peer.effective_source for peer in peers if peer.receives}
    left = [source for source in without if source not in receiving]
    if not left or not open_to_it:
        return {}
    if len(both) > 1:
        raise ValueError(_undecided(left, both))
    return dict.fromkeys(left, (both[0].name,))


def _undecided(left: Sequence[str], both: Sequence[Party]) -> str:
    """Return the refusal, with the lines to add to one of the peers."""
    names = " and ".join(peer.name for peer in both)
    options = "\nor\n".join(
        f"  - name: {_as_yaml(peer.name)}\n    results_of: {_as_yaml([*_now(peer), *left])}"
        for peer in both
    )
    return (
        f"peers: the results of {', '.join(left)} have no certain destination, as {names} send and"
        f" receive: say in `peers` which of these gets them:\n{options}\n"
        f"or, to send them to no peer, for each of {names}:\n    results_of: own"
    )


def _as_yaml(value: str | list[str]) -> str:
    """Return the value on one line of YAML, in quotes where YAML needs them."""
    (line,) = yaml.safe_dump(
        [value], default_flow_style=True, allow_unicode=True, width=float("inf")
    ).splitlines()
    return line.removeprefix("[").removesuffix("]")


def _now(peer: Party) -> tuple[str, ...]:
    return peer.results_of if isinstance(peer.results_of, tuple) else (peer.effective_source,)


def _crossings(
    peers: Sequence[Party], table: Mapping[str, tuple[str, ...]]
) -> tuple[tuple[str, str], ...]:
    by_name = {peer.name: peer for peer in peers}
    receivers = {peer.effective_source for peer in peers if peer.sends and peer.receives}
    return tuple(
        (source, name)
        for source, names in table.items()
        for name in names
        if source in receivers and by_name[name].sends and by_name[name].effective_source != source
    )
