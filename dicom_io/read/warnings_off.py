"""Suppresses pydicom warnings, which may quote patient data."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TextIO

_SILENT = logging.CRITICAL + 1

# A malformed object can cause a warning for each of a million values.
_MOST_KEPT = 100

_Kept = list[warnings.WarningMessage]


class _Suppression:
    """Collects warnings for the threads inside; other threads still show theirs.

    Warning filters and log levels belong to the process, so there is one instance. The first thread
    to enter switches the suppression on and the last to leave switches it off. Threads do not wait
    for each other.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._undo = ExitStack()
        self._kept = threading.local()

    def enter(self) -> _Kept:
        """Collect the warnings of this thread from now on."""
        kept: _Kept = []
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._switch_on()
        self._stack().append(kept)
        return kept

    def leave(self) -> None:
        """End the last collection of this thread."""
        self._stack().pop()
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._undo.close()

    def _stack(self) -> list[_Kept]:
        if not hasattr(self._kept, "stack"):
            self._kept.stack = []
        stack: list[_Kept] = self._kept.stack
        return stack

    def _switch_on(self) -> None:
        self._undo.enter_context(warnings.catch_warnings())
        shown = warnings.showwarning
        warnings.simplefilter("always")

        def keep(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            stack = self._stack()
            if not stack:
                shown(message, category, filename, lineno, file, line)
            elif len(stack[-1]) < _MOST_KEPT:
                stack[-1].append(
                    warnings.WarningMessage(message, category, filename, lineno, file, line)
                )

        warnings.showwarning = keep
        logger = logging.getLogger("pydicom")
        self._undo.callback(logger.setLevel, logger.level)
        logger.setLevel(_SILENT)


_SUPPRESSION = _Suppression()


@contextmanager
def suppressed_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Collect the first warnings raised in the block instead of showing or logging them.

    A pydicom warning can quote the value that it complains about, which may name a patient. Code
    inside the block raises an error for a problem that matters. Threads do not wait for each other.
    """
    kept = _SUPPRESSION.enter()
    try:
        yield kept
    finally:
        _SUPPRESSION.leave()
