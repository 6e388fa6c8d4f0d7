"""Delivery: time to serve a live destination, beside a dead destination and alone.

A dead destination has a closed port, has an address that never answers, or accepts the connection
and stays silent.
"""

import contextlib
import functools
import shutil
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from daemon.config.peers import PeerConfig
from daemon.config.receivers import Product
from daemon.config.sections.roles import CourierConfig
from daemon.config.settings import Config
from daemon.deliver.delivery_worker import DeliveryWorker
from daemon.worker.role import RoleContext
from dicom_io.peer.peers import Peer
from dicom_io.receive.node import Node
from dicom_io.receive.store_request import StoreStatus
from storage.files.folder_spool import FolderSpool
from storage.records import JobKind, JobState
from storage.status import JobGroup
from storage.store import Store
from tests.benchmarks.timing import in_turn
from tests.builders.outbox import queue_report
from tests.builders.store_rows import SOURCE
from tests.tools.ports import HOST, NODE, PACS, free_port

REPORTS = 40
RUNS = 11
LIVE, DEAD = "live", "dead"
NEVER_ANSWERS = "192.0.2.1"
"""TEST-NET-1: reserved for documentation, routed nowhere (RFC 5737)."""


def run() -> None:
    """Print the seconds for REPORTS deliveries to the live destination, and the ratios."""
    with tempfile.TemporaryDirectory() as temporary, _silent_port() as silent:
        queued = Path(temporary) / "queued"
        _queue(queued)
        dead = {
            "refused port": (HOST, free_port()),
            "address that never answers": (NEVER_ANSWERS, 104),
            "connection that stays silent": (HOST, silent),
        }
        values = in_turn(
            RUNS,
            alone=lambda: _deliver(queued, None),
            **{name: functools.partial(_deliver, queued, where) for name, where in dead.items()},
        )
    alone = statistics.median(values["alone"])
    print(f"{REPORTS} reports to the live destination, {RUNS} runs in turn")
    for name, series in values.items():
        middle = statistics.median(series)
        print(
            f"{name:<30} median {middle:.3f} s ({min(series):.3f} to {max(series):.3f})"
            f"  ratio of medians {middle / alone:.2f}"
        )


@contextlib.contextmanager
def _silent_port() -> Iterator[int]:
    """Open a port that accepts connections and never answers."""
    with socket.create_server((HOST, 0), backlog=100) as server:
        yield int(server.getsockname()[1])


def _queue(folder: Path) -> None:
    """Queue as many reports for the live destination as for the dead one."""
    spool = FolderSpool(folder / "spool")
    with Store.open(f"sqlite:///{folder}/cxrd.sqlite", migrate=True) as store:
        for number in range(REPORTS):
            queue_report(store, spool, LIVE, number)
            queue_report(store, spool, DEAD, 1000 + number)


def _deliver(queued: Path, dead: tuple[str, int] | None) -> float:
    """Return the seconds until the live destination has every report queued for it."""
    stop = threading.Event()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "data"
        shutil.copytree(queued, folder)
        return _deliver_from(folder, dead, stop)


def _deliver_from(folder: Path, dead: tuple[str, int] | None, stop: threading.Event) -> float:
    with (
        Store.open(f"sqlite:///{folder}/cxrd.sqlite", migrate=False) as store,
        Node(
            ae_title=PACS,
            host=HOST,
            port=0,
            peers=[Peer(NODE)],
            on_store=lambda _: StoreStatus.SUCCESS,
        ) as node,
    ):
        spool = FolderSpool(folder / "spool")
        lanes = [_lane(LIVE, (HOST, node.port), spool, store, stop)]
        if dead is not None:
            lanes.append(_lane(DEAD, dead, spool, store, stop))
            lanes[-1].start()
            time.sleep(0.5)
        started = time.perf_counter()
        lanes[0].start()
        done = JobGroup(JobKind.DELIVER, JobState.DONE, LIVE)
        while store.status.job_counts().get(done, 0) < REPORTS:
            time.sleep(0.01)
        taken = time.perf_counter() - started
        stop.set()
        for lane in lanes:
            lane.join()
    return taken


def _lane(
    name: str, where: tuple[str, int], spool: FolderSpool, store: Store, stop: threading.Event
) -> threading.Thread:
    peer = PeerConfig(
        name=name, ae_title=PACS, host=where[0], port=where[1], receives=(Product.REPORT,)
    )
    # The waits are the defaults; a shorter time-out only makes the dead one be tried more often.
    courier = CourierConfig(network_timeout_seconds=2.0)
    sender = PeerConfig(name=SOURCE, ae_title="MODALITY", sends=True)
    context = RoleContext(Config(peers=(sender, peer), courier=courier), name, stop, lambda: None)
    return threading.Thread(target=DeliveryWorker(context, peer, spool, store).run)
