"""The guarantees of a spool, on a folder and on a bucket."""

import hashlib
from collections.abc import Callable

import pytest

from storage.errors import IntegrityError, UnsafePathError
from storage.files.marker import Marker
from storage.files.spool import (
    LOST_AND_FOUND,
    OBJECTS,
    RECEIVED,
    Spool,
    holds_received_files,
    object_path,
    received_path,
)

FIRST = received_path("1.2", "3", "first")


def listed(spool: Spool, area: str) -> set[str]:
    return {path for batch in spool.batches(area) for path in batch}


def test_what_was_written_is_read_in_every_way(any_spool: Spool) -> None:
    data = bytes(range(256)) * 5000
    stored = any_spool.write(FIRST, memoryview(data))
    assert (stored.path, stored.size) == (FIRST, len(data))
    assert stored.sha256 == hashlib.sha256(data).hexdigest()

    assert any_spool.read(FIRST, stored.sha256) == data
    assert b"".join(any_spool.chunks(FIRST)) == data
    assert any_spool.digest(FIRST) == stored.sha256
    assert any_spool.size(FIRST) == len(data)
    any_spool.verify(FIRST, stored.sha256)
    assert any_spool.exists(FIRST)
    assert any_spool.address(FIRST) == f"{any_spool.place}/{FIRST}"


def test_an_empty_file_is_a_file(any_spool: Spool) -> None:
    stored = any_spool.write(FIRST, b"")
    assert any_spool.read(FIRST, stored.sha256) == b""
    assert list(any_spool.chunks(FIRST)) == []


def test_files_written_together_are_all_there_in_their_order(any_spool: Spool) -> None:
    files = [(object_path(str(n), b"%d" % n, "1.2"), b"%d" % n) for n in range(20)]
    stored = any_spool.write_together(files)
    assert [file.path for file in stored] == [path for path, _ in files]
    for file, (_, data) in zip(stored, files, strict=True):
        assert any_spool.read(file.path, file.sha256) == data


USES: dict[str, Callable[[Spool, str], object]] = {
    "read": lambda spool, sha256: spool.read(FIRST, sha256),
    "verify": lambda spool, sha256: spool.verify(FIRST, sha256),
}


@pytest.mark.parametrize("use", USES)
def test_an_altered_or_missing_file_is_an_integrity_error(any_spool: Spool, use: str) -> None:
    sha256 = any_spool.write(FIRST, b"x").sha256
    any_spool.write(FIRST, b"y")
    with pytest.raises(IntegrityError, match="has changed since"):
        USES[use](any_spool, sha256)
    any_spool.delete(FIRST)
    any_spool.delete(FIRST)
    assert not any_spool.exists(FIRST)
    for ask in (any_spool.size, any_spool.digest, lambda path: list(any_spool.chunks(path))):
        with pytest.raises(IntegrityError, match="is missing"):
            ask(FIRST)
    with pytest.raises(IntegrityError, match="is missing"):
        USES[use](any_spool, sha256)


@pytest.mark.parametrize("relative", ["../x", "/etc/passwd", "a/../../x", "", ".", "a\0b"])
def test_a_path_outside_the_spool_is_refused(any_spool: Spool, relative: str) -> None:
    for use in (any_spool.size, any_spool.delete, lambda path: any_spool.write(path, b"x")):
        with pytest.raises(UnsafePathError):
            use(relative)


def test_the_mark_of_a_file_is_another_after_other_bytes(any_spool: Spool) -> None:
    assert any_spool.mark(FIRST) is None
    any_spool.write(FIRST, b"x")
    first = any_spool.mark(FIRST)
    assert first is not None
    assert any_spool.mark(FIRST) == first
    any_spool.write(FIRST, b"y")
    assert any_spool.mark(FIRST) not in (None, first)


def test_an_area_is_listed_in_batches_without_other_areas(any_spool: Spool) -> None:
    assert not holds_received_files(any_spool)
    received = {any_spool.write(received_path("1", str(n), "x"), b"").path for n in range(7)}
    made = any_spool.write(object_path("1.2", b""), b"").path
    assert holds_received_files(any_spool)
    batches = list(any_spool.batches(RECEIVED, 3))
    assert all(len(batch) <= 3 for batch in batches)
    assert {path for batch in batches for path in batch} == received
    assert listed(any_spool, OBJECTS) == {made}
    assert listed(any_spool, LOST_AND_FOUND) == set()
    any_spool.delete_together(sorted(received))
    assert listed(any_spool, RECEIVED) == set()


def test_a_file_set_aside_is_put_back_at_its_place(any_spool: Spool) -> None:
    stored = any_spool.write(FIRST, b"x")
    assert any_spool.set_aside([FIRST, received_path("1.2", "3", "gone")]) == 1
    assert listed(any_spool, RECEIVED) == set()
    (aside,) = listed(any_spool, LOST_AND_FOUND)
    assert any_spool.origin(aside) == FIRST
    assert any_spool.digest(aside) == stored.sha256

    assert any_spool.put_back([FIRST]) == (FIRST,)
    assert any_spool.put_back([FIRST, received_path("1.2", "3", "gone")])[1:] == ()
    assert listed(any_spool, LOST_AND_FOUND) == set()
    assert any_spool.read(FIRST, stored.sha256) == b"x"


def test_the_marker_is_written_once_unless_it_is_replaced(any_spool: Spool) -> None:
    assert any_spool.is_marked()
    assert any_spool.marker() == Marker()
    first, second = Marker("1" * 32, "2" * 32), Marker("3" * 32, "2" * 32)
    any_spool.put_marker(first, replace=False)
    assert any_spool.marker() == Marker()
    any_spool.put_marker(first, replace=True)
    any_spool.put_marker(second, replace=False)
    assert any_spool.identity() == "1" * 32
    assert any_spool.is_empty()
    assert any_spool.look() == ""
    any_spool.probe()
    assert any_spool.is_empty()
