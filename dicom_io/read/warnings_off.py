"""Keeps what pydicom has to say about bad input off the console and out of the logs."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TextIO

_SILENT = logging.CRITICAL + 1

# A broken object can be warned about once for each of a million values.
_MOST_KEPT = 100

_Kept = list[warnings.WarningMessage]


class _Silence:
    """One for the process, because warning filters and log levels are: on while anybody is inside.

    The first to enter switches it on and the last to leave off, so nobody waits for anybody's
    work. Whoever is not inside still shows warnings as before.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._undo = ExitStack()
        self._kept = threading.local()

    def enter(self) -> _Kept:
        """Collect what this thread is warned of from now on."""
        kept: _Kept = []
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._switch_on()
        self._stack().append(kept)
        return kept

    def leave(self) -> None:
        """Stop collecting what was begun last."""
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


_SILENCE = _Silence()


@contextmanager
def quietly() -> Iterator[list[warnings.WarningMessage]]:
    """Collect the first warnings raised in the block instead of showing or logging them.

    A warning of pydicom can quote the value that it complains about, which may name a patient.
    What matters is raised as an error by the code that runs inside. Threads do not wait for
    each other here.
    """
    kept = _SILENCE.enter()
    try:
        yield kept
    finally:
        _SILENCE.leave()
