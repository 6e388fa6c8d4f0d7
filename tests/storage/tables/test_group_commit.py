"""Requests that arrive during a commit share the next one; each has its own result or error."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection

from storage.errors import StorageError
from storage.images.receipt import Reception, record_receptions
from storage.queue.transitions import enqueue
from storage.records import ReceiptOutcome
from storage.store import Store
from storage.tables.group_commit import GroupCommit
from tests.builders.store_rows import new_instance
from tests.tools.waiting import wait_until


class SlowDisk:
    """Writes groups of numbers; the first write waits for `go`."""

    def __init__(self, answer: Callable[[int], int | Exception] = lambda number: -number) -> None:
        self.groups: list[list[int]] = []
        self.go = threading.Event()
        self._answer = answer

    def write(self, group: Sequence[int]) -> list[int | Exception]:
        self.groups.append(list(group))
        self.go.wait(10)
        return [self._answer(number) for number in group]


def run_during_a_write(
    disk: SlowDisk, requests: int, max_group: int = 64
) -> list[int | BaseException]:
    """Run request 0, and the others while it is written; return the results."""
    commits: GroupCommit[int, int] = GroupCommit(disk.write, max_group)
    with ThreadPoolExecutor(requests) as pool:
        futures = [pool.submit(commits.run, 0)]
        wait_until(lambda: bool(disk.groups), "the first is being written")
        for number in range(1, requests):
            futures.append(pool.submit(commits.run, number))
            wait_until(lambda count=number: len(commits._waiting) == count, "it waits")  # type: ignore[misc]
        disk.go.set()
        return [future.exception() or future.result() for future in futures]


def test_what_arrives_during_a_write_is_written_together_next() -> None:
    disk = SlowDisk()

    assert run_during_a_write(disk, 6) == [0, -1, -2, -3, -4, -5]
    assert disk.groups == [[0], [1, 2, 3, 4, 5]]


def test_a_group_has_a_largest_size_and_the_rest_follows() -> None:
    disk = SlowDisk()

    assert run_during_a_write(disk, 6, max_group=2) == [0, -1, -2, -3, -4, -5]
    assert disk.groups == [[0], [1, 2], [3, 4], [5]]


def test_an_error_of_one_request_is_raised_by_its_thread_alone() -> None:
    disk = SlowDisk(lambda number: StorageError("no") if number == 2 else number)

    *first, failed, last = run_during_a_write(disk, 4)
    assert (first, last) == ([0, 1], 3)
    assert isinstance(failed, StorageError)


def test_an_error_of_the_write_is_raised_by_every_thread_and_the_next_group_is_written() -> None:
    def fail_once(group: Sequence[int]) -> list[int | Exception]:
        if 0 in group:
            raise StorageError("the disk is gone")
        return list(group)

    commits: GroupCommit[int, int] = GroupCommit(fail_once)
    with pytest.raises(StorageError, match="the disk is gone"):
        commits.run(0)
    assert commits.run(1) == 1


def test_receipts_of_one_group_are_recorded_as_if_each_came_alone(store: Store) -> None:
    images = [new_instance(f"1.{n % 5}", f"bytes {n % 10}") for n in range(20)]
    with ThreadPoolExecutor(len(images)) as pool:
        receipts = list(pool.map(lambda image: store.record_instance(image, 0), images))

    outcomes = [receipt.outcome for receipt in receipts]
    assert outcomes.count(ReceiptOutcome.NEW) == 5
    assert outcomes.count(ReceiptOutcome.REVISION) == 5
    assert len({receipt.instance_id for receipt in receipts}) == 10
    assert store.audit.verify().number == 20


def test_a_receipt_that_fails_in_a_group_leaves_the_others_and_no_row(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[object] = []

    def fail_second(*arguments: object, **options: object) -> None:
        if arguments[2] == "2" and not failed:
            failed.append(arguments)
            raise StorageError("no job")
        enqueue(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("storage.images.receipt.enqueue", fail_second)
    now = store._now()
    group = [Reception(new_instance(f"1.{n}"), now - now) for n in (1, 2, 3)]
    database = store._database
    with database.writing() as connection:
        results = record_receptions(database, connection, group, now)

    assert [isinstance(result, StorageError) for result in results] == [False, True, False]
    assert store.kept_files("1.2") == ()
    assert len(store.kept_files("1.1")) == len(store.kept_files("1.3")) == 1
    assert store.audit.verify().number == 2


def test_a_group_that_fails_before_its_commit_is_recorded_one_by_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_groups(*arguments: object) -> object:
        if len(arguments[2]) > 1:  # type: ignore[arg-type]
            raise StorageError("a deadlock")
        return record_receptions(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("storage.store.record_receptions", fail_groups)
    now = store._now()
    results = store._record([Reception(new_instance(f"1.{n}"), now - now) for n in (1, 2)])

    assert not any(isinstance(result, StorageError) for result in results)
    assert len(store.kept_files("1.1")) == len(store.kept_files("1.2")) == 1


def test_a_commit_that_failed_is_not_repeated(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have taken effect: the same bytes again would count as a duplicate."""
    writing, calls = store._database.writing, []

    @contextlib.contextmanager
    def fails_at_its_end() -> Iterator[Connection]:
        calls.append("transaction")
        with writing() as connection:
            yield connection
        raise StorageError("no answer to the commit")

    monkeypatch.setattr(store._database, "writing", fails_at_its_end)
    now = store._now()
    with pytest.raises(StorageError, match="no answer"):
        store._record([Reception(new_instance(f"1.{n}"), now - now) for n in (1, 2)])
    assert calls == ["transaction"]


def test_an_error_that_rolls_all_back_leaves_no_receipt_acknowledged(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an I/O error SQLite ends the transaction, and a commit records nothing."""
    failed: list[object] = []

    def fail_second(*arguments: object, **options: object) -> None:
        connection = arguments[0]
        assert isinstance(connection, Connection)
        if arguments[2] == "2" and not failed:
            failed.append(arguments)
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("ROLLBACK")
            raise StorageError("disk I/O error")
        enqueue(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("storage.images.receipt.enqueue", fail_second)
    now = store._now()
    results = store._record([Reception(new_instance(f"1.{n}"), now - now) for n in (1, 2)])

    kept = [bool(store.kept_files(f"1.{n}")) for n in (1, 2)]
    assert kept == [not isinstance(result, Exception) for result in results]
    assert kept[0]
    assert store.audit.verify().number == sum(kept)


def test_an_unexpected_error_of_one_receipt_refuses_no_other(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_second(_connection: Connection, _source: str, uid: str) -> None:
        if uid == "1.2":
            raise ValueError("no text")

    monkeypatch.setattr("storage.images.receipt.rejected_before", fail_second)
    now = store._now()
    group = [Reception(new_instance(f"1.{n}"), now - now) for n in (1, 2)]
    results = store._record(group)

    assert isinstance(results[1], ValueError)
    assert not isinstance(results[0], Exception)
    assert len(store.kept_files("1.1")) == 1
    assert store.kept_files("1.2") == ()
