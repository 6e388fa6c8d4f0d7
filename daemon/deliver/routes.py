"""Deliveries that the routing table does not allow: parked, with the operator's way out."""

import logging
from collections.abc import Iterable, Mapping

from daemon.config.routing import Routing
from daemon.config.settings import Config
from storage.store import Store

log = logging.getLogger("courier")


def refusal(routing: Routing, source: str, destination: str) -> str | None:
    """Return the reason why results of a source may not go to a destination; None if they may."""
    if routing.allows(source, destination):
        return None
    if not source:
        return (
            "the source of this result is not known, as it is from an earlier version: discard the"
            " job, and have the study sent again if its results are wanted"
        )
    if source not in routing.table:
        return (
            f"no peer that sends has the source {source} any more: discard the job, or add such a"
            " peer, restart and retry the job"
        )
    return (
        f"results of {source} may not go to {destination} (cxrd check shows the table): allow them"
        f" with results_of of {destination}, restart and retry the job, or discard it"
    )


def park_refused(config: Config, store: Store) -> None:
    """Park the queued deliveries to configured destinations that the table does not allow."""
    destinations = {peer.name for peer in config.destinations}
    for route in store.outbox.queued_routes():
        reason = refusal(config.routing, route.source, route.destination)
        if reason is not None and route.destination in destinations:
            count = store.outbox.park(route, reason)
            log.error("%s: %d delivery(ies) are parked: %s", route.destination, count, reason)


def refused_jobs(config: Config, store: Store, job_ids: Iterable[int]) -> Mapping[int, str]:
    """Return the reason for each of these jobs that is a delivery the table does not allow.

    A delivery to a peer that is not a destination any more is not among them: it may wait.
    """
    destinations = {peer.name for peer in config.destinations}
    found = {}
    for job_id in job_ids:
        route = store.outbox.route(job_id)
        if route is None or route.destination not in destinations:
            continue
        reason = refusal(config.routing, route.source, route.destination)
        if reason is not None:
            found[job_id] = reason
    return found
