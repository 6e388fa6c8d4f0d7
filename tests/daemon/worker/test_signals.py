"""A signal stops the daemon at any instant, without a traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from daemon.__main__ import INTERRUPTED
from tests.tools.cli import environment
from tests.tools.ports import free_port

pytestmark = [pytest.mark.daemon, pytest.mark.network]

HOLD_THE_LOCK = """
import signal
from daemon.supervise.supervisor import stop_on_signals

with stop_on_signals() as stop:
    with stop._cond:
        signal.raise_signal(signal.{name})
    print(stop.wait(10))
"""


def stopped_by(name: str) -> bool:
    """Return True if a signal stops the daemon while the main thread holds the event's lock."""
    command = [sys.executable, "-c", HOLD_THE_LOCK.format(name=name)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout == "True\n"


@pytest.mark.slow
def test_a_signal_stops_the_daemon_while_the_main_thread_holds_the_lock() -> None:
    assert stopped_by(signal.SIGTERM.name)
    assert stopped_by(signal.SIGINT.name)


@pytest.mark.parametrize("seconds", [0.3, pytest.param(2.5, marks=pytest.mark.slow)])
def test_ctrl_c_at_the_start_ends_quietly(tmp_path: Path, seconds: float) -> None:
    """A terminal sends SIGINT to the whole group: the commands, and the roles that are starting."""
    (tmp_path / "config.yaml").write_text(
        f"listener: {{port: {free_port()}}}\nweb: {{port: {free_port()}}}\n"
    )
    with subprocess.Popen(
        [sys.executable, "-m", "daemon", "serve", "--only", "listener,courier,web"],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as serving:
        time.sleep(seconds)
        os.killpg(serving.pid, signal.SIGINT)
        _, said = serving.communicate(timeout=30)
    assert serving.returncode in (0, INTERRUPTED)
    assert "Traceback" not in said
    assert "KeyboardInterrupt" not in said
