"""A role that ends is started again, also after a failed start."""

import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from daemon.config.sections.web import WebConfig
from daemon.config.settings import Config
from daemon.supervise.service_manager import ServiceManager
from daemon.supervise.supervisor import Supervisor
from daemon.worker.backoff import Backoff
from daemon.worker.board import RoleState, roles_here
from daemon.worker.role import RoleName, exit_reason
from tests.daemon.supervise.manager_socket import manager_socket
from tests.servers.watching import children_of
from tests.tools.ports import free_port
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]


def test_an_exit_is_named_by_its_signal_or_status() -> None:
    assert exit_reason(-signal.SIGSEGV) == "signal SIGSEGV"
    assert exit_reason(-(signal.SIGRTMIN + 2)) == f"signal {signal.SIGRTMIN + 2}"
    assert exit_reason(3) == "exit status 3"


@contextmanager
def no_file_more() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def supervised(folder: Path, manager: ServiceManager | None = None) -> Iterator[list[RoleName]]:
    """Run a supervisor of the web role in a thread. Yield the roles that are ready."""
    config = Config(data_dir=folder / "data", web=WebConfig(port=free_port()))
    stop, ready = threading.Event(), list[RoleName]()
    errors: list[BaseException] = []

    def run() -> None:
        def on_ready(working: Mapping[RoleName, float]) -> None:
            ready.extend(working)

        try:
            supervisor = Supervisor(
                config, [RoleName.WEB], manager=manager, restart=Backoff(0.2, 0.2)
            )
            supervisor.run(stop, on_ready)
        except BaseException as error:  # noqa: BLE001 - any error ends the daemon
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield ready
    finally:
        stop.set()
        thread.join()
        assert errors == []


def test_a_role_whose_process_cannot_start_is_started_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "supervisor")
    with supervised(tmp_path) as ready:
        wait_until(lambda: ready == [RoleName.WEB], "the role works")
        before = children_of(os.getpid())
        with no_file_more():
            for pid in before:
                os.kill(pid, signal.SIGRTMIN + 2)
            wait_until(lambda: "no process for the web" in caplog.text, "a start fails")
        wait_until(lambda: caplog.text.count("web started") == 2, "the role is started again")
        assert f"web stopped: signal {signal.SIGRTMIN + 2}; restarting" in caplog.text


def test_a_role_that_is_killed_while_it_starts_is_started_again(tmp_path: Path) -> None:
    before = children_of(os.getpid())
    with manager_socket(tmp_path) as received:
        manager = ServiceManager(received.address, 0.1)
        with supervised(tmp_path, manager) as ready:
            wait_until(lambda: bool(children_of(os.getpid()) - before), "a process")
            for pid in children_of(os.getpid()) - before:
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda: ready == [RoleName.WEB], "the role works")
            (status,) = roles_here(Config(data_dir=tmp_path / "data"))
            assert (status.state, status.restarts, status.reason) == (RoleState.UP, 1, "")
            for pid in children_of(os.getpid()) - before:
                limits = Path(f"/proc/{pid}/limits").read_text(encoding="ascii")
                assert re.search(r"Max core file size +0 +0 ", limits)
            wait_until(lambda: "STATUS=ready: web" in received.messages(), "a status")
            beats = received.messages().count("WATCHDOG=1")
            wait_until(lambda: received.messages().count("WATCHDOG=1") > beats, "a sign of life")
        reported = received.messages()
    assert reported[0].startswith("STATUS=starting: the store")
    assert "STATUS=down: web (signal SIGKILL)" in reported[: reported.index("READY=1")]
    assert reported.index("READY=1") < reported.index("STATUS=ready: web")
    last = [message for message in reported if message != "WATCHDOG=1"][-1]
    assert last.startswith("STOPPING=1\nSTATUS=stopping")
    assert roles_here(Config(data_dir=tmp_path / "data")) == ()


def test_a_process_that_forbids_core_dumps_leaves_none() -> None:
    code = (
        "import ctypes, resource\n"
        "from daemon.worker.core_dumps import forbid_core_dumps\n"
        "forbid_core_dumps()\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "(0, 0) 0\n"
