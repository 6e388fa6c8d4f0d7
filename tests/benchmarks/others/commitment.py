"""Storage commitment: a peer's request alone, and while another peer asks for 20,000 instances."""

import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from pydicom import Dataset
from pynetdicom import AE, build_context, evt

from daemon.audit.network import NetworkAudit
from daemon.commitment.responder import CommitmentResponder
from daemon.config.peers import PeerConfig
from daemon.config.sections.roles import ListenerConfig
from daemon.config.settings import Config
from daemon.listener import open_node
from daemon.receive.reception import Reception
from daemon.worker.loop import switch_threads_often
from dicom_io.commitment.messages import (
    COMMITMENT_CLASS,
    COMMITMENT_INSTANCE,
    CommitmentRequest,
    Reference,
    build_request,
    new_transaction_uid,
)
from storage.files.folder_spool import FolderSpool
from storage.store import Store
from tests.builders.images.films import film, received
from tests.tools.ports import HOST, free_port

MANY = 20_000
FEW = 100
KEPT = 100
RUNS = 3
PATIENCE = 300.0


def run() -> None:
    """Print the seconds from request to answer, and their ratio."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary,
        _listening(Path(temporary)) as (port, kept),
        # The peers are other processes: their own work must not slow the listener.
        ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool,
    ):
        ask_few = partial(_ask, port, "FEW", (kept * FEW)[:FEW])
        for title, many in (
            ("unknown to the node", [_unknown(number) for number in range(MANY)]),
            ("kept by the node", (kept * MANY)[:MANY]),
        ):
            alone = [pool.submit(ask_few).result() for _ in range(RUNS)]
            other = pool.submit(_ask, port, "MANY", many)
            beside = []
            while not other.done():
                beside.append(pool.submit(ask_few).result())
            print(
                f"{FEW} instances alone {statistics.median(alone):.2f} s; beside {MANY} {title}"
                f" {statistics.median(beside):.2f} s (most {max(beside):.2f} s in"
                f" {len(beside)} requests): ratio"
                f" {statistics.median(beside) / statistics.median(alone):.2f};"
                f" the {MANY} took {other.result():.1f} s"
            )


@contextmanager
def _listening(folder: Path) -> Iterator[tuple[int, list[Reference]]]:
    """Run a listener that keeps films of both peers; yield its port and the films."""
    peers = tuple(
        PeerConfig(name=name.lower(), ae_title=name, sends=True, source="both")
        for name in ("FEW", "MANY")
    )
    config = Config(listener=ListenerConfig(port=free_port()), peers=peers)
    switch_threads_often()
    spool, stop = FolderSpool(folder / "spool"), threading.Event()
    with Store.open(f"sqlite:///{folder / 'store.sqlite'}", migrate=True) as store:
        reception = Reception(spool, store, 30, lambda *_: "both")
        kept = []
        for number in range(KEPT):
            instance = received(film(f"film {number}"))
            reception.receive(instance)
            kept.append(Reference(instance.sop_class_uid, instance.sop_instance_uid))
        responder = CommitmentResponder(config, "listener", spool, store)
        threading.Thread(target=responder.run, args=(stop,), daemon=True).start()
        with (
            NetworkAudit(store.audit) as audit,
            open_node(config, reception, audit, responder.handlers) as node,
        ):
            yield node.port, kept
            stop.set()


def _unknown(number: int) -> Reference:
    return Reference("1.2.840.10008.5.1.4.1.1.1", f"1.2.826.0.1.3680043.10.1474.9.{number}")


def _ask(port: int, ae_title: str, references: list[Reference]) -> float:
    """Request commitment, await the answer on the same association and return the seconds."""
    answered = threading.Event()

    def on_event_report(_: evt.Event) -> tuple[int, None]:
        answered.set()
        return 0x0000, None

    ae = AE(ae_title=ae_title)
    ae.dimse_timeout = ae.network_timeout = PATIENCE
    association = ae.associate(
        HOST,
        port,
        contexts=[build_context(COMMITMENT_CLASS)],
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, on_event_report)],
    )
    request: Dataset = build_request(CommitmentRequest(new_transaction_uid(), tuple(references)))
    started = time.perf_counter()
    status, _ = association.send_n_action(request, 1, COMMITMENT_CLASS, COMMITMENT_INSTANCE)
    assert status.Status == 0x0000
    assert answered.wait(PATIENCE)
    taken = time.perf_counter() - started
    association.release()
    return taken
