"""The web role in this process, over a store that a test fills."""

import datetime
import http.client
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from daemon.config.settings import TOKEN_FILE, Config
from daemon.web.server import run
from daemon.worker.board import Board, RoleState, RoleStatus, board_folder
from daemon.worker.listening import addresses_of
from daemon.worker.role import RoleContext, RoleName
from storage.files.folder_spool import FolderSpool
from storage.records import Delivery, JobKind, JobState, StudyStatus
from storage.store import Store
from storage.tables.clock import utc_now
from tests.builders.store_rows import LEASE, analyse, claim, made_object, new_instance
from tests.tools.ports import HOST, free_port

PEERS = [
    {"name": name, "ae_title": name.upper(), "host": HOST, "port": 4242, "receives": ["report"]}
    for name in ("pacs", "archive")
]
PEER_WORDS = "patient DOE^JANE is not known"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    text: str


@dataclass(frozen=True)
class Site:
    """The running role and the folder that it reads."""

    port: int
    data: Path
    stop: Callable[[], None]

    @property
    def token(self) -> str:
        """Return the token that the role made at its start."""
        return (self.data / TOKEN_FILE).read_text().strip()

    def ask(self, path: str = "/", method: str = "GET", host: str = "localhost") -> Answer:
        """Ask with the token, as a program does."""
        headers = {"Authorization": f"Bearer {self.token}", "Origin": f"http://{host}"}
        return self.ask_with(headers, path, method, host)

    def ask_with(
        self,
        headers: dict[str, str],
        path: str = "/",
        method: str = "GET",
        host: str = "localhost",
        body: bytes = b"",
    ) -> Answer:
        """Ask with these headers only."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        try:
            connection.putrequest(method, path, skip_host=True)
            connection.putheader("Host", host)
            for name, value in headers.items():
                connection.putheader(name, value)
            if body:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, response.read().decode())
        finally:
            connection.close()

    def ask_bytes(self, path: str) -> bytes:
        """Ask for a file with the token; return its bytes."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
            return connection.getresponse().read()
        finally:
            connection.close()

    def post(self, path: str, body: object) -> Answer:
        """Send a form, given as its text, or a JSON object with the token, as a program does."""
        is_form = isinstance(body, str)
        kind = "application/x-www-form-urlencoded" if is_form else "application/json"
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Origin": "http://localhost",
            "Content-Type": kind,
        }
        data = str(body) if is_form else json.dumps(body)
        return self.ask_with(headers, path, "POST", body=data.encode())

    def metric(self, name: str, **labels: str) -> float:
        """Return the value of a sample."""
        (value,) = [
            sample.value
            for family in text_string_to_metric_families(self.ask("/metrics").text)
            for sample in family.samples
            if sample.name == name and sample.labels == labels
        ]
        return value


def status_of(config: Config, role: RoleName, **changes: Any) -> RoleStatus:
    """Return the status of a role that works, with `changes`."""
    places = tuple(map(str, addresses_of(config, role)))
    return replace(RoleStatus(role, RoleState.UP, utc_now(), addresses=places), **changes)


@contextmanager
def supervised(config: Config, *roles: RoleStatus) -> Iterator[None]:
    """Publish the states of a supervisor's roles until the block ends."""
    with Board(board_folder(config)) as board:
        board.publish(roles)
        yield


@contextmanager
def running_site(data: Path, **sections: Any) -> Iterator[Site]:
    """Run the web role as a supervisor's only role, until the block ends."""
    values: dict[str, Any] = {"web": {"port": free_port()}, "peers": PEERS, **sections}
    config = Config(data_dir=data, **values)
    with supervised(config, status_of(config, RoleName.WEB)), site_alone(config) as site:
        yield site


@contextmanager
def site_alone(config: Config) -> Iterator[Site]:
    """Run the web role without the states of a supervisor."""
    ready, stopped = threading.Event(), threading.Event()
    FolderSpool(config.data_dir / "spool")
    context = RoleContext(config, "test", stopped, ready.set)
    thread = threading.Thread(target=run, args=(context,))

    def stop() -> None:
        stopped.set()
        thread.join(5)

    thread.start()
    try:
        assert ready.wait(10)
        yield Site(config.web.port, config.data_dir, stop)
    finally:
        stop()
        assert not thread.is_alive()


def fill(store: Store) -> int:
    """Add an analysed, a refused and a waiting image; return the number of a parked delivery."""
    for uid in ("1.2.840.1", "1.2.840.2", "1.2.840.3"):
        store.record_instance(
            new_instance(uid, patient_id="PAT4711", accession_number="ACC4712"), 0
        )
    analyse(store, utc_now())
    refused = claim(store, JobKind.ANALYSE)
    store.results.record_refusal(refused, int(refused.subject), "LATERAL_VIEW", "")
    report = claim(store, JobKind.REPORT)
    deliveries = [Delivery("2.25.4713", name) for name in ("pacs", "archive", "retired")]
    store.results.record_report(
        report, StudyStatus.REPORTED, "", [made_object("2.25.4713")], deliveries
    )
    for name, error in (("pacs", f"status 0xA900: {PEER_WORDS}"), ("archive", "no answer")):
        job = store.jobs.claim([JobKind.DELIVER], "test", LEASE, lane=name)
        assert job is not None
        retry_at = None if name == "pacs" else utc_now() + datetime.timedelta(hours=1)
        store.jobs.fail(job, error, retry_at)
    (parked,) = store.jobs.list(state=JobState.PARKED)
    return parked.id


def cells(page: str) -> list[list[str]]:
    """Return the text of each cell, by table row."""
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    return [
        [
            " ".join(re.sub(r"<[^>]+>", " ", cell).split())
            for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
        ]
        for row in rows
    ]
