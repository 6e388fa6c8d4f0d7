"""The end of the daemon: signals, the films in work, and the words about what is left."""

import datetime
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from daemon.config.sections.web import WebConfig
from daemon.config.settings import Config
from daemon.supervise.left_work import films_in_work, left_in_queue
from daemon.supervise.supervisor import Supervisor
from daemon.worker.role import RoleName
from storage.hosts.nodes import NodeRole
from storage.records import JobKind
from tests.builders.stores.new import new_store
from tests.servers.watching import children_of
from tests.tools.clock import Clock
from tests.tools.ports import free_port
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]

SIGNALS = """
import signal, threading
from daemon.supervise.supervisor import stop_on_signals

if {ignored}:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
at_once = threading.Event()
with stop_on_signals(at_once) as stop:
    signal.raise_signal(signal.SIGHUP)
    print(stop.wait(0.2), at_once.is_set())
    signal.raise_signal(signal.SIGTERM)
    print(stop.wait(10), at_once.wait(0.2))
    signal.raise_signal(signal.SIGINT)
    print(at_once.wait(10))
"""


@pytest.mark.parametrize("is_ignored", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_second_signal_ends_at_once_and_a_hangup_changes_nothing(is_ignored: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SIGNALS.format(ignored=is_ignored)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.splitlines() == ["False False", "True False", "True"]
    assert ("SIGHUP changes nothing" in done.stderr) is not is_ignored


@pytest.mark.slow
def test_a_closed_terminal_stops_the_daemon() -> None:
    ours, theirs = os.openpty()
    code = SIGNALS.replace("stop.wait(0.2)", "stop.wait(10)").format(ignored=False)
    with os.fdopen(ours, "rb"), os.fdopen(theirs, "rb"):
        done = subprocess.run(
            [sys.executable, "-c", code], stdin=theirs, capture_output=True, text=True, check=True
        )
    assert done.stdout.splitlines()[0] == "True False"


def test_what_is_left_is_said_by_kind(tmp_path: Path) -> None:
    clock, lease = Clock(), datetime.timedelta(seconds=60)
    with new_store(tmp_path / "store.sqlite", clock=clock) as store:
        assert left_in_queue(store) == "nothing is left to do"
        for subject in ("1", "2", "3"):
            store.jobs.enqueue(JobKind.ANALYSE, subject)
        store.jobs.enqueue(JobKind.DELIVER, "1.2.3@pacs", lane="pacs")
        first = store.jobs.claim((JobKind.ANALYSE,), "ours", lease)
        store.jobs.claim((JobKind.ANALYSE,), "of another host", lease)
        assert films_in_work(store, ["ours", "free"]) == 1
        assert first is not None
        store.jobs.fail(first, "no", None)
        assert left_in_queue(store) == (
            "left for the next start: 2 film(s) to analyse, 1 object(s) to deliver;"
            " 1 job(s) are parked: cxrd jobs list --state parked"
        )
        elsewhere = NodeRole("n", "north", "analyst", "1", "0008", "{}", "up")
        store.nodes.renew([elsewhere])
        assert left_in_queue(store) == (
            "other hosts go on with 2 film(s) to analyse;"
            " left for the next start: 1 object(s) to deliver;"
            " 1 job(s) are parked: cxrd jobs list --state parked"
        )
        clock.advance(61)
        assert left_in_queue(store).startswith("left for the next start: 2 film(s) to analyse")


@pytest.mark.slow
def test_a_second_signal_does_not_wait_for_a_role(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = Config(data_dir=tmp_path / "data", web=WebConfig(port=free_port()))
    stop, at_once, ready = threading.Event(), threading.Event(), threading.Event()
    said: list[str] = []
    supervisor = Supervisor(config, [RoleName.WEB], say=said.append)
    before = children_of(os.getpid())
    thread = threading.Thread(target=supervisor.run, args=(stop, lambda _: ready.set(), at_once))
    thread.start()
    try:
        wait_until(ready.is_set, "the role works")
        for pid in children_of(os.getpid()) - before:
            os.kill(pid, signal.SIGSTOP)
        stop.set()
        wait_until(lambda: bool(said), "the supervisor stops")
    finally:
        at_once.set()
        thread.join()
    assert said == [
        "cxrd is stopping: no film is in work",
        "cxrd has stopped: nothing is left to do",
    ]
    assert "did not stop in time" not in caplog.text
