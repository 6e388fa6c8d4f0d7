"""Warnings that any visitor can cause at will, each said once a minute."""

import logging
import time
from collections.abc import Callable

SAY_SECONDS = 60.0


class Seldom(logging.Filter):
    """Lets a warning through once in SAY_SECONDS, with how many were left out, and every error."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = monotonic
        self._said: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this one is said."""
        if record.levelno >= logging.ERROR:
            return True
        now = self._now()
        until, left_out = self._said.get(record.msg, (now, 0))
        if now < until:
            self._said[record.msg] = until, left_out + 1
            return False
        self._said[record.msg] = now + SAY_SECONDS, 0
        if left_out:
            record.msg = f"{record.msg} ({left_out} more before)"
        return True
