"""Workers and receptions while the database server, its backends or the network to it fail.

No acknowledged instance is lost and no result is recorded twice; the work goes on by itself.
"""

import collections
import contextlib
import datetime
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from daemon.worker.backoff import Backoff
from daemon.worker.loop import Loop
from storage.errors import StorageError
from storage.records import JobKind, JobState
from storage.store import Store
from tests.builders.store_rows import new_instance
from tests.servers.postgresql_server import Server, own_server
from tests.servers.proxy import Proxy, proxy_to

pytestmark = [pytest.mark.slow, pytest.mark.network]

LEASE = datetime.timedelta(seconds=2)
SECONDS_BACK = 10
WORKERS = 4

log = logging.getLogger("outages")


@dataclass(frozen=True)
class Database:
    """A server, and the network to it."""

    server: Server
    network: Proxy


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with own_server() as server, proxy_to(f"{server.folder}/.s.PGSQL.5432") as network:
        yield Database(server, network)


def restarted(kind: signal.Signals) -> Callable[[Database], None]:
    def act(database: Database) -> None:
        database.server.stop(kind)
        time.sleep(1)
        database.server.start()

    return act


def cut(database: Database) -> None:
    database.network.cut()
    time.sleep(2)
    database.network.resume()


@pytest.mark.parametrize(
    "outage",
    [
        restarted(signal.SIGINT),
        restarted(signal.SIGQUIT),
        lambda database: database.server.end_backend(),
        lambda database: database.server.end_backend(kill=True),
        lambda database: database.server.end_backends(),
        cut,
    ],
    ids=["fast", "immediate", "one ended", "one killed", "all ended", "network cut"],
)
def test_work_goes_on_after_an_outage(
    database: Database, outage: Callable[[Database], None]
) -> None:
    network = database.network
    url = f"postgresql://cxrd@{network.host}:{network.port}/postgres"
    stop = threading.Event()
    acknowledged: list[str] = []
    finished: collections.Counter[int] = collections.Counter()
    with Store.open(url, migrate=True) as store:
        before = {job.subject for job in store.jobs.list(limit=None)}

        def receive() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                uid = f"1.2.{time.time_ns()}.{number}"
                with contextlib.suppress(StorageError):
                    store.record_instance(new_instance(uid, study_instance_uid=uid), 3600)
                    acknowledged.append(uid)
                time.sleep(0.005)

        def step() -> float:
            job = store.jobs.claim((JobKind.ANALYSE,), "worker", LEASE)
            if job is None:
                return 0.01
            store.jobs.finish(job)
            finished[job.id] += 1
            return 0.0

        def work() -> None:
            Loop("worker", log, stop, Backoff(2.0, 60.0), StorageError).run(step)

        threads = [threading.Thread(target=work) for _ in range(WORKERS)]
        threads.append(threading.Thread(target=receive))
        for thread in threads:
            thread.start()
        try:
            time.sleep(1)
            assert finished
            outage(database)
            done, until = len(finished), time.monotonic() + SECONDS_BACK
            while len(finished) < done + 20 and time.monotonic() < until:
                time.sleep(0.05)
            assert len(finished) >= done + 20
        finally:
            stop.set()
            for thread in threads:
                thread.join()

        time.sleep(LEASE.total_seconds())
        store.jobs.reclaim()
        stop.clear()
        while (job := store.jobs.claim((JobKind.ANALYSE,), "last", LEASE)) is not None:
            store.jobs.finish(job)
            finished[job.id] += 1
        jobs = [job for job in store.jobs.list(limit=None) if job.subject not in before]
        analyses = [job for job in jobs if job.kind is JobKind.ANALYSE]
        kept = {uid for uid in acknowledged if store.kept_files(uid)}

    assert kept == set(acknowledged)
    assert {job.state for job in analyses} == {JobState.DONE}
    assert set(finished.values()) == {1}
