"""Role: C-ECHO, C-STORE, storage commitment. Keep, queue the work, and only then answer.

No pixel is decoded here and the network is not loaded: what the listener needs is a disk, the
store and the header.
"""

import functools
import logging
import resource
import ssl
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from daemon.audit.network import NetworkAudit
from daemon.commitment.answering import CommitmentDesk
from daemon.config.settings import Config, ListenerConfig
from daemon.config.tls import listener_addresses
from daemon.receive.orphans import sweep_daily
from daemon.receive.reception import Reception
from daemon.worker.role import RoleContext
from dicom_io.commitment.scp import CommitmentHandlers
from dicom_io.errors import PortInUseError
from dicom_io.receive.events import RefusedObject
from dicom_io.receive.node import (
    Limits,
    Node,
    Rejection,
    RejectReason,
)
from dicom_io.receive.server import Capacity
from storage.files.spool import Spool
from storage.store import Store

log = logging.getLogger("listener")

PREDECESSOR_SECONDS = 3.0
"""How long a port in use may be that of a daemon killed just now."""

_OTHER_FILES = 128
"""Files that are open besides connections: the store, the spool, the log, libraries."""


def open_node(
    config: Config,
    reception: Reception,
    audit: NetworkAudit,
    commitment: CommitmentHandlers | None = None,
    *,
    capacity: Capacity | None = None,
    port: int | None = None,
    tls: ssl.SSLContext | None = None,
) -> Node:
    """The SCP that `config` describes, not yet started; `port` where it is another.

    Nodes given one `capacity` keep to the limits together.
    """

    def on_rejected(rejection: Rejection) -> None:
        _log_rejection(rejection)
        audit.rejected(rejection)

    def on_refused(refused: RefusedObject) -> None:
        log.warning(
            "an object from %s is answered 0x%04X: %s",
            refused.calling_ae_title,
            refused.status,
            refused.comment or "see above",
        )
        audit.refused(refused)

    return Node(
        ae_title=config.listener.ae_title,
        host=config.listener.host,
        port=port or config.listener.port,
        tls=tls,
        peers=[peer.as_caller for peer in config.callers],
        on_store=reception.receive,
        on_rejected=on_rejected,
        on_accepted=audit.accepted,
        on_refused=on_refused,
        commitment=commitment,
        max_associations=config.listener.max_associations,
        require_called_ae_title=config.listener.check_called_ae_title,
        limits=limits_of(config.listener),
        capacity=capacity,
    )


def limits_of(listener: ListenerConfig) -> Limits:
    """What one peer, and all together, may make the node hold and wait for."""
    return Limits(
        max_instance_bytes=listener.max_instance_mb * 2**20,
        max_receiving_bytes=listener.max_receiving_mb * 2**20,
        request_seconds=listener.request_seconds,
        stall_seconds=listener.stall_seconds,
        idle_seconds=listener.idle_seconds,
    )


def allow_open_files(listener: ListenerConfig) -> None:
    """Have room for every connection there may be; say so where the system does not give it."""
    wanted = listener.max_associations + limits_of(listener).max_waiting + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    given = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (given, hard))
    if given < wanted:
        log.warning(
            "only %d files may be open and %d may be needed: raise the limit (ulimit -n), or lower"
            " listener.max_associations",
            given,
            wanted,
        )


def _log_rejection(rejection: Rejection) -> None:
    if not rejection.calling_ae_title:
        log.warning("connection from %s is refused: %s", rejection.host, rejection.reason)
        return
    log.warning(
        "association from %s as %r to %r is %s: %s",
        rejection.host,
        rejection.calling_ae_title,
        rejection.called_ae_title,
        "rejected" if isinstance(rejection.reason, RejectReason) else "cut short",
        rejection.reason,
    )


def run(context: RoleContext) -> None:
    """Listen until told to stop."""
    config = context.config
    allow_open_files(config.listener)
    addresses = listener_addresses(config)
    min_free_bytes = config.spool.min_free_mb * 2**20
    spool = Spool(config.spool_dir, min_free_bytes, create=False)
    with Store.open(config.resolved_database_url, migrate=False) as store:
        desk = CommitmentDesk(config, context.worker, spool, store)
        reception = Reception(spool, store, config.study.quiet_seconds)
        with ExitStack() as stack:
            audit = stack.enter_context(NetworkAudit(store.audit))
            limits = limits_of(config.listener)
            capacity = Capacity(limits, config.listener.max_associations)
            nodes: list[Node] = []
            stack.callback(stop_together, nodes)
            for port, tls in addresses:
                node = open_node(
                    config,
                    reception,
                    audit,
                    desk.handlers,
                    capacity=capacity,
                    port=port,
                    tls=tls,
                )
                _start_when_free(node, context.stop)
                nodes.append(node)
            for name, work in (
                ("commitment", desk.run),
                ("sweep", functools.partial(sweep_daily, spool, store, config.maintenance_lock)),
            ):
                threading.Thread(target=work, args=(context.stop,), name=name, daemon=True).start()
            context.ready()
            context.stop.wait()


def stop_together(nodes: Sequence[Node]) -> None:
    """Stop all at once: each may take seconds, and the supervisor waits for all of them."""
    with ThreadPoolExecutor(max(1, len(nodes))) as pool:
        list(pool.map(Node.stop, nodes))


def _start_when_free(node: Node, stop: threading.Event) -> None:
    """Listen as soon as the port can be had.

    The roles of a daemon that was killed end by themselves, its listener within this time.
    """
    deadline = time.monotonic() + PREDECESSOR_SECONDS
    while True:
        try:
            node.start()
            return
        except PortInUseError as error:
            if time.monotonic() > deadline or stop.is_set():
                raise
            log.warning("%s; trying for %.0f s", error, PREDECESSOR_SECONDS)
        stop.wait(1.0)
