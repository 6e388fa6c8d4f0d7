"""A host: `python -m tests.servers.outages.host CONFIG LOG NAME THREADS FILMS_PER_SECOND`.

It receives films and works on the queue with the reception and the analyst of the product. Instead
of an analysis it reads the film and ends the job. Each line of LOG is an event, the seconds since
the start of the machine, the time of this host, and an object or a job.
"""

import itertools
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from daemon.analyst import Analyst, _working
from daemon.config.loading import load_config
from daemon.config.settings import Config
from daemon.receive.reception import Reception
from daemon.worker.backoff import Backoff
from daemon.worker.bell import Bell, BellListener, BellName
from daemon.worker.loop import Crew, Loop
from dicom_io.receive.store_request import StoreStatus
from storage.errors import StorageError
from storage.files.places import open_spool
from storage.files.spool import Spool
from storage.records import Job, JobKind
from storage.store import Store
from tests.builders.images.films import film, received

log = logging.getLogger("analyst")

READY, ACKNOWLEDGED, REFUSED = "ready", "acknowledged", "refused"
CLAIMED, FINISHED = "claimed", "finished"
FILLER = "filler-"
"""Subjects of the jobs that keep the queue full; all of them read the same film."""
FILLER_FILM = "received/filler.dcm"
RECLAIM_SECONDS = 1.0


class _Events:
    """The log of events, of which each line is one write."""

    def __init__(self, path: Path) -> None:
        self._log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def add(self, event: str, value: object = "-") -> None:
        line = f"{event} {time.monotonic():.4f} {time.time():.3f} {value}\n"
        os.write(self._log, line.encode())


class _Reader:
    """Does a job: reads the film and ends the job."""

    def __init__(self, spool: Spool, store: Store, events: _Events, filler: str) -> None:
        self._spool = spool
        self._store = store
        self._events = events
        self._filler = filler

    def run(self, job: Job) -> None:
        self._events.add(CLAIMED, job.id)
        if job.subject.startswith(FILLER):
            self._spool.read(FILLER_FILM, self._filler)
        else:
            instance = self._store.results.instance(int(job.subject))
            self._spool.read(instance.spool_path, instance.sha256)
        self._store.jobs.finish(job)
        self._events.add(FINISHED, job.id)

    def give_up(self, job: Job, reason: str) -> None:
        self._store.jobs.fail(job, reason, None)

    park = give_up


def main() -> None:
    """Receive and work until SIGTERM."""
    config = load_config(Path(sys.argv[1]))
    events, name = _Events(Path(sys.argv[2])), sys.argv[3]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    if "FAKETIME_TIMESTAMP_FILE" in os.environ:
        # Debian's faketime refuses the call of the system that `time.sleep` makes.
        setattr(time, "sleep", threading.Event().wait)  # noqa: B010
    spool = open_spool(config.spool_place)
    with (
        Store.open(config.resolved_database_url, migrate=False) as store,
        BellListener(Bell.of(config, BellName.ANALYST, store), stop) as images,
    ):
        filler = spool.digest(FILLER_FILM)
        pipeline: Any = SimpleNamespace(algorithm=SimpleNamespace(sha256=""))
        analyst = Analyst(config, name, spool, store, pipeline)
        handlers: dict[JobKind, Any] = analyst._handlers
        handlers[JobKind.ANALYSE] = _Reader(spool, store, events, filler)

        def reclaim() -> float:
            store.jobs.reclaim()
            return RECLAIM_SECONDS

        def reclaim_all() -> None:
            Loop("reclaim", log, stop, Backoff(1.0, 1.0), StorageError).run(reclaim)

        def receive() -> None:
            _receive(config, name, spool, store, events, stop)

        work = {
            f"image {number}": _working(analyst, JobKind.ANALYSE, stop, images.waiter())
            for number in range(int(sys.argv[4]))
        }
        events.add(READY)
        Crew(stop).run(work | {"reclaim": reclaim_all, "receive": receive})


def _receive(
    config: Config,
    name: str,
    spool: Spool,
    store: Store,
    events: _Events,
    stop: threading.Event,
) -> None:
    """Receive a film of a study of its own, all STAT, at each tick until told to stop."""
    bell = Bell.of(config, BellName.ANALYST, store)
    reception = Reception(
        spool,
        store,
        config.study.quiet_seconds,
        on_queued=lambda _receipt: bell.ring(),
        is_stat=lambda _received: True,
    )
    pause = 1 / float(sys.argv[5])
    for number in itertools.count():
        image = received(film(f"{name}-{os.getpid()}-{number}"))
        answer = reception.receive(image)
        is_kept = answer is StoreStatus.SUCCESS
        events.add(ACKNOWLEDGED if is_kept else REFUSED, image.sop_instance_uid)
        if stop.wait(pause):
            return


if __name__ == "__main__":
    main()
