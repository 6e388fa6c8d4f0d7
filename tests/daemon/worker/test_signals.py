"""A signal stops the daemon at whatever instant it comes."""

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
    """Whether the signal is heeded that comes while the main thread holds the event's lock."""
    command = [sys.executable, "-c", HOLD_THE_LOCK.format(name=name)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout == "True\n"


def test_a_signal_that_comes_while_the_event_is_looked_at_stops_the_daemon() -> None:
    assert stopped_by(signal.SIGTERM.name)
    assert stopped_by(signal.SIGINT.name)
