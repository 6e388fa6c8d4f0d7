"""A signal stops the daemon at any instant."""

import signal
import subprocess
import sys

HOLD_THE_LOCK = """
import signal
from daemon.supervisor import stop_on_signals

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


def test_a_signal_stops_the_daemon_while_the_main_thread_holds_the_lock() -> None:
    assert stopped_by(signal.SIGTERM.name)
    assert stopped_by(signal.SIGINT.name)
