"""Work in several processes gives the results in order, or one error."""

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from storage.errors import OutOfSpaceError, StorageError
from storage.store import Store
from storage.tables.database import Database, open_database
from storage.tables.processes import FEWEST_PARTS, results_in_order

PARTS = 80
"""More parts than this process can work on, at 0.1 s each, before another has started."""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path}/store.db"
    Store.open(url, migrate=True).close()
    with open_database(url) as opened:
        yield opened


def is_here() -> bool:
    return multiprocessing.parent_process() is None


def work(_: Database, part: int) -> tuple[int, bool]:
    """Work slowly in this process and fast in another, which so gets most parts."""
    if is_here():
        time.sleep(0.1)
    return part, is_here()


def fail_elsewhere(_: Database, part: int) -> int:
    if is_here():
        time.sleep(0.1)
        return part
    raise OutOfSpaceError("the disk of the other process is full")


def die_elsewhere(_: Database, part: int) -> int:
    if is_here():
        time.sleep(0.1)
        return part
    os.kill(os.getpid(), signal.SIGKILL)
    return part


def children() -> list[BaseProcess]:
    return multiprocessing.active_children()


@pytest.mark.slow
def test_results_of_another_process_are_in_order(database: Database) -> None:
    before = len(children())
    with results_in_order(database, work, range(PARTS), 2) as results:
        found = list(results)
    assert [part for part, _ in found] == list(range(PARTS))
    assert {here for _, here in found} == {True, False}
    assert len(children()) == before


@pytest.mark.parametrize(("parts", "processes"), [(FEWEST_PARTS - 1, 2), (FEWEST_PARTS, 1)])
def test_few_parts_or_one_core_start_no_process(
    database: Database, parts: int, processes: int
) -> None:
    before = len(children())
    with results_in_order(database, lambda _, part: part * 2, range(parts), processes) as results:
        assert next(results) == 0
        assert len(children()) == before
        assert list(results) == [part * 2 for part in range(1, parts)]


@pytest.mark.slow
def test_an_error_in_another_process_is_raised_here(database: Database) -> None:
    with (
        pytest.raises(OutOfSpaceError, match="of the other process"),
        results_in_order(database, fail_elsewhere, range(PARTS), 2) as results,
    ):
        list(results)


@pytest.mark.slow
def test_a_killed_process_is_one_error(database: Database) -> None:
    with (
        pytest.raises(StorageError, match=r"was ended \(exit code -9\).*Run the command again"),
        results_in_order(database, die_elsewhere, range(PARTS), 2) as results,
    ):
        list(results)


@pytest.mark.slow
def test_parts_are_not_taken_far_ahead_of_the_results(database: Database) -> None:
    taken: list[int] = []

    def parts() -> Iterable[int]:
        for part in range(PARTS):
            taken.append(part)
            yield part

    with results_in_order(database, work, parts(), 2) as results:
        for number, (_, here) in enumerate(results):
            assert len(taken) <= max(number, FEWEST_PARTS) + 10
            if not here:
                break
    assert len(taken) < PARTS


@pytest.mark.slow
def test_a_process_ends_with_the_block(database: Database) -> None:
    before = children()
    with (
        contextlib.suppress(KeyboardInterrupt),
        results_in_order(database, work, range(PARTS), 2) as results,
    ):
        next(results)
        raise KeyboardInterrupt
    assert children() == before
