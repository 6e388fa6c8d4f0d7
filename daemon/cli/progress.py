"""Progress of long work on stderr.

A terminal shows a bar with rate and remaining time, from the second second on. Elsewhere there is a
line now and then, for a log.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import typer

LINE_SECONDS = 60.0
"""The time between two lines where stderr is no terminal."""
DELAY_SECONDS = 1.0
"""The time for which work is not shown: most of it has ended by then."""
_TURN_SECONDS = 0.5
_BEGIN = "\r\x1b[K"
"""Control characters that empty a line of a terminal."""
_LINE = "{desc}: {n_fmt} of {total_fmt} {unit}(s) in {elapsed}, {rate_fmt}, {remaining} left"
_BYTES = "B"

Advance = Callable[[int], object]
Reached = Callable[[int, int], object]
"""It gets what is done, and the total."""


@contextlib.contextmanager
def progress_bar(total: int, unit: str, what: str) -> Iterator[Advance]:
    """Show the progress of work of a known size; yield the function that advances it."""
    with _meter(what, unit, total) as meter:
        yield meter.update


@contextlib.contextmanager
def progress_of(unit: str, what: str) -> Iterator[Reached]:
    """Show the progress of work that finds its size itself; yield the function that it calls."""
    with _meter(what, unit, 0) as meter:

        def reached(done: int, total: int) -> None:
            meter.total = total
            meter.update(done - meter.n)

        yield reached


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show on a terminal for how long the block has been waiting."""
    if not sys.stderr.isatty():
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=_count_seconds, args=(what, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def beside_bars() -> Iterator[None]:
    """Take the progress bars away while the block writes to the terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from tqdm import tqdm

    with tqdm.external_write_mode():
        yield


def echo_beside(line: str) -> None:
    """Write a line to stderr above the progress bars."""
    with beside_bars():
        typer.echo(line, err=True)


def _count_seconds(what: str, ended: threading.Event) -> None:
    began = time.monotonic()
    if ended.wait(DELAY_SECONDS):
        return
    is_over = False
    while not is_over:
        sys.stderr.write(f"{_BEGIN}{what} … {time.monotonic() - began:.0f} s")
        sys.stderr.flush()
        is_over = ended.wait(_TURN_SECONDS)
    sys.stderr.write(_BEGIN)
    sys.stderr.flush()


class _Lines:
    """The part of a progress bar that this module uses, as lines now and then."""

    def __init__(self, what: str, unit: str, total: int) -> None:
        self.total = total
        self.n = 0
        self._what = what
        self._unit = unit
        self._began = time.monotonic()
        self._next = self._began + LINE_SECONDS

    def update(self, more: int) -> None:
        """Count more work; write a line if it is time for one."""
        self.n += more
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + LINE_SECONDS
        from tqdm import tqdm

        line = tqdm.format_meter(
            self.n,
            self.total,
            now - self._began,
            prefix=self._what,
            unit=self._unit,
            unit_scale=self._unit == _BYTES,
            bar_format=_LINE,
        )
        typer.echo(line, err=True)


@contextlib.contextmanager
def _meter(what: str, unit: str, total: int) -> Iterator[Any]:
    if not sys.stderr.isatty():
        yield _Lines(what, unit, total)
        return
    from tqdm import tqdm

    with tqdm(
        desc=what,
        total=total,
        unit=unit,
        unit_scale=unit == _BYTES,
        delay=DELAY_SECONDS,
        leave=False,
        dynamic_ncols=True,
    ) as bar:
        yield bar
