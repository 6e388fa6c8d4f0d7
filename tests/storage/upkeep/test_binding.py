"""A store and its spool name each other; another spool or another store is refused."""

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.audit.records import AuditKind
from storage.errors import IntegrityError, SpoolUnavailableError
from storage.files.folder_spool import FolderSpool
from storage.files.marker import MARKER_NAME, MARKER_TEXT, Marker
from storage.files.spool import Spool
from storage.store import Store
from storage.tables.database import open_database
from tests.builders.store_rows import new_instance
from tests.builders.stores.new import new_store


def facts(url: str) -> dict[str, str]:
    with open_database(url) as database, database.reading() as connection:
        rows = connection.exec_driver_sql("SELECT name, value FROM node_facts")
        return {name: value for name, value in rows if name != "first_schema"}


def forget(url: str, *names: str) -> None:
    """Make the store one of an earlier version, which had no ids."""
    with open_database(url) as database, database.writing() as connection:
        for name in (*names, "first_schema"):
            connection.exec_driver_sql(f"DELETE FROM node_facts WHERE name = '{name}'")  # noqa: S608


def receive(store: Store, spool: FolderSpool, number: int = 1) -> Path:
    stored = spool.write(f"received/ab/{number}.dcm", b"%d" % number)
    store.record_instance(
        new_instance(f"1.{number}", str(number), spool_path=stored.path, size=stored.size), 0
    )
    return spool.path(stored.path)


@pytest.fixture
def away(tmp_path: Path) -> FolderSpool:
    """A spool that no other program has used, not yet created."""
    return FolderSpool(tmp_path / "own" / "spool", create=False)


@pytest.fixture
def bound(store: Store, away: FolderSpool) -> FolderSpool:
    """A spool, bound to `store`, with one received file."""
    store.binding.bind(away)
    receive(store, away)
    return away


@contextlib.contextmanager
def refused(match: str) -> Iterator[None]:
    with pytest.raises(IntegrityError, match=match) as caught:
        yield
    assert "\n" not in str(caught.value)


def test_the_first_start_gives_both_the_same_ids(
    store: Store, away: FolderSpool, database_url: str
) -> None:
    assert store.binding.spool_id() == ""
    store.binding.require(away)
    assert away.marker() is None
    store.binding.bind(away)
    found = facts(database_url)
    assert away.marker() == Marker(found["spool_id"], found["store_id"])
    assert away.identity() == store.binding.spool_id() == found["spool_id"]
    for _ in range(2):
        store.binding.bind(away)
        store.binding.require(away)
    assert facts(database_url) == found


def test_of_two_hosts_with_own_spools_one_is_refused(store: Store, tmp_path: Path) -> None:
    spools = [FolderSpool(tmp_path / f"host{number}", create=False) for number in range(4)]
    ready = threading.Barrier(len(spools))
    refusals = []

    def start(spool: FolderSpool) -> None:
        ready.wait()
        try:
            store.binding.bind(spool)
        except IntegrityError as error:
            refusals.append(str(error))

    threads = [threading.Thread(target=start, args=(spool,)) for spool in spools]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [spool.identity() for spool in spools].count(store.binding.spool_id()) == 1
    assert [spool.marker() for spool in spools].count(None) == 3
    assert len(refusals) == 3
    assert all("has the id of none" in text and "database_url" in text for text in refusals)


def test_a_host_with_another_database_is_refused(bound: FolderSpool, tmp_path: Path) -> None:
    for number, folder in enumerate((bound, FolderSpool(tmp_path / "fresh"))):
        with (
            new_store(tmp_path / f"first{number}.sqlite") as first,
            new_store(tmp_path / f"second{number}.sqlite") as second,
        ):
            if folder is not bound:
                first.binding.bind(folder)
            with refused("is the spool of another store"):
                second.binding.bind(folder)
            with refused("is the spool of another store"):
                second.binding.require(folder)
            assert second.binding.spool_id() == ""


def test_a_copied_marker_does_not_make_an_empty_spool_the_right_one(
    store: Store, bound: FolderSpool, tmp_path: Path
) -> None:
    copy = FolderSpool(tmp_path / "copy")
    shutil.copy(bound.path(MARKER_NAME), copy.path(MARKER_NAME))
    with refused("none of the files that the store names is there. Mount its volume"):
        store.binding.bind(copy)
    with refused("adopt-spool --without-files"):
        store.binding.require(copy)


@pytest.mark.parametrize("content", [None, b"", MARKER_TEXT, b"id: 0123\n"])
def test_an_empty_spool_is_not_taken_for_the_one_with_the_files(
    store: Store, bound: FolderSpool, tmp_path: Path, content: bytes | None
) -> None:
    """An empty marker file made by hand is no more than a folder that is not mounted."""
    other = FolderSpool(tmp_path / "other", create=False)
    if content is not None:
        other.put_marker(Marker(), replace=False)
        other.path(MARKER_NAME).write_bytes(content)
    for use in (store.binding.bind, store.binding.require):
        with refused("none of the files that the store names is there. Mount"):
            use(other)
    assert other.identity() is None


def test_the_spool_of_another_store_is_refused_by_id(
    store: Store, bound: FolderSpool, tmp_path: Path
) -> None:
    other = FolderSpool(tmp_path / "other", create=False)
    with new_store(tmp_path / "other.sqlite") as another:
        another.binding.bind(other)
        receive(another, other, 2)
        with refused(f"has the id {other.identity()}, and the store names {bound.identity()}"):
            store.binding.bind(other)
        with refused(f"has the id {bound.identity()}"):
            another.binding.bind(bound)


def test_a_spool_and_a_store_of_an_earlier_version_are_taken_over(
    store: Store, bound: FolderSpool, database_url: str
) -> None:
    forget(database_url, "spool_id", "store_id")
    for marker in (MARKER_TEXT, b"", None):
        bound.path(MARKER_NAME).unlink()
        if marker is not None:
            bound.path(MARKER_NAME).write_bytes(marker)
        forget(database_url, "spool_id", "store_id")
        store.binding.require(bound)
        store.binding.bind(bound)
        found = facts(database_url)
        assert bound.marker() == Marker(found["spool_id"], found["store_id"])


def test_an_orphan_of_an_earlier_version_does_not_stop_the_upgrade(
    store: Store, away: FolderSpool, database_url: str
) -> None:
    forget(database_url)
    away.put_marker(Marker(), replace=False)
    away.write("received/ab/x.dcm", b"killed before its row")
    store.binding.bind(away)
    assert away.identity()


def test_a_new_store_does_not_take_over_received_files(store: Store, away: FolderSpool) -> None:
    away.put_marker(Marker(), replace=False)
    away.write("received/ab/x.dcm", b"of another store")
    for use in (store.binding.bind, store.binding.require):
        with refused("holds received images, and the store names none"):
            use(away)


def test_a_start_that_was_killed_between_marker_and_store_goes_on(
    store: Store, away: FolderSpool, database_url: str
) -> None:
    store.binding.bind(away)
    forget(database_url, "spool_id")
    store.binding.bind(away)
    assert facts(database_url)["spool_id"] == away.identity()


def test_an_operator_goes_on_without_the_files(
    store: Store, bound: FolderSpool, tmp_path: Path
) -> None:
    empty = FolderSpool(tmp_path / "empty", create=False)
    with refused("adopt-spool --without-files"):
        store.binding.adopt(empty, "me", without_files=False)
    assert store.binding.adopt(empty, "me", without_files=True) == 1
    last = list(store.audit.rows())[-1]
    assert (last.kind, last.actor) == (AuditKind.SPOOL_ADOPTED, "me")
    assert f"{empty.identity()}; without 1 of the 1 newest files" in last.detail
    store.binding.bind(empty)
    with refused("has the id"):
        store.binding.bind(bound)


def test_an_operator_cannot_adopt_the_files_of_another_store(
    store: Store, bound: FolderSpool, tmp_path: Path
) -> None:
    with new_store(tmp_path / "other.sqlite") as another:
        other = FolderSpool(tmp_path / "other", create=False)
        another.binding.bind(other)
        receive(another, other, 2)
        for without_files in (True, False):
            with pytest.raises(IntegrityError):
                store.binding.adopt(other, "me", without_files=without_files)
            with pytest.raises(IntegrityError):
                another.binding.adopt(bound, "me", without_files=without_files)
        assert other.identity() == another.binding.spool_id()


USES: dict[str, Callable[[Spool], object]] = {
    "read": lambda spool: spool.read("received/ab/2.dcm", "x"),
    "write": lambda spool: spool.write("received/ab/3.dcm", b"y"),
    "delete": lambda spool: spool.delete("received/ab/2.dcm"),
}


@pytest.mark.parametrize("use", USES)
def test_another_spool_in_its_place_is_unavailable_until_the_right_one_is_back(
    store: Store, bound: FolderSpool, tmp_path: Path, use: str
) -> None:
    root = bound.path(MARKER_NAME).parent
    bound.write("received/ab/9.dcm", b"y")
    root.rename(tmp_path / "right")
    FolderSpool(root).put_marker(Marker("0" * 32, "1" * 32), replace=True)
    with pytest.raises(SpoolUnavailableError, match=f"has the id {'0' * 32}, the store names"):
        USES[use](bound)
    assert list(root.glob("received/*/*")) == []
    shutil.rmtree(root)
    (tmp_path / "right").rename(root)
    bound.write("received/ab/9.dcm", b"y")
