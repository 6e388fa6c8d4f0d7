"""Progress of long work: a bar on a terminal, lines in a log, and nothing for short work."""

import contextlib
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

from daemon.cli import progress
from storage.files.folder_spool import FolderSpool
from storage.store import Store
from storage.tables.clock import utc_now
from storage.upkeep.backup import back_up, check_backup
from tests.tools.waiting import wait_until


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextlib.contextmanager
def terminal_on_stderr() -> Iterator[Terminal]:
    """Put a terminal on stderr, whose bars are shown at once."""
    with (
        contextlib.redirect_stderr(found := Terminal()),
        mock.patch.object(progress, "DELAY_SECONDS", 0.0),
    ):
        yield found


def test_a_terminal_shows_rate_and_remaining_time() -> None:
    with terminal_on_stderr() as terminal:
        with progress.progress_bar(4, "row", "exporting") as advance:
            advance(1)
        with progress.progress_of("B", "backing up") as reached:
            reached(2_000_000, 8_000_000)
            with progress.beside_bars():
                terminal.write("above\n")
    shown = terminal.getvalue()
    assert "exporting" in shown
    assert "row/s" in shown
    assert "backing up" in shown
    # The bar is taken away: the last line of the terminal is empty.
    assert shown.split("\r")[-1].strip() == ""


def test_short_work_shows_nothing() -> None:
    for stderr in (Terminal(), io.StringIO()):
        with (
            contextlib.redirect_stderr(stderr),
            progress.progress_bar(2, "row", "exporting") as advance,
            progress.waiting("checking"),
        ):
            advance(1)
            advance(1)
        assert stderr.getvalue().strip() == ""


def test_a_log_gets_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with progress.progress_of("file", "analysing") as reached:
        for now in (1.0, 59.0, 61.0, 62.0, 130.0):
            reached(int(10 * now), 2600)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "analysing: 610 of 2600 file(s) in 01:01, 10.00file/s, 03:19 left",
        "analysing: 1300 of 2600 file(s) in 02:10, 10.00file/s, 02:10 left",
    ]


def test_waiting_counts_seconds_and_goes_away() -> None:
    with terminal_on_stderr() as terminal, progress.waiting("checking"):
        wait_until(lambda: "checking" in terminal.getvalue(), "the line is shown")
    assert "checking … 0 s" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_long_work_tells_how_far_it_is(node: Path) -> None:
    url = f"sqlite:///{node / 'data' / 'cxrd.sqlite'}"
    spool = FolderSpool(node / "data" / "spool")

    def told(work: Callable[[Callable[[int, int], object]], object]) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        work(lambda done, total: found.append((done, total)))
        return found

    into = node / "backups"
    with Store.open(url, migrate=False) as store:
        verified = told(
            lambda reached: list(store.integrity.faults(spool, read=True, progress=reached))
        )
        backed_up = told(
            lambda reached: back_up(url, spool, into, store.leases, utc_now(), progress=reached)
        )
    (backup,) = (node / "backups").glob("cxrd-*")
    checked = told(lambda reached: check_backup(backup, reached))
    for steps in (verified, backed_up, checked):
        done, totals = zip(*steps, strict=True)
        assert list(done) == sorted(done)
        assert len(set(totals)) == 1
        assert done[-1] < totals[0]
