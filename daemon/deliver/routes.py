"""Deliveries that may not leave: parked, with the operator's way out."""

import logging

from daemon.config.routing import Routing
from daemon.config.settings import Config
from storage.records import PendingDelivery, Standing
from storage.store import Store

log = logging.getLogger("courier")

_OVER = "the result does not count any more, and does not leave: discard the job"
_IN_DOUBT = "the study is in doubt, and its results do not leave: see `cxrd studies list`"


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
    destinations = {peer.name for peer in config.receivers}
    for route in store.outbox.queued_routes():
        reason = refusal(config.routing, route.source, route.destination)
        if reason is not None and route.destination in destinations:
            count = store.outbox.park(route, reason)
            log.error("%s: %d delivery(ies) are parked: %s", route.destination, count, reason)


def why_not_sent(config: Config, delivery: PendingDelivery) -> str | None:
    """Return the reason why a delivery would be parked before it is tried; None if it may leave.

    A delivery to a peer that is not a destination any more may wait for it.
    """
    reason = why_object_stays(delivery)
    if reason is None and delivery.destination in {peer.name for peer in config.receivers}:
        reason = refusal(config.routing, delivery.object.source, delivery.destination)
    return reason


def why_object_stays(delivery: PendingDelivery) -> str | None:
    """Return the reason why an object does not leave to any destination; None if it may."""
    if delivery.is_held:
        is_over = delivery.object.standing in (Standing.SUPERSEDED, Standing.REJECTED)
        return _OVER if is_over else _IN_DOUBT
    if delivery.object.purged_at is not None:
        day = delivery.object.purged_at.date()
        return f"the object was purged on {day} and cannot be sent: discard the job"
    return None
