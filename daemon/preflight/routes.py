"""The table of `cxrd check`: the destinations of each sender's results."""

import socket
from collections.abc import Iterator

from daemon.config.routing import source_of_caller
from daemon.config.settings import Config
from daemon.errors import ConfigError
from daemon.preflight.result import CheckResult

_NO_DESTINATION = (
    "results stay in the store: no peer has `receives`. To deliver them, set a destination, as the"
    " example in config.yaml does"
)


def check_routes(config: Config) -> Iterator[CheckResult]:
    """Yield a line for each source with its destinations, and one for each crossing."""
    if not config.all_senders:
        yield CheckResult("peers", False, "no peer has `sends: true`: images cannot be received")
    yield from _hosts_that_are_alike(config)
    if not config.receivers:
        yield CheckResult("peers", True, _NO_DESTINATION)
        return
    routing = config.routing
    for source, names in routing.table.items():
        senders = ", ".join(
            f"{peer.name} ({peer.sender_name})"
            for peer in config.all_senders
            if peer.effective_source == source
        )
        yield CheckResult(
            f"results of {source}",
            True,
            f"{senders} -> {', '.join(names) or 'no peer: they stay in the store'}",
            warning=not names,
        )
    for source, name in routing.crossings:
        yield CheckResult(
            f"results of {source}",
            True,
            f"{name} is another sender, and gets names and findings of {source}: correct results_of"
            f" of {name} unless both agreed to this",
            warning=True,
        )


def _hosts_that_are_alike(config: Config) -> Iterator[CheckResult]:
    """Yield a failure for each address that is that of two sources with one AE title."""
    callers = {
        (peer.ae_title, address)
        for peer in config.senders
        if peer.host is not None
        for address in _addresses(peer.host)
    }
    for ae_title, address in sorted(callers):
        try:
            source_of_caller(config.peers, ae_title, address)
        except ConfigError as error:
            yield CheckResult("peers", False, str(error))


def _addresses(host: str) -> set[str]:
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except OSError:
        return set()
