"""Two hosts on one store and one spool, the record of what they did, and the balance at the end."""

import collections
import contextlib
import datetime
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, LiteralString

import psycopg
import yaml

from storage.errors import StorageError
from storage.files.folder_spool import FolderSpool
from storage.files.s3.place import S3Place
from storage.files.s3.s3_spool import S3Spool
from storage.files.spool import Spool
from storage.records import JobKind, JobState
from storage.store import Store
from tests.builders.images.films import film
from tests.servers.outages.host import (
    ACKNOWLEDGED,
    CLAIMED,
    FILLER,
    FILLER_FILM,
    FINISHED,
    READY,
    REFUSED,
)
from tests.servers.s3_server import ACCESS_KEY, REGION, SECRET_KEY, S3Server
from tests.tools.paths import ROOT
from tests.tools.ports import SENDER
from tests.tools.waiting import wait_until

LEASE_SECONDS = 5.0
_DRAIN_SECONDS = 60.0
_LEASE = datetime.timedelta(seconds=LEASE_SECONDS)
_FILL = """
INSERT INTO jobs (kind, subject, state, attempts, generation, claims, not_before, created_at,
updated_at, priority)
SELECT 'analyse', %s || n, 'queued', 0, 1, 0, now(), now(), now(), 0
FROM generate_series(1, %s) AS s(n)
"""
_END_FILL = "DELETE FROM jobs WHERE starts_with(subject, %s) AND state = 'queued'"
_FILMS = (
    "SELECT sop_instance_uid, spool_path, sha256, jobs.state FROM instances JOIN jobs"
    " ON kind = 'analyse' AND subject = CAST(instances.id AS TEXT)"
)
_GIVEN_UP = "SELECT count(*) FROM jobs WHERE kind = 'analyse' AND state <> 'done'"


@dataclass(frozen=True, slots=True)
class Event:
    """What a host did, when by the machine's clock, and by how much the host's clock is ahead."""

    kind: str
    at: float
    ahead: float
    value: str


@dataclass(frozen=True, slots=True)
class Balance:
    """The state after all work is done: what is lost, and what was done twice."""

    acknowledged: int
    refused: int
    finished: int
    missing: int
    """Acknowledged films without a row, without their file, or without a job that is done."""
    twice: int
    """Jobs that two workers ended, and films with two jobs."""
    given_up: int
    """Jobs that ended otherwise than done."""


class OutageHost:
    """A process that receives and works. With `clock` its clock is the one written there."""

    def __init__(
        self, folder: Path, name: str, values: Mapping[str, Any], threads: int, films: float
    ) -> None:
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        self.events_path = self.folder / "events"
        self._clock = self.folder / "clock"
        config = self.folder / "config.yaml"
        config.write_text(yaml.safe_dump({"data_dir": "data", **values}), encoding="utf-8")
        module = "tests.servers.outages.host"
        self._command = [sys.executable, "-m", module, str(config), str(self.events_path), name]
        self._command += [str(threads), str(films)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, faketime: str = "") -> None:
        """Start the process; with the program `faketime` its clock can be moved."""
        variables, prefix = {}, []
        if faketime:
            self.move_clock(0)
            variables = {"FAKETIME_TIMESTAMP_FILE": str(self._clock), "FAKETIME_NO_CACHE": "1"}
            # The file holds the time, so that it can change: the variable would go before it.
            prefix = [faketime, "--exclude-monotonic", "-f", "+0", "env", "-u", "FAKETIME"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*prefix, *self._command],
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
                # Also faketime's own process ends with the group.
                start_new_session=True,
            )

    def move_clock(self, seconds: int) -> None:
        """Set the clock of the process by so many seconds from the true time."""
        new = self._clock.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n", encoding="ascii")
        new.replace(self._clock)

    def events(self) -> list[Event]:
        now = time.time() - time.monotonic()
        found = []
        if self.events_path.exists():
            for line in self.events_path.read_text(encoding="ascii").splitlines():
                kind, at, wall, value = line.split()
                found.append(Event(kind, float(at), float(wall) - float(at) - now, value))
        return found

    @property
    def is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        return any(event.kind == READY for event in self.events())

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """End the process after what it is doing; kill it if that takes long."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


@dataclass
class OutageSite:
    """A store, a spool and the hosts on them. `direct` is a URL that no outage cuts."""

    folder: Path
    direct: str
    spool: Spool
    hosts: list[OutageHost] = field(default_factory=list)

    def add_host(
        self, url: str, spool: Mapping[str, Any], threads: int, films: float
    ) -> OutageHost:
        values = {
            "database_url": url,
            "spool": {"min_free_mb": 1, **spool},
            "analyst": {"lease_seconds": LEASE_SECONDS},
            # No report is due while the films come.
            "study": {"quiet_seconds": 3600},
            "peers": [{"name": "sender", "ae_title": SENDER, "sends": True}],
        }
        host = OutageHost(self.folder, f"host{len(self.hosts)}", values, threads, films)
        self.hosts.append(host)
        return host

    def fill(self, count: int) -> None:
        """Make the tables, and queue jobs that all read one film."""
        Store.open(self.direct, migrate=True).close()
        self.spool.make()
        self.spool.write(FILLER_FILM, film("filler"))
        self._query(_FILL, FILLER, count)
        self._query("ANALYZE jobs")

    def await_hosts(self) -> None:
        wait_until(lambda: all(host.is_ready for host in self.hosts), "the hosts are ready")

    def times(self, kind: str = CLAIMED) -> list[float]:
        """Return the times of all events of a kind."""
        return sorted(
            event.at for host in self.hosts for event in host.events() if event.kind == kind
        )

    def settle(self) -> Balance:
        """Stop the hosts, finish what is left of the films, and count."""
        for host in self.hosts:
            host.stop()
        events = [event for host in self.hosts for event in host.events()]
        finished = [event.value for event in events if event.kind == FINISHED]
        acknowledged = {event.value for event in events if event.kind == ACKNOWLEDGED}
        self._query(_END_FILL, FILLER)
        with Store.open(self.direct, migrate=False) as store:
            finished += _drain(store)
        rows = self._query(_FILMS)
        jobs = collections.Counter(uid for uid, *_ in rows)
        whole = {uid for uid, path, sha256, state in rows if self._is_whole(path, sha256, state)}
        times = collections.Counter(finished)
        return Balance(
            acknowledged=len(acknowledged),
            refused=sum(event.kind == REFUSED for event in events),
            finished=len(finished),
            missing=len(acknowledged - whole),
            twice=sum(count > 1 for count in [*times.values(), *jobs.values()]),
            given_up=self._query(_GIVEN_UP)[0][0],
        )

    def _is_whole(self, path: str, sha256: str, state: str) -> bool:
        """Return True if a film has its file, and its job is done."""
        with contextlib.suppress(StorageError):
            self.spool.verify(path, sha256)
            return state == JobState.DONE
        return False

    def _query(self, statement: LiteralString, *values: str | int) -> list[Any]:
        with psycopg.connect(self.direct) as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []


def _drain(store: Store) -> list[str]:
    """Finish all jobs that are due, also those of workers that hold them no more."""
    done, until = [], time.monotonic() + _DRAIN_SECONDS
    while time.monotonic() < until:
        store.jobs.reclaim()
        while (job := store.jobs.claim((JobKind.ANALYSE,), "last", _LEASE)) is not None:
            store.jobs.finish(job)
            done.append(str(job.id))
        states = (JobState.QUEUED, JobState.RUNNING)
        if not any(store.jobs.list(state=state, kind=JobKind.ANALYSE) for state in states):
            break
        time.sleep(0.2)
    return done


@contextlib.contextmanager
def spool_in(
    objects: S3Server | None, folder: Path, limits: Mapping[str, float] = MappingProxyType({})
) -> Iterator[tuple[Spool, Mapping[str, Any]]]:
    """Yield a spool in a new bucket or else in the folder, and its section of the configuration.

    `limits` are keys of that section for the hosts.
    """
    if objects is None:
        yield FolderSpool(folder / "spool"), {"url": (folder / "spool").as_uri()}
        return
    bucket = objects.make_bucket(f"cxrd-{uuid.uuid4().hex[:12]}")
    place = S3Place(
        bucket=bucket,
        endpoint=objects.endpoint,
        region=REGION,
        access_key=ACCESS_KEY,
        secret_key=SECRET_KEY,
        path_style=True,
    )
    service = {"url": f"s3://{bucket}", "endpoint": objects.endpoint, "region": REGION}
    keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "allow_http": True}
    with contextlib.closing(S3Spool(place)) as spool:
        yield spool, {**service, **keys, **limits}
