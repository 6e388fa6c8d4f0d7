"""The sweep of a bucket, which has no locks: it takes nothing that a row names, or will name."""

import datetime
from collections.abc import Iterator
from typing import Any

import pytest

from storage.files.s3.client import S3Client, server_time
from storage.files.s3.s3_spool import GRACE_SECONDS, S3Spool
from storage.files.spool import LOST_AND_FOUND, OBJECTS, RECEIVED, object_path, received_path
from storage.orphans import Sweep, Swept
from storage.store import Store
from storage.upkeep.integrity import Fault
from tests.builders.store_rows import new_instance
from tests.builders.stores.bucket import Bucket
from tests.builders.stores.new import new_store
from tests.tools.clock import Clock

pytestmark = pytest.mark.network

FILM = received_path("1.2", "3", "now")
MADE = object_path("1.2.9", b"made")


class Uptime:
    """The clock of a host, which the test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def uptime() -> Uptime:
    return Uptime()


@pytest.fixture
def spool(bucket: Bucket, uptime: Uptime) -> Iterator[S3Spool]:
    opened = bucket.spool(clock=uptime)
    yield opened
    opened.close()


@pytest.fixture
def node(tmp_path: Any, clock: Clock) -> Iterator[Store]:
    """A store on SQLite: the queries of the sweep are tested on both elsewhere."""
    with new_store(tmp_path / "store.sqlite", clock=clock) as opened:
        yield opened


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clock of the service be past the grace of all that was written."""

    def in_two_hours(answer: dict[str, Any]) -> datetime.datetime:
        return server_time(answer) + datetime.timedelta(seconds=2 * GRACE_SECONDS)

    monkeypatch.setattr("storage.files.s3.s3_spool.server_time", in_two_hours)


def sweep(spool: S3Spool, store: Store) -> Swept:
    return Sweep(spool, store, lambda _seconds: False).run()


def files(spool: S3Spool) -> set[str]:
    areas = (RECEIVED, OBJECTS, LOST_AND_FOUND)
    return {path for area in areas for batch in spool.batches(area) for path in batch}


def record(store: Store, path: str = FILM, data: bytes = b"film") -> None:
    store.record_instance(new_instance("1.2.3", "3", spool_path=path, size=len(data)), 0)


def faults(spool: S3Spool, store: Store) -> list[Fault]:
    return list(store.integrity.faults(spool, read=False))


def test_a_young_file_without_a_row_stays(spool: S3Spool, node: Store) -> None:
    spool.write(FILM, b"film")
    spool.write(MADE, b"made")
    assert sweep(spool, node) == Swept()
    assert files(spool) == {FILM, MADE}


@pytest.mark.usefixtures("later")
def test_old_orphans_are_moved_first_and_objects_deleted_by_a_later_sweep(
    spool: S3Spool, node: Store
) -> None:
    kept = spool.write(received_path("1.2", "9", "kept"), b"kept").path
    record(node, kept, b"kept")
    spool.write(FILM, b"film")
    spool.write(MADE, b"made")
    with pytest.MonkeyPatch.context() as first:
        # The files that this sweep moves are young.
        first.setattr(S3Spool, "batches", _only_old(S3Spool.batches))
        swept = sweep(spool, node)
    assert (swept.set_aside, swept.objects, swept.put_back) == (1, 1, 0)
    aside = {f"{LOST_AND_FOUND}/{FILM}", f"{LOST_AND_FOUND}/{MADE}"}
    assert files(spool) == {kept, *aside}

    swept = sweep(spool, node)
    assert (swept.waiting, swept.failed_batches) == (1, 0)
    assert files(spool) == {kept, f"{LOST_AND_FOUND}/{FILM}"}
    assert faults(spool, node) == []


def _only_old(batches: Any) -> Any:
    def listed(self: S3Spool, area: str, *arguments: Any, **options: Any) -> Any:
        return () if area == LOST_AND_FOUND else batches(self, area, *arguments, **options)

    return listed


@pytest.mark.usefixtures("later")
def test_a_row_that_comes_during_the_move_has_its_file_all_the_time(
    spool: S3Spool, node: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = spool.write(FILM, b"film").sha256
    set_aside, seen = S3Spool.set_aside, []

    def move_then_record(self: S3Spool, paths: Any) -> int:
        moved = set_aside(self, paths)
        record(node)
        seen.append((files(self), self.read(FILM, sha256), faults(self, node)))
        return moved

    monkeypatch.setattr(S3Spool, "set_aside", move_then_record)
    assert sweep(spool, node).put_back == 1
    assert seen == [({f"{LOST_AND_FOUND}/{FILM}"}, b"film", [])]
    assert files(spool) == {FILM}
    assert spool.read(FILM, sha256) == b"film"


@pytest.mark.usefixtures("later")
def test_what_a_killed_sweep_moved_is_put_back_by_the_next(spool: S3Spool, node: Store) -> None:
    sha256 = spool.write(FILM, b"film").sha256
    assert spool.set_aside([FILM]) == 1
    record(node)
    assert spool.read(FILM, sha256) == b"film"
    assert sweep(spool, node).put_back == 1
    assert files(spool) == {FILM}


@pytest.mark.usefixtures("later")
def test_the_only_copy_of_a_film_is_no_duplicate_of_itself(
    spool: S3Spool, node: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that comes while the sweep compares the bytes names the very file in lost+found."""
    spool.write(FILM, b"film")
    spool.set_aside([FILM])
    digest = S3Spool.digest

    def digest_then_record(self: S3Spool, path: str) -> str:
        found = digest(self, path)
        if path.startswith(LOST_AND_FOUND):
            record(node)
        return found

    with monkeypatch.context() as racing:
        racing.setattr(S3Spool, "digest", digest_then_record)
        assert sweep(spool, node).duplicates == 0
    assert faults(spool, node) == []
    sweep(spool, node)
    assert files(spool) == {FILM}


def test_a_late_writer_writes_a_file_again_that_was_swept(
    spool: S3Spool, bucket: Bucket, uptime: Uptime
) -> None:
    with spool.folders_held(FILM):
        sha256 = spool.write(FILM, b"film").sha256
        uptime.seconds += GRACE_SECONDS * 0.51
        other = bucket.spool()
        other.set_aside([FILM])
        other.delete(f"{LOST_AND_FOUND}/{FILM}")
    assert files(spool) == {FILM}
    assert spool.read(FILM, sha256) == b"film"


def test_a_late_writer_does_not_write_again_what_it_deleted_itself(
    spool: S3Spool, uptime: Uptime
) -> None:
    with spool.folders_held(FILM):
        spool.write(FILM, b"film")
        spool.delete(FILM)
        uptime.seconds += GRACE_SECONDS
    assert files(spool) == set()


def test_a_sweep_that_was_suspended_during_the_move_deletes_nothing(
    spool: S3Spool, uptime: Uptime, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.write(MADE, b"made")
    copy = S3Client.copy

    def copy_then_sleep(self: S3Client, key: str, target: str) -> None:
        copy(self, key, target)
        uptime.seconds += GRACE_SECONDS

    monkeypatch.setattr(S3Client, "copy", copy_then_sleep)
    assert spool.set_aside([MADE]) == 0
    assert files(spool) == {MADE, f"{LOST_AND_FOUND}/{MADE}"}


@pytest.mark.usefixtures("later")
def test_an_object_made_again_while_a_purge_removes_it_is_kept(spool: S3Spool, node: Store) -> None:
    data = b"made"
    spool.write(MADE, data)
    spool.retire([MADE])
    sha256 = spool.write(MADE, data).sha256
    record(node, MADE, data)
    assert sweep(spool, node).failed_batches == 0
    assert files(spool) == {MADE}
    assert spool.read(MADE, sha256) == data
