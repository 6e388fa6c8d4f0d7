"""No unexpected error ends a thread of a role: the role would look healthy without the thread."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from daemon.audit.forwarder import Forwarder
from daemon.commitment.commitment_worker import CommitmentWorker
from daemon.commitment.responder import CommitmentResponder
from daemon.config.destinations import destination_of
from daemon.config.fields import SyslogConfig, SyslogTransport
from daemon.config.peers import PeerConfig
from daemon.config.receivers import Product
from daemon.config.sections.roles import CourierConfig
from daemon.config.sections.work import RetentionConfig
from daemon.config.settings import Config
from daemon.deliver.delivery_worker import DeliveryWorker
from daemon.deliver.purge import PeriodicPurge
from daemon.receive.orphans import log_swept, sweep_orphans
from daemon.worker.loop import Crew
from daemon.worker.role import RoleContext
from dicom_io.commitment.answer_channel import AnswerChannel
from dicom_io.commitment.messages import CommitmentRequest, MessageStatus
from dicom_io.peer.peers import Caller
from storage.files.folder_spool import FolderSpool
from storage.files.spool import received_path
from storage.orphans import Sweep
from storage.store import Store
from tests.builders.stores.new import new_store

PACS = PeerConfig(
    name="pacs", ae_title="PACS", host="127.0.0.1", port=104, receives=(Product.REPORT,)
)
CONFIG = Config(
    peers=(PACS, PeerConfig(name="xray", ae_title="XRAY", sends=True)),
    courier=CourierConfig(retry_seconds=0.01, retry_max_seconds=0.01),
    retention=RetentionConfig(days=1),
    syslog=SyslogConfig(host="127.0.0.1", port=1, transport=SyslogTransport.TCP),
)


class QuickStop(threading.Event):
    """A stop event whose waits end at once."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(min(timeout or 0.0, 0.01))


class Broken:
    """Stands for a store or a channel; raises an error for every attribute."""

    def __init__(self) -> None:
        self.stop = QuickStop()
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        self.calls += 1
        if self.calls == 3:
            self.stop.set()
        raise RuntimeError(self.__dict__.get("text", "Doe^Jane"))


def context_of(broken: Broken) -> RoleContext:
    return RoleContext(CONFIG, "me", broken.stop, lambda: None)


def delivery_worker(broken: Broken, spool: FolderSpool) -> Callable[[], None]:
    return DeliveryWorker(context_of(broken), PACS, spool, cast(Store, broken)).run


def commitment_worker(broken: Broken, spool: FolderSpool) -> Callable[[], None]:
    store = cast(Store, broken)
    destination = destination_of(CONFIG, PACS)
    return CommitmentWorker(context_of(broken), PACS, destination, spool, store).run


def forwarder(broken: Broken, _: FolderSpool) -> Callable[[], None]:
    return Forwarder(CONFIG, "me", cast(Store, broken), broken.stop).run


def periodic_purge(broken: Broken, spool: FolderSpool) -> Callable[[], None]:
    return PeriodicPurge(context_of(broken), spool, cast(Store, broken)).run


def orphan_sweep(broken: Broken, spool: FolderSpool) -> Callable[[], None]:
    spool.write(received_path("1.2", "3", "killed"), b"left")
    return lambda: sweep_orphans(spool, cast(Store, broken), broken.stop)


def idle_responder(broken: Broken, spool: FolderSpool) -> Callable[[], None]:
    responder = CommitmentResponder(CONFIG, "me", spool, cast(Store, broken), grace_seconds=0.01)
    return lambda: responder.run(broken.stop)


def busy_responder(broken: Broken, spool: FolderSpool) -> Callable[[], None]:
    """Requests whose association fails."""

    def run() -> None:
        with new_store(spool.path("tmp").parent.with_suffix(".sqlite")) as store:
            responder = CommitmentResponder(CONFIG, "me", spool, store, grace_seconds=0.01)
            for number in range(3):
                status = responder.take_request(
                    CommitmentRequest(f"2.25.{number}", ()),
                    Caller("XRAY", "127.0.0.1"),
                    cast(AnswerChannel, broken),
                )
                assert status is MessageStatus.SUCCESS
            responder.run(broken.stop)

    return run


@pytest.mark.parametrize(
    "loop",
    [
        delivery_worker,
        commitment_worker,
        forwarder,
        periodic_purge,
        orphan_sweep,
        idle_responder,
        busy_responder,
    ],
)
def test_a_loop_goes_on_after_an_unexpected_error(
    loop: Callable[[Broken, FolderSpool], Callable[[], None]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = Broken()
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)

    loop(broken, FolderSpool(tmp_path / "data" / "spool"))()

    assert broken.calls >= 3
    assert "unexpected RuntimeError at" in caplog.text
    assert "Doe^Jane" not in caplog.text.replace('"Doe^Jane"', "")


def test_a_sweep_logs_the_files_set_aside_now_and_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = FolderSpool(tmp_path / "spool")
    stop = threading.Event()
    with new_store(tmp_path / "store.sqlite") as store:
        for name in ("one", "two", "three"):
            path = spool.write(received_path("1.2", name, "killed"), name.encode()).path
            if name != "three":
                spool.set_aside([path])
        sweep = Sweep(spool, store, lambda _: stop.is_set())
        log_swept(sweep.run())
    assert "1 received file(s)" in caplog.text
    assert "2 other file(s) wait in lost+found" in caplog.text


def test_an_error_of_one_thread_ends_the_others_and_is_raised() -> None:
    stop = threading.Event()
    ended: list[str] = []

    def fails() -> None:
        raise ValueError("no result")

    def works() -> None:
        assert stop.wait(30)
        ended.append("works")

    with pytest.raises(ValueError, match="no result"):
        Crew(stop).run({"one": works, "two": fails})
    assert ended == ["works"]


def test_a_thread_that_cannot_be_started_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()
    ended: list[str] = []
    start = threading.Thread.start

    def start_one(thread: threading.Thread) -> None:
        if thread.name == "two":
            raise RuntimeError("can't start new thread")
        start(thread)

    def works() -> None:
        assert stop.wait(30)
        ended.append("works")

    monkeypatch.setattr(threading.Thread, "start", start_one)
    with pytest.raises(RuntimeError, match="can't start"):
        Crew(stop).run({"one": works, "two": works})
    assert ended == ["works"]
