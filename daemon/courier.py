"""Role: empties the outbox, one lane per destination.

A lane is a thread that opens an association when it has something to deliver and keeps it while
there is more. A destination that is down stops its own lane only.
"""

import logging
import random
import threading
import time
from collections import Counter

from daemon.audit.forwarder import Forwarder
from daemon.commitment.asking import CommitmentLane
from daemon.config.destinations import destination_of
from daemon.config.settings import Config
from daemon.deliver.lane import Lane
from daemon.deliver.purge import Housekeeper
from daemon.worker.role import RoleContext
from storage.files.spool import Spool
from storage.records import JobKind, JobState
from storage.store import Store

log = logging.getLogger("courier")


def _name_the_abandoned(config: Config, store: Store) -> None:
    """Say what waits for a peer for which the configuration has no lane, or no longer."""
    asked = {peer.name for peer in config.committers}
    lanes = {
        JobKind.DELIVER: ({peer.name for peer in config.destinations}, "delivery(ies)"),
        JobKind.COMMIT: (asked, "request(s) for commitment"),
        JobKind.ANSWER: (asked, "answer(s) to a request for commitment"),
    }
    waiting: Counter[tuple[JobKind, str]] = Counter()
    for group, count in store.status.job_counts().items():
        if group.kind in lanes and group.state in (JobState.QUEUED, JobState.RUNNING):
            waiting[group.kind, group.lane or ""] += count
    for (kind, name), count in sorted(waiting.items()):
        known, what = lanes[kind]
        if name not in known:
            log.warning(
                "%d %s wait for %s, for which the configuration has no such lane: "
                "add the peer again, or discard them (cxrd jobs list --state queued)",
                count,
                what,
                name,
            )


def run(context: RoleContext) -> None:
    """Run one lane per destination, one per peer for commitment, and the housekeeping."""
    config = context.config
    spool = Spool(config.spool_dir, create=False)
    with Store.open(config.resolved_database_url, migrate=False) as store:
        rng = random.Random()  # noqa: S311 - jitter, not a secret
        work = [Lane(context, peer, spool, store, rng).run for peer in config.destinations]
        work += [
            CommitmentLane(context, peer, destination_of(config, peer), spool, store, rng).run
            for peer in config.committers
        ]
        if config.syslog.host is not None:
            work.append(Forwarder(config, context.worker, store, context.stop).run)
        work.append(Housekeeper(context, spool, store).run)
        _name_the_abandoned(config, store)
        lanes = [threading.Thread(target=run_lane, daemon=True) for run_lane in work]
        for lane in lanes:
            lane.start()
        context.ready()
        context.stop.wait()
        deadline = time.monotonic() + config.courier.network_timeout_seconds
        for lane in lanes:
            lane.join(max(0.0, deadline - time.monotonic()))
