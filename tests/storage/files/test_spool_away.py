"""An unavailable spool reports no file as missing and writes no file."""

import errno
import hashlib
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.errors import IntegrityError, SpoolError, SpoolUnavailableError
from storage.files.durable import make_folder
from storage.files.folder_spool import FolderSpool
from storage.files.marker import MARKER_NAME

PATH = "received/ab/x.dcm"
SHA256 = hashlib.sha256(b"x").hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(root: Path) -> FolderSpool:
    opened = FolderSpool(root)
    opened.write(PATH, b"x")
    return FolderSpool(root, create=False)


def record(spool: FolderSpool) -> None:
    with spool.folders_held(PATH):
        pass


USES: dict[str, Callable[[FolderSpool], object]] = {
    "read": lambda spool: spool.read(PATH, SHA256),
    "size": lambda spool: spool.size(PATH),
    "digest": lambda spool: spool.digest(PATH),
    "write": lambda spool: spool.write(PATH, b"y"),
    "write elsewhere": lambda spool: spool.write("objects/cd/y.dcm", b"y"),
    "recording": record,
    "delete": lambda spool: spool.delete(PATH),
    "sweep": lambda spool: spool.sweep_temporary(),
    "set aside": lambda spool: spool.set_aside([PATH]),
}


@contextmanager
def away(root: Path) -> Iterator[None]:
    """Unmount the spool for the block."""
    aside = root.with_name("aside")
    root.rename(aside)
    yield
    if root.exists():
        root.rmdir()
    aside.rename(root)


@pytest.mark.parametrize("mount_point", [False, True])
@pytest.mark.parametrize("use", USES)
def test_an_unmounted_spool_is_unavailable_and_stays_unwritten(
    spool: FolderSpool, root: Path, use: str, mount_point: bool
) -> None:
    if use.startswith("write"):
        USES[use](spool)  # the folder is known to this process
    with away(root):
        if mount_point:
            root.mkdir()
        with pytest.raises(
            SpoolUnavailableError, match=f"{MARKER_NAME} is missing: mount"
        ) as caught:
            USES[use](spool)
        assert caught.value.retryable
        assert list(root.rglob("*")) == []
    USES[use](spool)


def test_folders_in_the_mount_point_are_not_written_to(spool: FolderSpool, root: Path) -> None:
    with away(root):
        (root / "tmp").mkdir(parents=True)
        (root / "received" / "ab").mkdir(parents=True)
        with pytest.raises(SpoolUnavailableError):
            spool.write(PATH, b"y")
        (root / "tmp").rmdir()
        (root / "received" / "ab").rmdir()
        (root / "received").rmdir()
    assert spool.read(PATH, SHA256) == b"x"


def test_the_spool_is_created_only_on_request(root: Path) -> None:
    FolderSpool(root, create=False)
    assert not root.exists()
    FolderSpool(root)
    assert (root / MARKER_NAME).is_file()


def test_a_volume_mounted_after_a_failed_read_has_no_missing_file(
    spool: FolderSpool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aside = root.with_name("aside")
    root.rename(aside)
    read_bytes = Path.read_bytes

    def read_then_mount(path: Path) -> bytes:
        try:
            return read_bytes(path)
        finally:
            if aside.exists():
                aside.rename(root)

    monkeypatch.setattr(Path, "read_bytes", read_then_mount)
    assert spool.read(PATH, SHA256) == b"x"


def test_a_deleted_file_of_a_mounted_spool_is_missing(spool: FolderSpool) -> None:
    spool.delete(PATH)
    with pytest.raises(IntegrityError, match="is missing"):
        spool.read(PATH, SHA256)


def test_a_single_unreadable_file_does_not_make_the_spool_unavailable(
    spool: FolderSpool, root: Path
) -> None:
    (root / PATH).unlink()
    (root / PATH).mkdir()
    with pytest.raises(SpoolError, match="Is a directory") as caught:
        spool.read(PATH, SHA256)
    assert caught.value.retryable
    assert not isinstance(caught.value, SpoolUnavailableError)


def test_a_single_unwritable_folder_does_not_make_the_spool_unavailable(
    spool: FolderSpool, root: Path
) -> None:
    (root / "objects").touch()
    with pytest.raises(SpoolError) as caught:
        spool.write("objects/cd/y.dcm", b"y")
    assert not isinstance(caught.value, SpoolUnavailableError)
    assert list((root / "tmp").iterdir()) == []


@contextmanager
def no_more_open_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("use", ["read", "digest", "write", "recording"])
def test_too_many_open_files_make_the_spool_unavailable(spool: FolderSpool, use: str) -> None:
    with (
        pytest.raises(SpoolUnavailableError, match="Too many open files"),
        no_more_open_files(),
    ):
        USES[use](spool)
    assert spool.read(PATH, SHA256) == b"x"


@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS])
def test_a_disk_that_rejects_every_write_makes_the_spool_unavailable(
    spool: FolderSpool, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as failing:
        failing.setattr(os, "replace", fail)
        with pytest.raises(SpoolUnavailableError, match=os.strerror(code)):
            spool.write("objects/cd/y.dcm", b"y")
    spool.write("objects/cd/y.dcm", b"y")


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_disk_that_rejects_every_read_makes_the_spool_unavailable(
    spool: FolderSpool, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as failing:
        failing.setattr(Path, "open", fail)
        failing.setattr(Path, "read_bytes", fail)
        for use in ("read", "digest"):
            with pytest.raises(SpoolUnavailableError, match=os.strerror(code)):
                USES[use](spool)
    assert spool.read(PATH, SHA256) == b"x"


def test_a_replaced_spool_folder_is_written_to(spool: FolderSpool, root: Path) -> None:
    spool.write(PATH, b"x")
    root.rename(root.with_name("aside"))
    root.mkdir()
    (root / MARKER_NAME).touch()
    spool.write(PATH, b"y")
    assert spool.read(PATH, hashlib.sha256(b"y").hexdigest()) == b"y"


def test_make_folder_creates_folders_below_the_root_only(root: Path) -> None:
    with pytest.raises(SpoolError, match="No such file"):
        make_folder(root / "received" / "ab", root)
    assert not root.exists()
    root.mkdir()
    make_folder(root / "received" / "ab", root)
    assert (root / "received" / "ab").is_dir()
