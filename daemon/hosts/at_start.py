"""Differences between the hosts of a store that an operator has to know of."""

from collections.abc import Iterator
from datetime import timedelta

from daemon.hosts.survey import Survey
from storage.store import Store
from storage.tables.clock import utc_now

CLOCK_TOLERANCE = timedelta(seconds=60)


def clock_fault(store: Store) -> str:
    """Return how far the clock of this host is from that of the database; empty if it agrees.

    A store in a file has the clock of its host.
    """
    ahead = utc_now() - store.now()
    if abs(ahead) <= CLOCK_TOLERANCE:
        return ""
    seconds = abs(ahead).total_seconds()
    direction = "ahead of" if ahead > timedelta(0) else "behind"
    return (
        f"the clock of this host is {seconds:.0f} s {direction} the database's, by which the work"
        " is timed; its log lines and the times in its objects are wrong: set it (chrony, NTP)"
    )


def settings_apart(found: Survey) -> Iterator[str]:
    """Yield a line for each other host that works with other settings than this one."""
    for host in found.others:
        if host.differs and not host.is_silent:
            yield (
                f"host {host.name} has other settings than this one in {', '.join(host.differs)}:"
                " give both the same, else a film has the results of the host that takes it"
            )
