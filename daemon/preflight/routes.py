"""The table of `cxrd check`: the destinations of each sender's results."""

from collections.abc import Iterator

from daemon.config.settings import Config
from daemon.preflight.result import CheckResult

_NO_DESTINATION = (
    "results stay in the store: no peer has `receives`. To deliver them, set a destination, as the"
    " example in config.yaml does"
)


def check_routes(config: Config) -> Iterator[CheckResult]:
    """Yield a line for each source with its destinations, and one for each crossing."""
    if not config.senders:
        yield CheckResult("peers", False, "no peer has `sends: true`: images cannot be received")
    if not config.destinations:
        yield CheckResult("peers", True, _NO_DESTINATION)
        return
    routing = config.routing
    for source, names in routing.table.items():
        senders = ", ".join(
            f"{peer.name} ({peer.ae_title})"
            for peer in config.senders
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
