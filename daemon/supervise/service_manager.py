"""Messages to the service manager that started the daemon: ready, status, alive, stopping.

sd_notify(3): each message is one datagram of `NAME=value` lines to the socket that NOTIFY_SOCKET
names. systemd with `Type=notify` reads them; without such a manager there is no message.
"""

import logging
import math
import os
import socket
import time
from collections.abc import Callable, MutableMapping, Sequence
from typing import Self

from daemon.worker.board import RoleState, RoleStatus

log = logging.getLogger("supervisor")
SEND_SECONDS = 0.5
"""Time for which a message waits for room in the queue of the manager."""
_BEATS = 4
"""Signs of life in each period of the watchdog."""
_LONGEST_STATUS = 400
_SPARE_SECONDS = 30.0
"""Time for the end of the daemon after that of its roles."""
_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class ServiceManager:
    """The manager at a socket. With `address` empty it gets no message."""

    def __init__(
        self,
        address: str = "",
        watchdog_seconds: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`watchdog_seconds` is the period in which a sign of life is due; 0: in none."""
        # A name that starts with @ is not in the file system (unix(7): abstract).
        self._address = f"\0{address[1:]}" if address[:1] == "@" else address
        self._beat_seconds = watchdog_seconds / _BEATS
        self._monotonic = monotonic
        self._beat_at = -math.inf
        self._shown = ""
        self._is_ready = self._ready_is_sent = False
        self._failed = False

    @classmethod
    def of_environment(cls, environment: MutableMapping[str, str] = os.environ) -> Self:
        """Take the manager from the variables, and remove these: children have no manager."""
        address, period, process = (environment.pop(name, "") for name in _VARIABLES)
        is_watched = period.isdecimal() and process in ("", str(os.getpid()))
        if address and address[0] not in "/@":
            log.warning("NOTIFY_SOCKET is no path, and is ignored: the start is not reported")
            address = ""
        return cls(address, int(period) / 1e6 if is_watched else 0.0)

    def started(self) -> None:
        """Report that the store is checked and upgraded first; no role works before."""
        self._show("starting: the store is checked, and upgraded if it is older")

    def ready(self) -> None:
        """Report that the start is complete."""
        self._is_ready = True
        self._ready_is_sent = self._send("READY=1")

    def stopping(self, seconds: float) -> None:
        """Report that the roles have been told to stop, and ask for so much time."""
        self._send(
            "STOPPING=1",
            "STATUS=stopping: the roles finish what they have begun",
            f"EXTEND_TIMEOUT_USEC={1_000_000 * math.ceil(seconds + _SPARE_SECONDS)}",
        )

    def beat(self, roles: Sequence[RoleStatus]) -> None:
        """Report the states of the roles if they changed; send the sign of life if it is due."""
        if self._is_ready and not self._ready_is_sent:
            self._ready_is_sent = self._send("READY=1")
        self._show(_in_words(roles, self._is_ready))
        self.show_life()

    def show_life(self) -> None:
        """Send the sign of life if it is due."""
        if self._beat_seconds and self._monotonic() >= self._beat_at + self._beat_seconds:
            self._beat_at = self._monotonic()
            self._send("WATCHDOG=1")

    def _show(self, status: str) -> None:
        if status != self._shown:
            self._shown = status
            self._send(f"STATUS={status}")

    def _send(self, *lines: str) -> bool:
        """Send one message. Return False if it failed; the first failure in a row is logged."""
        if not self._address:
            return True
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(SEND_SECONDS)
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            if not self._failed:
                log.error("the service manager gets no messages (%s)", error.strerror or error)
            self._failed = True
        else:
            self._failed = False
        return not self._failed


def _in_words(roles: Sequence[RoleStatus], is_ready: bool) -> str:
    """Return the states as one line, such as `ready: listener, web; down: analyst (no memory)`."""
    working = [str(status.role) for status in roles if status.state is RoleState.UP]
    starting = [str(status.role) for status in roles if status.state is RoleState.STARTING]
    down = [
        f"{status.role} ({status.reason})" for status in roles if status.state is RoleState.DOWN
    ]
    parts = {"ready" if is_ready else "starting; ready": working, "starting": starting}
    named = [f"{name}: {', '.join(those)}" for name, those in parts.items() if those]
    named += [f"down: {', '.join(down)}"] if down else []
    return " ".join("; ".join(named).split())[:_LONGEST_STATUS]
