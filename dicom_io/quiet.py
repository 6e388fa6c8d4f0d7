"""Keeps what pydicom has to say about bad input off the console and out of the logs."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

# Warning filters and log levels are process-wide: two threads that change them at once would
# restore them in the wrong order and leave them changed for good.
_ONE_AT_A_TIME = threading.RLock()
_SILENT = logging.CRITICAL + 1
# A broken object can be warned about once for each of a million values.
_MOST_KEPT = 100


@contextmanager
def quietly() -> Iterator[list[warnings.WarningMessage]]:
    """Collect the first warnings raised in the block instead of showing or logging them.

    A warning of pydicom can quote the value that it complains about, which may name a patient.
    What matters is raised as an error by the code that runs inside.
    """
    logger = logging.getLogger("pydicom")
    caught: list[warnings.WarningMessage] = []

    def keep(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if len(caught) < _MOST_KEPT:
            caught.append(warnings.WarningMessage(message, category, filename, lineno, file, line))

    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = keep
        level = logger.level
        # Setting a level is slow, and for nothing where a block around this one has done it.
        if level != _SILENT:
            logger.setLevel(_SILENT)
        try:
            yield caught
        finally:
            if level != _SILENT:
                logger.setLevel(level)
