"""A node on several hosts: listener, two analysts, database, sender and destination."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from dicom_io.errors import AssociationError
from dicom_io.receive.store_request import ReceivedInstance, StoreStatus
from dicom_io.send.association import Destination, Timeouts
from dicom_io.send.sender import Sender, pair_of
from dicom_io.send.store_status import Disposition
from storage.store import Store
from tests.servers.dicom.pacs import pacs_node
from tests.servers.hosts.namespaces import Host, network
from tests.servers.postgresql_server import emptied_database, postgresql_server
from tests.servers.running import RunningDaemon
from tests.servers.s3_server import ACCESS_KEY, SECRET_KEY, S3Server, s3_server
from tests.tools.ports import NODE, PACS, SENDER

LISTENER_PORT, PACS_PORT, WEB_PORT = 11112, 11113, 8080
LEASE_SECONDS = 6.0
WORKERS = 2
"""Films in work at once on a host."""
_BUCKET = "cxrd"
TIMEOUTS = Timeouts(connect=3, association=5, response=30, network=30)
NAMES = ("front", "north", "south", "back", "engines", "clinic")
"""The hosts: listener and courier, two analysts, courier, PostgreSQL and S3, peers."""


class HostDaemon(RunningDaemon):
    """`cxrd serve` with some roles on a host; its data folder is on that host alone."""

    def __init__(
        self, folder: Path, bundle: Path, host: Host, roles: str, changes: Mapping[str, Any]
    ) -> None:
        self.host = host
        self.options = ("--only", roles)
        self.prefix = host.prefix
        super().__init__(folder / host.name, bundle, PACS_PORT, {**changes})
        self.port = LISTENER_PORT

    def start(self) -> None:
        with self.host.inside():
            super().start()

    def lose_power(self) -> None:
        """Kill every process of the host at once."""
        command = ["ip", "netns", "pids", self.host.namespace]
        listed = subprocess.run(command, check=True, capture_output=True, text=True)
        for process in listed.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)
        if self._process is not None:
            self._process.wait(10)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        with self.host.inside():
            return super().run(*arguments)


@dataclass
class Archive:
    """The destination: the arrivals of each object."""

    studies: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """The arrivals of each report, by study and SOP Instance UID."""
    first: dict[str, float] = field(default_factory=dict)
    """The time of the first report of each study."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, received: ReceivedInstance) -> StoreStatus:
        if received.header.modality == "SR":
            study = received.header.study_instance_uid
            with self.lock:
                self.studies[study][received.sop_instance_uid] += 1
                self.first.setdefault(study, time.monotonic())
        return StoreStatus.SUCCESS

    @property
    def reported(self) -> int:
        return len(self.first)


@dataclass
class HostsSite:
    """The hosts and what runs on them. No daemon is started yet."""

    folder: Path
    bundle: Path
    hosts: dict[str, Host]
    socket_folder: str
    objects: S3Server
    archive: Archive
    changes: dict[str, Any] = field(default_factory=dict)
    daemons: list[HostDaemon] = field(default_factory=list)

    def daemon(
        self, host: str, roles: str, kind: type[HostDaemon] = HostDaemon, **changes: Any
    ) -> HostDaemon:
        """Return a daemon of the host, not yet started, with the configuration of all hosts."""
        values = {**self.configuration(self.hosts[host]), **self.changes, **changes}
        made = kind(self.folder, self.bundle, self.hosts[host], roles, values)
        self.daemons.append(made)
        return made

    def configuration(self, host: Host) -> dict[str, Any]:
        """Return what the configuration of each host holds."""
        clinic = self.hosts["clinic"].address
        return {
            "database_url": f"postgresql://cxrd@{self.hosts['engines'].address}/postgres",
            "listener": {"host": host.address, "port": LISTENER_PORT},
            "web": {"port": WEB_PORT},
            "model": {"bundle": str(self.bundle), "threads": 1, "heatmaps": "validated"},
            "analyst": {"lease_seconds": LEASE_SECONDS, "workers": WORKERS, "retry_seconds": 0.5},
            "spool": {
                "min_free_mb": 1,
                "url": f"s3://{_BUCKET}/films",
                "endpoint": self.objects.endpoint,
                "access_key": ACCESS_KEY,
                "secret_key": SECRET_KEY,
                "allow_http": True,
            },
            "peers": [
                {"name": "sender", "ae_title": SENDER, "sends": True},
                {
                    "name": "pacs",
                    "ae_title": PACS,
                    "host": clinic,
                    "port": PACS_PORT,
                    "receives": ["report"],
                },
            ],
        }

    @property
    def url(self) -> str:
        """URL of the store by the socket of its server, which no cable can cut."""
        return f"postgresql://cxrd@/postgres?host={self.socket_folder}"

    def store(self) -> Store:
        return Store.open(self.url, migrate=False)

    def query(self, statement: LiteralString, *values: str) -> list[Any]:
        """Return the first column of the rows of a statement."""
        with psycopg.connect(host=self.socket_folder, user="cxrd", dbname="postgres") as connection:
            return [row[0] for row in connection.execute(statement, values).fetchall()]

    def try_to_send(self, image: bytes, host: Host, port: int = LISTENER_PORT) -> bool:
        """Send a film to a host in an association of its own; call inside the sender's host."""
        destination = Destination("cxrd", NODE, host.address, port, SENDER, TIMEOUTS)
        try:
            with Sender(destination, sop_classes=(), also=[pair_of(image)]) as sender:
                return sender.send(image).disposition is Disposition.DELIVERED
        except AssociationError:
            return False


@contextlib.contextmanager
def hosts_site(folder: Path, bundle: Path) -> Iterator[HostsSite]:
    """Connect the hosts; run the database and the destination on theirs."""
    archive = Archive()
    with network(*NAMES) as connected, contextlib.ExitStack() as stack:
        hosts = {host.name: host for host in connected}
        with hosts["engines"].inside():
            engines = postgresql_server(hosts["engines"].address)
            socket_folder = stack.enter_context(engines)
            objects = stack.enter_context(s3_server(hosts["engines"].address))
            objects.make_bucket(_BUCKET)
        emptied_database(socket_folder)
        with hosts["clinic"].inside():
            address = hosts["clinic"].address
            stack.enter_context(pacs_node(archive.keep, PACS_PORT, host=address))
        site = HostsSite(folder, bundle, hosts, socket_folder, objects, archive)
        try:
            yield site
        finally:
            for host in connected:
                host.join()
            for daemon in site.daemons:
                daemon.lose_power()
