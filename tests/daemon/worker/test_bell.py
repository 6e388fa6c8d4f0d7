"""A bell wakes the waiting threads of the processes that listen, and disturbs nobody else."""

import fcntl
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from daemon.worker.bell import Bell, BellListener, BellName, Waiter
from tests.tools.paths import ROOT

LONG = 30.0
RINGER = (
    "import sys, pathlib; from daemon.worker.bell import *\n"
    "Bell(pathlib.Path(sys.argv[1]), BellName.REPORT).ring()"
)


@pytest.fixture
def bell(tmp_path: Path) -> Bell:
    return Bell(tmp_path / "run", BellName.REPORT)


def pipe_of(tmp_path: Path) -> Path:
    return tmp_path / "run" / "report.bell"


def test_a_ring_of_another_process_wakes_every_waiter(bell: Bell, tmp_path: Path) -> None:
    woken = []
    with BellListener(bell, threading.Event()) as listener:
        waiters = [listener.waiter() for _ in range(3)]
        threads = [
            threading.Thread(target=lambda one: woken.append(one.wait(LONG)), args=(waiter,))
            for waiter in waiters
        ]
        for thread in threads:
            thread.start()
        command = [sys.executable, "-c", RINGER, str(tmp_path / "run")]
        subprocess.run(command, cwd=ROOT, check=True)
        for thread in threads:
            thread.join(LONG)
        assert woken == [True] * 3
        assert not waiters[0].wait(0), "one ring, one wake"
    assert stat.S_IMODE(pipe_of(tmp_path).stat().st_mode) == 0o600


def test_a_ring_wakes_the_waiters_of_every_process_that_listens(bell: Bell, tmp_path: Path) -> None:
    with BellListener(bell, threading.Event()) as first:
        one = first.waiter()
        with BellListener(bell, threading.Event()) as second:
            other = second.waiter()
            bell.ring()
            assert one.wait(LONG)
            assert other.wait(LONG)
        bell.ring()
        assert one.wait(LONG)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "report-1.bell",
        "report.bell",
    ]


def test_a_ring_before_the_wait_is_not_lost(bell: Bell) -> None:
    with BellListener(bell, threading.Event()) as listener:
        waiter, other = listener.waiter(), listener.waiter()
        bell.ring()
        assert other.wait(LONG)
        assert waiter.wait(0)


def test_stop_ends_the_wait(bell: Bell) -> None:
    stop = threading.Event()
    with BellListener(bell, stop) as listener:
        waiter = listener.waiter()
        threading.Timer(0.05, stop.set).start()
        assert waiter.wait(LONG)


def test_a_ring_that_nobody_hears_is_ignored(bell: Bell, tmp_path: Path) -> None:
    bell.ring()
    with BellListener(bell, threading.Event()):
        pass
    bell.ring()
    assert pipe_of(tmp_path).exists()
    pipe_of(tmp_path).unlink()
    pipe_of(tmp_path).write_bytes(b"")
    bell.ring()
    assert pipe_of(tmp_path).read_bytes() == b""


def test_a_full_pipe_delays_no_ringer(bell: Bell) -> None:
    pipe = bell.open()
    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 4096)
        assert os.write(pipe, bytes(4096)) == 4096
        bell.ring()
        assert len(os.read(pipe, 8192)) == 4096
    finally:
        os.close(pipe)


def test_the_next_listener_hears_after_one_was_killed(bell: Bell, tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib, threading; from daemon.worker.bell import *\n"
        "with BellListener(Bell(pathlib.Path(sys.argv[1]), BellName.REPORT), threading.Event()):\n"
        "    print('listens', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"listens\n"
        killed.kill()
    bell.ring()
    with BellListener(bell, threading.Event()) as listener:
        waiter = listener.waiter()
        assert not waiter.wait(0.05), "the ring was for the one that was killed"
        bell.ring()
        assert waiter.wait(LONG)


def test_without_a_pipe_a_waiter_waits_its_time(
    bell: Bell, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").mkdir()
    pipe_of(tmp_path).write_bytes(b"")
    with BellListener(bell, threading.Event()) as listener:
        started = time.monotonic()
        assert not listener.waiter().wait(0.05)
        assert time.monotonic() - started >= 0.05
    assert "work is found by looking at the queue" in caplog.text


def test_a_waiter_of_its_own_wakes_by_hand() -> None:
    waiter = Waiter()
    waiter.wake()
    assert waiter.wait(LONG)


def test_a_ring_that_another_process_takes_delays_no_end(
    bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    taken: list[bytes] = []

    def take_first(pipe: int, data: bytes) -> int:
        if not taken:
            taken.append(data)
            return len(data)
        return write(pipe, data)

    def listen() -> None:
        with BellListener(bell, threading.Event()):
            monkeypatch.setattr(os, "write", take_first)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    thread.join(10)
    assert taken
    assert not thread.is_alive()
