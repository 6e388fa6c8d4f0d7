"""No error that nobody foresaw ends a thread of a role: the role would look well without it."""

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from daemon.audit.forwarder import Forwarder
from daemon.commitment import answering as commitment_desk
from daemon.commitment.answering import CommitmentDesk, _Waiting
from daemon.commitment.asking import CommitmentLane
from daemon.config.destinations import destination_of
from daemon.config.fields import SyslogConfig, SyslogTransport
from daemon.config.peers import PeerConfig, Product
from daemon.config.settings import Config, CourierConfig, RetentionConfig
from daemon.deliver import purge as housekeeping
from daemon.deliver.lane import Lane
from daemon.deliver.purge import Housekeeper
from daemon.receive import orphans as sweep_module
from daemon.receive.orphans import sweep_daily
from daemon.worker.role import RoleContext
from storage.files.spool import Spool, received_path
from storage.orphans import Sweep
from storage.store import Store

PACS = PeerConfig(
    name="pacs", ae_title="PACS", host="127.0.0.1", port=104, receives=(Product.REPORT,)
)

CONFIG = Config(
    peers=(PACS, PeerConfig(name="xray", ae_title="XRAY", sends=True)),
    courier=CourierConfig(retry_seconds=0.01, retry_max_seconds=0.01),
    retention=RetentionConfig(days=1),
    syslog=SyslogConfig(host="127.0.0.1", port=1, transport=SyslogTransport.TCP),
)


class Broken:
    """In the place of a store, a job, a channel: whatever is asked of it fails."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        self.asked += 1
        if self.asked == 3:
            self.stop.set()
        raise RuntimeError(self.__dict__.get("text", "Doe^Jane"))


def lane(broken: Broken, spool: Spool) -> Callable[[], None]:
    context, store = RoleContext(CONFIG, "me", broken.stop, lambda: None), cast(Store, broken)
    return Lane(context, PACS, spool, store, random.Random(1)).run


def commitment_lane(broken: Broken, spool: Spool) -> Callable[[], None]:
    context, store = RoleContext(CONFIG, "me", broken.stop, lambda: None), cast(Store, broken)
    where = destination_of(CONFIG, PACS)
    return CommitmentLane(context, PACS, where, spool, store, random.Random(1)).run


def forwarder(broken: Broken, _: Spool) -> Callable[[], None]:
    return Forwarder(CONFIG, "me", cast(Store, broken), broken.stop).run


def housekeeper(broken: Broken, spool: Spool) -> Callable[[], None]:
    context = RoleContext(CONFIG, "me", broken.stop, lambda: None)
    return Housekeeper(context, spool, cast(Store, broken)).run


def sweeper(broken: Broken, spool: Spool) -> Callable[[], None]:
    spool.write(received_path("1.2", "3", "killed"), b"left")
    lock = spool.path("tmp").parent.with_name("maintenance.lock")
    return lambda: sweep_daily(spool, cast(Store, broken), lock, broken.stop)


def idle_desk(broken: Broken, spool: Spool) -> Callable[[], None]:
    desk = CommitmentDesk(CONFIG, "me", spool, cast(Store, broken))
    return lambda: desk.run(broken.stop)


def asked_desk(broken: Broken, spool: Spool) -> Callable[[], None]:
    desk = CommitmentDesk(CONFIG, "me", spool, cast(Store, Broken()))
    job = Store.open(f"sqlite:///{spool.path('tmp').parent}.sqlite", migrate=True)
    with job as store:
        asked = store.inquiries.record("xray", "2.25.1", [], "me", desk._lease)
    for _ in range(3):
        desk._waiting.put(_Waiting(0.0, asked, CONFIG.peers[1], cast(Any, broken)))
    return lambda: desk.run(broken.stop)


@pytest.mark.parametrize(
    "loop", [lane, commitment_lane, forwarder, housekeeper, sweeper, idle_desk, asked_desk]
)
def test_a_loop_goes_on_after_an_error_that_nobody_foresaw(
    loop: Callable[[Broken, Spool], Callable[[], None]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(housekeeping, "PURGE_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(sweep_module, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(commitment_desk, "GRACE_SECONDS", 0.01)
    broken = Broken()
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)

    loop(broken, Spool(tmp_path / "data" / "spool"))()

    assert broken.asked >= 3
    assert "unexpected RuntimeError at" in caplog.text
    assert "Doe^Jane" not in caplog.text.replace('"Doe^Jane"', "")


def test_what_waits_in_lost_and_found_is_told_beside_what_is_set_aside_now(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(tmp_path / "spool")
    stop = threading.Event()
    with Store.open(f"sqlite:///{tmp_path}/store.sqlite", migrate=True) as store:
        for name in ("one", "two", "three"):
            path = spool.write(received_path("1.2", name, "killed"), name.encode()).path
            if name != "three":
                spool.set_aside([path])
        sweep = Sweep(spool, store, tmp_path / "maintenance.lock", lambda _: stop.is_set())
        sweep_module._tell(sweep.run())
    assert "1 received file(s)" in caplog.text
    assert "2 other file(s) wait in lost+found" in caplog.text
