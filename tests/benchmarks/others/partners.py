"""Delivery to a live DICOM node beside a partner of another kind that is dead, slow or lying.

The courier is a process, and so is each partner. A delivery's time is that from the transaction
that queues it to the one that records it.
"""

import contextlib
import functools
import logging
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from daemon.config.settings import Config
from daemon.worker.bell import Bell, BellName
from dicom_io.peer.peers import Peer
from dicom_io.receive.node import Node
from dicom_io.receive.store_request import StoreStatus
from storage.files.folder_spool import FolderSpool
from storage.records import JobKind, JobState, RetrievalPurpose
from storage.status import JobGroup
from storage.store import Store
from tests.benchmarks.timing import alternate, show
from tests.builders.outbox import queue_object, report_bytes
from tests.builders.store_rows import SOURCE
from tests.tools.ports import HOST, NODE, PACS, free_port

REPORTS = 40
WAITING = 60
"""Reports that wait for the partner that fails."""
RUNS = 5
LIVE, OTHER = "live", "other"
_SPACING = 0.05
_SETTLED = 1.5
"""Seconds in which the partner that fails has been tried."""
_PATIENCE = 60.0
FAULTS = {
    "dicom": ("dead", "silent", "rubbish"),
    "dicomweb": ("dead", "silent", "slow", "http"),
    "fhir": ("dead", "silent", "slow", "http"),
    "hl7": ("dead", "silent", "slow", "hl7"),
    "archive": ("dead", "silent", "rubbish"),
    "worklist": ("dead", "silent", "rubbish"),
}
"""The faults of each kind of partner."""


def run() -> None:
    """Print the median time of a delivery alone and beside each partner, and the ratios."""
    sides = {"alone": functools.partial(_measure, {})}
    with contextlib.ExitStack() as stack:
        for kind, faults in FAULTS.items():
            for fault in faults:
                port = free_port() if fault == "dead" else stack.enter_context(_partner(fault))
                sides[f"{kind}, {fault}"] = functools.partial(_measure, _settings(kind, port))
        for side in sides.values():
            side()
        values = alternate(RUNS, sides)
    print(f"{REPORTS} deliveries a run, {RUNS} runs in turn; {WAITING} reports wait for the other")
    show(values, "ms", "alone")


@contextlib.contextmanager
def _partner(fault: str) -> Iterator[int]:
    """Run a partner for the block; yield its port."""
    command = [sys.executable, "-m", "tests.benchmarks.sides.faulty_partner", fault]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.stdin.close()


def _settings(kind: str, port: int) -> dict[str, Any]:
    """Return the keys of a configuration with a partner of this kind."""
    if kind == "dicom":
        peer = {"ae_title": "OTHER", "host": HOST, "port": port}
        return {"peers": [{"name": OTHER, "receives": ["report"], **peer}]}
    if kind == "archive":
        peer = {"ae_title": "OTHER", "host": HOST, "port": port, "sends": True}
        return {"peers": [{"name": OTHER, "query": {"retrieve": "get"}, **peer}]}
    if kind == "worklist":
        manager = {"ae_title": "OTHER", "host": HOST, "port": port, "poll_seconds": 1}
        return {"worklists": [{"name": OTHER, "kind": "dimse", "source": SOURCE, **manager}]}
    keys: Mapping[str, Any] = {
        "dicomweb": {"url": f"http://{HOST}:{port}/dicom-web", "allow_http": True},
        "fhir": {"url": f"http://{HOST}:{port}/fhir", "allow_http": True, "version": "R5"},
        "hl7": {"host": HOST, "port": port},
    }[kind]
    return {"destinations": [{"name": OTHER, "kind": kind, "receives": ["report"], **keys}]}


def _measure(other: Mapping[str, Any]) -> float:
    """Return the median milliseconds from queue to record of a delivery to the live node."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary,
        Node(
            ae_title=PACS,
            host=HOST,
            port=0,
            peers=[Peer(NODE)],
            on_store=lambda _: StoreStatus.SUCCESS,
        ) as node,
    ):
        sender = {"name": SOURCE, "ae_title": "MODALITY", "sends": True}
        live = {"name": LIVE, "ae_title": PACS, "host": HOST, "port": node.port}
        values: dict[str, Any] = {
            "data_dir": Path(temporary),
            "listener": {"ae_title": NODE},
            "courier": {"network_timeout_seconds": 2.0},
            **other,
            "peers": [sender, {"receives": ["report"], **live}, *other.get("peers", ())],
        }
        config = Config(**values)
        return _deliver(config)


def _deliver(config: Config) -> float:
    spool = FolderSpool(config.data_dir / "spool")
    with Store.open(config.resolved_database_url, migrate=True) as store:
        for number in range(WAITING):
            _queue(store, spool, OTHER, 1000 + number)
        studies = [f"2.25.6{number}" for number in range(WAITING)]
        store.retrievals.order(OTHER, studies, RetrievalPurpose.BACKFILL, "bench")
        with _courier(config):
            time.sleep(_SETTLED)
            bell = Bell.of(config, BellName.COURIER, store)
            for number in range(REPORTS):
                _queue(store, spool, LIVE, number)
                bell.ring()
                time.sleep(_SPACING)
            done = JobGroup(JobKind.DELIVER, JobState.DONE, LIVE)
            deadline = time.monotonic() + _PATIENCE
            while store.status.job_counts().get(done, 0) < REPORTS:
                assert time.monotonic() < deadline, "the live node does not get its reports"
                time.sleep(0.05)
        return _median_wait(config)


def _queue(store: Store, spool: FolderSpool, destination: str, number: int) -> None:
    uid = f"2.25.7{number}"
    queue_object(store, spool, destination, uid, _report(uid), number)


@functools.cache
def _report(uid: str) -> bytes:
    return report_bytes(uid)


@contextlib.contextmanager
def _courier(config: Config) -> Iterator[None]:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_run_courier, args=(config, theirs))
    process.start()
    try:
        assert ours.poll(_PATIENCE), "the courier does not start"
        ours.recv()
        yield
    finally:
        ours.send("stop")
        process.join(_PATIENCE)
        if process.is_alive():
            process.kill()


def _run_courier(config: Config, channel: "Connection[str, str]") -> None:
    from daemon.courier import run as run_courier
    from daemon.worker.role import RoleContext

    # The films of the queued reports have no files, and the partners that fail fill a log.
    logging.disable(logging.CRITICAL)
    stop = threading.Event()

    def wait() -> None:
        channel.recv()
        stop.set()

    threading.Thread(target=wait, daemon=True).start()
    run_courier(RoleContext(config, "courier", stop, lambda: channel.send("ready")))


def _median_wait(config: Config) -> float:
    query = text(
        "SELECT (julianday(d.delivered_at) - julianday(j.created_at)) * 86400000"
        " FROM deliveries d JOIN jobs j ON j.id = d.job_id WHERE d.destination = :live"
    )
    engine = create_engine(config.resolved_database_url)
    with engine.connect() as connection:
        waits = [float(row[0]) for row in connection.execute(query, {"live": LIVE})]
    engine.dispose()
    return statistics.median(waits)
