"""Role: delivers results and storage commitment, with one thread per peer.

A destination that is down delays its own deliveries only. Other threads of the courier purge old
files and send the audit trail to a syslog server.
"""

import logging
import threading
import time
from collections import Counter

from daemon.audit.forwarder import Forwarder
from daemon.commitment.answers import Answering
from daemon.commitment.commitment_worker import CommitmentWorker
from daemon.config.destinations import destination_of
from daemon.config.settings import Config
from daemon.deliver.delivery_worker import DeliveryWorker
from daemon.deliver.purge import PeriodicPurge
from daemon.deliver.routes import park_refused
from daemon.retrieve.retrieve_worker import RetrieveWorker
from daemon.worker.bell import Bell, BellListener, BellName
from daemon.worker.board import board_folder
from daemon.worker.loop import switch_threads_often
from daemon.worker.memory import return_freed_memory
from daemon.worker.role import RoleContext, RoleName
from daemon.worker.waits.counts import WaitCounts
from daemon.worklist.managers import worklist_worker
from storage.files.places import open_spool
from storage.records import JobKind, JobState
from storage.store import Store

log = logging.getLogger("courier")


def log_jobs_without_peer(config: Config, store: Store) -> None:
    """Log the number of jobs for each peer that the configuration does not have."""
    committers = {peer.name for peer in config.committers}
    peers_by_kind = {
        JobKind.DELIVER: ({peer.name for peer in config.receivers}, "delivery(ies)"),
        JobKind.COMMIT: (committers, "request(s) for commitment"),
        JobKind.PERFORM: ({one.name for one in config.worklists}, "workitem(s)"),
        JobKind.ANSWER: (committers, "answer(s) to a request for commitment"),
        JobKind.RETRIEVE: ({peer.name for peer in config.retrieved}, "study(ies) to fetch"),
    }
    waiting: Counter[tuple[JobKind, str]] = Counter()
    for group, count in store.status.job_counts().items():
        if group.kind in peers_by_kind and group.state in (JobState.QUEUED, JobState.RUNNING):
            waiting[group.kind, group.lane or ""] += count
    for (kind, name), count in sorted(waiting.items()):
        configured, jobs = peers_by_kind[kind]
        if name not in configured:
            log.warning(
                "%d %s wait for %s, for which the configuration has no such work: "
                "add the peer again, or discard them (cxrd jobs list --state queued)",
                count,
                jobs,
                name,
            )


def run(context: RoleContext) -> None:
    """Run the threads until told to stop."""
    config = context.config
    return_freed_memory()
    switch_threads_often()
    spool = open_spool(config.spool_place)
    waits = WaitCounts(board_folder(config), RoleName.COURIER)
    with (
        Store.open(
            config.resolved_database_url, migrate=False, max_wait=config.priority.max_wait
        ) as store,
        BellListener(Bell.of(config, BellName.COURIER, store), context.stop) as bell,
        waits,
    ):
        spool.expect(store.binding.spool_id())
        store.jobs.watch_claims(waits.add)
        work = [
            DeliveryWorker(context, peer, spool, store, bell.waiter().wait).run
            for peer in config.receivers
        ]
        answering = Answering(config, store, spool)
        work += [
            CommitmentWorker(
                context,
                peer,
                destination_of(config, peer),
                spool,
                store,
                answering,
                bell.waiter().wait,
            ).run
            for peer in config.committers
        ]
        work += [
            RetrieveWorker(context, peer, spool, store, bell.waiter().wait).run
            for peer in config.retrieved
        ]
        if config.syslog.host is not None:
            work.append(Forwarder(config, context.worker, store, context.stop).run)
        for worklist in config.worklists:
            work.append(worklist_worker(context, worklist, spool, store, bell.waiter().wait).run)
        work.append(PeriodicPurge(context, spool, store).run)
        log_jobs_without_peer(config, store)
        park_refused(config, store)
        threads = [threading.Thread(target=target, daemon=True) for target in work]
        for thread in threads:
            thread.start()
        context.ready()
        context.stop.wait()
        deadline = time.monotonic() + config.courier.network_timeout_seconds
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
