"""The spool: a file is complete or absent, and a damaged file is refused."""

import errno
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.errors import (
    IntegrityError,
    OutOfSpaceError,
    SpoolError,
    StorageError,
    UnsafePathError,
)
from storage.files.folder_spool import FolderSpool
from storage.files.spool import object_path, received_path
from tests.storage.files.spool_files import files_in


def test_a_written_file_is_read_back(spool: FolderSpool) -> None:
    stored = spool.write("received/ab/x.dcm", b"DICM")

    assert spool.read(stored.path, stored.sha256) == b"DICM"
    assert (stored.path, stored.size) == ("received/ab/x.dcm", 4)
    assert stored.sha256 == hashlib.sha256(b"DICM").hexdigest()
    assert files_in(spool) == {spool.path(stored.path)}
    spool.verify(stored.path, stored.sha256)


def test_a_memoryview_with_wide_items_is_written_completely(spool: FolderSpool) -> None:
    stored = spool.write("x", memoryview(b"abcdefgh").cast("H"))

    assert stored.size == 8
    assert spool.read("x", stored.sha256) == b"abcdefgh"


def test_writing_again_replaces_the_file(spool: FolderSpool) -> None:
    spool.write("x", b"old")
    stored = spool.write("x", b"new and longer")

    assert spool.read("x", stored.sha256) == b"new and longer"


def test_only_the_owner_can_read_files_and_folders(spool: FolderSpool) -> None:
    path = spool.path(spool.write("received/ab/x.dcm", b"").path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "relative", ["../x", "/etc/passwd", "a/../../x", "", ".", "a\0b", "link/x"]
)
def test_a_path_outside_the_spool_is_refused(
    spool: FolderSpool, tmp_path: Path, relative: str
) -> None:
    (tmp_path / "spool" / "link").symlink_to(tmp_path)

    with pytest.raises(UnsafePathError):
        spool.write(relative, b"x")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("step", ["fsync", "replace", "open"])
def test_a_failed_write_on_a_full_disk_changes_no_file(
    spool: FolderSpool, monkeypatch: pytest.MonkeyPatch, step: str, code: int
) -> None:
    stored = spool.write("kept", b"as it was")

    def fail(*_arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OutOfSpaceError) as caught:
        spool.write("kept", b"another")
    monkeypatch.undo()

    assert caught.value.retryable
    assert files_in(spool) == {spool.path("kept")}
    assert spool.read("kept", stored.sha256) == b"as it was"


def test_an_io_error_is_not_reported_as_a_full_disk(
    spool: FolderSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SpoolError) as caught:
        spool.write("x", b"x")
    monkeypatch.undo()

    assert caught.value.retryable
    assert files_in(spool) == set()


def test_the_file_is_synced_before_the_rename_and_the_folder_after_it(
    spool: FolderSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    fsync, replace = os.fsync, os.replace

    def record_fsync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        steps.append("folder" if is_folder else "file")
        fsync(descriptor)

    def record_replace(source: Path, target: Path) -> None:
        steps.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    spool.write("objects/ab/x.dcm", b"x")
    first = steps.copy()
    steps.clear()
    spool.write("objects/ab/y.dcm", b"y")

    assert first[-3:] == ["file", "rename", "folder"]
    assert first[:-3].count("folder") >= 2, "the names of new folders are synced as well"
    assert steps == ["file", "rename", "folder"]


def test_a_write_below_the_watermark_is_refused(tmp_path: Path) -> None:
    spool = FolderSpool(tmp_path / "spool", min_free_bytes=2**62)

    with pytest.raises(OutOfSpaceError, match="are to stay free"):
        spool.write("x", b"x")
    assert files_in(spool) == set()


def test_free_bytes_are_those_of_its_disk(spool: FolderSpool, tmp_path: Path) -> None:
    assert 0 < spool.free_bytes() < 2**62
    shutil.rmtree(tmp_path / "spool")

    with pytest.raises(SpoolError, match="No such file"):
        spool.free_bytes()


@pytest.mark.parametrize("use", [FolderSpool.read, FolderSpool.verify])
def test_an_altered_or_missing_file_is_refused(
    spool: FolderSpool, use: Callable[[FolderSpool, str, str], object]
) -> None:
    stored = spool.write("x", b"x")
    use(spool, "x", stored.sha256)
    spool.path("x").write_bytes(b"y")

    with pytest.raises(IntegrityError, match="has changed"):
        use(spool, "x", stored.sha256)
    spool.delete("x")
    spool.delete("x")
    with pytest.raises(IntegrityError, match="is missing"):
        use(spool, "x", stored.sha256)


def test_read_verifies_the_bytes_that_it_returns(
    spool: FolderSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = spool.write("x", b"x")
    read_bytes = Path.read_bytes
    reads = []

    def alter_then_read(path: Path) -> bytes:
        reads.append(path)
        path.write_bytes(b"y")
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", alter_then_read)
    with pytest.raises(IntegrityError, match="has changed"):
        spool.read("x", stored.sha256)
    assert reads == [spool.path("x")]


_HANGING_WRITER = """
import os, sys, time
from pathlib import Path
from storage.files.folder_spool import FolderSpool
spool = FolderSpool(Path(sys.argv[1]))
os.replace = lambda *_: (print("writing", flush=True), time.sleep(60))
spool.write("received/x", b"half of an image")
"""


def test_a_killed_writer_leaves_only_a_temporary_file_that_the_sweep_removes(
    spool: FolderSpool, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", _HANGING_WRITER, str(tmp_path / "spool")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        swept_while_alive = spool.sweep_temporary()
        writer.send_signal(signal.SIGKILL)

    assert swept_while_alive == 0
    assert not spool.path("received/x").exists()
    assert spool.sweep_temporary() == 1
    assert files_in(spool) == set()


def test_threads_that_write_the_same_path_leave_one_complete_file(spool: FolderSpool) -> None:
    contents = [bytes([number]) * 10_000 for number in range(8)]
    threads = [threading.Thread(target=spool.write, args=("a/x", data)) for data in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert spool.path("a/x").read_bytes() in contents
    assert files_in(spool) == {spool.path("a/x")}


def test_paths_show_no_identifier_and_differ_by_reception(spool: FolderSpool) -> None:
    first = received_path("1.2.3", "../\udc80", "one")

    assert first.startswith("received/")
    assert first != received_path("1.2.3", "../\udc80", "two")
    assert received_path("1.2", "3.4", "x") != received_path("1", "2.3.4", "x")
    assert "1.2.3" not in object_path("1.2.3", b"x")
    assert object_path("1.2.3", b"x") != object_path("1.2.3", b"another time")
    stored = spool.write(first, b"x")
    assert spool.read(stored.path, stored.sha256) == b"x"


def test_a_spool_that_cannot_be_created_is_reported_on_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StorageError, match="file") as caught:
        FolderSpool(tmp_path / "file" / "spool")
    assert "\n" not in str(caught.value)


def test_folders_created_by_a_killed_process_are_synced_by_the_next(
    spool: FolderSpool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.path("received/ab").mkdir(parents=True)
    synced = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    FolderSpool(tmp_path / "spool").write("received/ab/x.dcm", b"x")

    root = tmp_path / "spool"
    assert {tmp_path.parent, tmp_path, root, root / "received", root / "received/ab"} <= {*synced}
