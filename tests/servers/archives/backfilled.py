"""A node in this process that fetches studies from an archive: its store, listener and worker."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.audit.network import NetworkAudit
from daemon.config.settings import Config
from daemon.listener import open_node
from daemon.receive.reception import Reception
from daemon.retrieve.arrivals import Arrivals
from daemon.retrieve.retrieve_worker import RetrieveWorker
from daemon.worker.role import RoleContext
from dicom_io.send.association import Destination
from storage.files.folder_spool import FolderSpool
from storage.records import JobKind, JobState, StudyKey
from storage.store import Store
from tests.builders.stores.new import new_store
from tests.tools.waiting import wait_until


@dataclass
class FetchingNode:
    """The store of a node whose worker runs; `config` names its archive `archive`."""

    config: Config
    store: Store
    stop: threading.Event

    def states(self) -> dict[str, JobState]:
        """Return the state of each study's job."""
        jobs = self.store.jobs.list(kind=JobKind.RETRIEVE, limit=None)
        return {job.subject.partition("@")[0]: job.state for job in jobs}

    def kept(self, study: str) -> frozenset[str]:
        return self.store.retrievals.kept(StudyKey("archive", study))

    def wait_for(self, state: JobState) -> None:
        """Wait until every job is in this state."""
        wait_until(lambda: set(self.states().values()) == {state}, f"{state}: {self.states()}")

    def error(self) -> str:
        return self.store.jobs.list(kind=JobKind.RETRIEVE)[0].last_error or ""


def archive_config(
    archive: Destination, port: int, folder: Path, pull: dict[str, Any], **query: Any
) -> Config:
    """Return a configuration that queries an archive."""
    values: dict[str, Any] = {
        "data_dir": folder,
        "listener": {"port": port},
        "courier": {
            "retry_seconds": 0.05,
            "retry_max_seconds": 0.2,
            "network_timeout_seconds": 5,
        },
        "pull": pull,
        "peers": [
            {
                "name": "archive",
                "ae_title": archive.ae_title,
                "host": archive.host,
                "port": archive.port,
                "sends": True,
                "query": query,
            }
        ],
    }
    return Config(**values)


@contextmanager
def fetching_node(
    archive: Destination,
    port: int,
    folder: Path,
    prepare: Callable[[Store], object] = lambda _: None,
    pull: dict[str, Any] | None = None,
    **query: Any,
) -> Iterator[FetchingNode]:
    """Run the listener and the worker of a node; `prepare` gets its store before they start."""
    config = archive_config(
        archive,
        port,
        folder,
        {"max_waiting": 10_000, "max_per_hour": None, **(pull or {})},
        **query,
    )
    spool = FolderSpool(folder / "spool")
    with new_store(folder / "cxrd.sqlite") as store, NetworkAudit(store.audit) as audit:
        prepare(store)
        arrivals = Arrivals(config, store)
        reception = Reception(
            spool, store, 1.0, lambda _title, _host: "archive", ordered=arrivals.priority_of
        )
        stop = threading.Event()
        context = RoleContext(config, "worker", stop, lambda: None)
        worker = RetrieveWorker(context, config.peers[0], spool, store)
        thread = threading.Thread(target=worker.run)
        with open_node(config, reception, audit):
            thread.start()
            try:
                yield FetchingNode(config, store, stop)
            finally:
                stop.set()
                thread.join()
