"""Role: answers C-ECHO, C-STORE and storage commitment, and reads HL7 messages about patients.

The listener stores an instance and queues its analysis before it answers. It decodes no pixels and
does not load the network.
"""

import functools
import gc
import logging
import resource
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from daemon.audit.network import NetworkAudit
from daemon.commitment.responder import CommitmentResponder
from daemon.config.routing import source_of_caller
from daemon.config.sections.roles import EchoAnswer, ListenerConfig
from daemon.config.settings import Config
from daemon.config.tls import listener_addresses
from daemon.hl7.listening import PatientListener, patient_listener
from daemon.receive.orphans import sweep_orphans
from daemon.receive.reception import Reception
from daemon.receive.ringing import ringing
from daemon.retrieve.arrivals import Arrivals
from daemon.worker.loop import switch_threads_often
from daemon.worker.memory import return_freed_memory
from daemon.worker.role import RoleContext, has_supervisor
from daemon.worklist.events import Events, managers_that_call
from dicom_io.commitment.scp import CommitmentHandlers
from dicom_io.errors import PortInUseError
from dicom_io.receive.events import AssociationOpened, RefusedObject, Rejection, RejectReason
from dicom_io.receive.limits import Limits
from dicom_io.receive.node import Node
from dicom_io.receive.server import Capacity
from dicom_io.receive.store_request import ReceivedInstance
from dicom_io.ups.scp.handlers import WorkitemHandlers
from storage.files.places import open_spool
from storage.store import Store

log = logging.getLogger("listener")

PORT_RETRY_SECONDS = 3.0
"""The listener of a daemon that was killed frees its port within this time."""
_LEAVE_POLL_SECONDS = 0.05
_OTHER_FILES = 128
"""Open files besides connections: the store, the spool, the log, libraries."""


def open_node(
    config: Config,
    reception: Reception,
    audit: NetworkAudit,
    commitment: CommitmentHandlers | None = None,
    workitems: WorkitemHandlers | None = None,
    *,
    capacity: Capacity | None = None,
    port: int | None = None,
    tls: ssl.SSLContext | None = None,
) -> Node:
    """Return the SCP that `config` describes, not yet started. `port` overrides its port.

    Nodes with the same `capacity` share the limits.
    """

    def on_rejected(rejection: Rejection) -> None:
        _log_rejection(rejection)
        audit.rejected(rejection)

    def on_accepted(opening: AssociationOpened) -> None:
        if not opening.is_peer:
            log.warning(
                "C-ECHO from %s as %r to %r is answered: it is not a peer: it may not store",
                opening.host,
                opening.calling_ae_title,
                opening.called_ae_title,
            )
        audit.accepted(opening)

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
        peers=[*(peer.as_caller for peer in config.callers), *managers_that_call(config)],
        on_store=reception.receive,
        on_rejected=on_rejected,
        on_accepted=on_accepted,
        on_refused=on_refused,
        commitment=commitment,
        workitems=workitems,
        max_associations=config.listener.max_associations,
        further_ae_titles=config.priority.stat_ae_titles,
        require_called_ae_title=config.listener.check_called_ae_title,
        echo_to_any=config.listener.echo is EchoAnswer.ANY,
        limits=limits_of(config.listener),
        capacity=capacity,
        reuse_port=config.listener.reuse_port,
    )


def limits_of(listener: ListenerConfig) -> Limits:
    """Return the limits of memory and time, for one peer and for all peers together."""
    return Limits(
        max_instance_bytes=listener.max_instance_mb * 2**20,
        max_receiving_bytes=listener.max_receiving_mb * 2**20,
        request_seconds=listener.request_seconds,
        stall_seconds=listener.stall_seconds,
        idle_seconds=listener.idle_seconds,
    )


def allow_open_files(listener: ListenerConfig, further: int = 0) -> None:
    """Raise the limit of open files to the number of connections; warn if the system refuses.

    `further` are connections that are no associations.
    """
    needed = listener.max_associations + limits_of(listener).max_waiting + _OTHER_FILES + further
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        log.warning(
            "only %d files may be open and %d may be needed: raise the limit (ulimit -n), or lower"
            " listener.max_associations",
            allowed,
            needed,
        )


def stat_of(config: Config) -> Callable[[ReceivedInstance], bool]:
    """Return the function that says of a received instance that it is STAT."""

    def is_stat(received: ReceivedInstance) -> bool:
        return config.priority.is_stat(
            config.peers,
            received.calling_ae_title,
            received.called_ae_title,
            is_urgent=received.header.is_urgent,
        )

    return is_stat


def _log_rejection(rejection: Rejection) -> None:
    if not rejection.calling_ae_title:
        log.warning(
            "connection from %(host)s is refused: %(reason)s",
            {"host": rejection.host, "reason": rejection},
        )
        return
    log.warning(
        "association from %(host)s as %(calling)r to %(called)r is %(end)s: %(reason)s",
        {
            "host": rejection.host,
            "calling": rejection.calling_ae_title,
            "called": rejection.called_ae_title,
            "end": "rejected" if isinstance(rejection.reason, RejectReason) else "cut short",
            "reason": rejection,
        },
    )


def run(context: RoleContext) -> None:
    """Listen until told to stop."""
    config = context.config
    return_freed_memory()
    switch_threads_often()
    allow_open_files(config.listener, config.hl7.max_connections if config.hl7.port else 0)
    addresses = listener_addresses(config)
    min_free_bytes = config.spool.min_free_mb * 2**20
    spool = open_spool(config.spool_place, min_free_bytes)
    with Store.open(
        config.resolved_database_url, migrate=False, max_wait=config.priority.max_wait
    ) as store:
        spool.expect(store.binding.spool_id())
        events = Events(config, store)
        responder = CommitmentResponder(config, context.worker, spool, store)
        source_of = functools.partial(source_of_caller, config.peers)
        ring, is_stat = ringing(config, store), stat_of(config)
        quiet_seconds = config.study.quiet_seconds
        ordered = Arrivals(config, store).priority_of
        reception = Reception(spool, store, quiet_seconds, source_of, ring, is_stat, ordered)
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
                    responder.handlers,
                    events.handlers,
                    capacity=capacity,
                    port=port,
                    tls=tls,
                )
                _start(node, context.stop)
                nodes.append(node)
            feed = patient_listener(config, store)
            if feed is not None:
                stack.enter_context(feed)
                _start(feed, context.stop)
            sweep = functools.partial(sweep_orphans, spool, store)
            for name, target in (("commitment", responder.run), ("sweep", sweep)):
                arguments = (context.stop,)
                threading.Thread(target=target, args=arguments, name=name, daemon=True).start()
            # pynetdicom collects garbage again and again: what lives from the start is left out.
            gc.freeze()
            context.ready()
            context.stop.wait()
            leave(config.listener, nodes)


def leave(listener: ListenerConfig, nodes: Sequence[Node]) -> None:
    """Accept for `leave_seconds` more, then serve the open associations for `drain_seconds`.

    A listener whose supervisor has died leaves at once: the next one needs its port.
    """
    stopped = time.monotonic()

    def may_wait(seconds: float) -> bool:
        return time.monotonic() < stopped + seconds and has_supervisor()

    while may_wait(listener.leave_seconds):
        time.sleep(_LEAVE_POLL_SECONDS)
    until = functools.partial(may_wait, listener.leave_seconds + listener.drain_seconds)
    with ThreadPoolExecutor(max(1, len(nodes))) as pool:
        list(pool.map(lambda node: node.drain(until), nodes))


def stop_together(nodes: Sequence[Node]) -> None:
    """Stop the nodes in parallel: each may take seconds, and the supervisor waits for all."""
    with ThreadPoolExecutor(max(1, len(nodes))) as pool:
        list(pool.map(Node.stop, nodes))


def _start(node: Node | PatientListener, stop: threading.Event) -> None:
    """Start a server. While its port is in use, retry for PORT_RETRY_SECONDS.

    The roles of a daemon that was killed end by themselves.
    """
    deadline = time.monotonic() + PORT_RETRY_SECONDS
    while True:
        try:
            node.start()
            return
        except PortInUseError as error:
            if time.monotonic() > deadline or stop.is_set():
                raise
            log.warning("%s; trying for %.0f s", error, PORT_RETRY_SECONDS)
        stop.wait(1.0)
