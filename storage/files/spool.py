"""The spool: a folder of DICOM files, each written once and completely.

A file in it tells it from a folder that only has its name, such as the mount point of a volume that
is not there: without it no file is missing, and none is written.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from storage.errors import (
    IntegrityError,
    OutOfSpaceError,
    SpoolError,
    SpoolUnavailableError,
    UnsafePathError,
)
from storage.files.durable import (
    durable_file,
    folder_locked,
    make_folder,
    os_error_named,
    os_errors_named,
    remove_if_abandoned,
    sync_folder,
)

_Read = TypeVar("_Read")

RECEIVED = "received"

OBJECTS = "objects"

LOST_AND_FOUND = "lost+found"

MARKER = "cxrd-spool"

MARK = b"cxrd keeps files here: without this one it takes the folder for an empty mount point.\n"

_TEMPORARY = "tmp"

_BATCH = 500


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that is safely on disk; `path` is relative to the spool, `size` in bytes."""

    path: str
    size: int
    sha256: str


def received_path(study_instance_uid: str, sop_instance_uid: str, reception: str) -> str:
    """Where received bytes are kept.

    `reception` tells this reception from any other of the same instance (a UUID, say), so that
    nothing is overwritten and taking one copy back cannot take another's bytes away. Paths are
    made of a hash only: a UID as sent may hold any character, and a path shows up in logs and
    listings where no identifier should.
    """
    return _fan_out(RECEIVED, study_instance_uid, sop_instance_uid, reception)


def object_path(sop_instance_uid: str, data: bytes) -> str:
    """Where an object made here is kept.

    The same object made with other bytes, on another day say, has another path: a worker that
    lost its lease and does not know it yet cannot overwrite what was recorded of its successor.
    """
    return _fan_out(OBJECTS, sop_instance_uid, hashlib.sha256(data).hexdigest())


def _fan_out(folder: str, *identifiers: str) -> str:
    name = hashlib.sha256("\0".join(identifiers).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{folder}/{name[:2]}/{name}.dcm"


def make_spool(root: Path) -> None:
    """Make the folder and the file that marks it, where they are not there."""
    temporary = root / _TEMPORARY
    make_folder(temporary)
    if not is_marked(root):
        with durable_file(root / MARKER, temporary) as file:
            file.write(MARK)


def is_marked(root: Path) -> bool:
    """Whether this folder is a spool. Raises SpoolError where that cannot be found out."""
    with os_errors_named(root):
        try:
            (root / MARKER).stat()
        except FileNotFoundError:
            return False
    return True


class Spool:
    """Files below one root folder, named by relative POSIX paths.

    Safe to share between threads and processes. Files are 0600 and folders 0700. A file is written
    before the row that names it; whoever does so is `recording` it, and who looks for files that
    no row names has their folder `alone`.

    Whatever keeps all files from being used, and not one of them, is a SpoolUnavailableError.
    """

    def __init__(self, root: Path, min_free_bytes: int = 0, *, create: bool = True) -> None:
        """Open the spool; `min_free_bytes` stay free on its disk.

        With `create` a missing one is made. Only who starts the daemon may know that none is
        missed; who works in it leaves that be.
        """
        self._root = root.resolve()
        self._min_free_bytes = min_free_bytes
        self._temporary = self._root / _TEMPORARY
        self._durable_folders: set[Path] = set()
        if create:
            make_spool(self._root)

    def path(self, relative: str) -> Path:
        """The absolute path; raises UnsafePathError when it is not inside the spool."""
        try:
            absolute = (self._root / relative).resolve()
        except (ValueError, RuntimeError) as error:
            raise UnsafePathError(f"not a path of a spooled file: {relative!r}") from error
        if self._root not in absolute.parents:
            raise UnsafePathError(f"not inside the spool {self._root}: {relative!r}")
        return absolute

    def write(self, relative: str, data: bytes | memoryview) -> StoredFile:
        """Keep `data`; once this returns it survives a crash of the process or the machine.

        A file already there is replaced in one step. Raises OutOfSpaceError, SpoolError or
        UnsafePathError, and then what was there is as it was and nothing half-written is left.
        """
        target = self.path(relative)
        size = memoryview(data).nbytes
        with self._writing():
            self._prepare_folder(self._temporary)
            self._check_space(size)
            self._prepare_folder(target.parent)
            with durable_file(target, self._temporary) as file:
                file.write(data)
            # It may have gone since, and then the file is where nobody will look for it.
            self._require_marked()
        stored = target.relative_to(self._root).as_posix()
        return StoredFile(stored, size, hashlib.sha256(data).hexdigest())

    def read(self, relative: str) -> bytes:
        """The whole file; raises IntegrityError when it is missing."""
        return self._reading(relative, Path.read_bytes)

    def size(self, relative: str) -> int:
        """The bytes of a file; raises IntegrityError when it is missing."""
        return self._reading(relative, lambda path: path.stat().st_size)

    def verify(self, relative: str, sha256: str) -> None:
        """Raise IntegrityError unless the file is there with the bytes it was written with."""
        if self.digest(relative) != sha256:
            path = self.path(relative)
            raise IntegrityError(f"{path} has changed since it was written: restore it")

    def delete(self, relative: str) -> None:
        """Remove a file; one that is already gone is no error."""
        path = self.path(relative)
        with os_errors_named(path):
            try:
                path.unlink()
            except FileNotFoundError:
                self._require_marked()

    @contextlib.contextmanager
    def recording(self, *relatives: str) -> Iterator[None]:
        """Hold these files, which may not be there yet, until their rows are committed.

        Any number of threads and processes may; a sweep takes nothing from their folders meanwhile.
        """
        with contextlib.ExitStack() as stack:
            for folder in {self.path(relative).parent for relative in relatives}:
                with self._writing(), os_errors_named(folder):
                    self._prepare_folder(folder)
                    stack.enter_context(folder_locked(folder, fcntl.LOCK_SH))
            yield

    @contextlib.contextmanager
    def alone(self, relative: str) -> Iterator[bool]:
        """Whether nobody was recording a file in this one's folder; nobody begins to meanwhile."""
        folder = self.path(relative).parent
        with contextlib.ExitStack() as stack:
            with os_errors_named(folder):
                try:
                    lock = folder_locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    stack.enter_context(lock)
                    is_alone = True
                except BlockingIOError:
                    is_alone = False
            yield is_alone

    def listed(self, area: str) -> Iterator[tuple[str, ...]]:
        """The paths of all files of RECEIVED, OBJECTS or LOST_AND_FOUND, each batch of one folder.

        Files that come or go meanwhile may be missed.
        """
        top = self.path(area)
        with os_errors_named(top):
            if not top.is_dir():
                return
            for folder in [top, *sorted(path for path in top.iterdir() if path.is_dir())]:
                with os.scandir(folder) as entries:
                    inside = folder.relative_to(self._root).as_posix()
                    paths = (
                        f"{inside}/{entry.name}"
                        for entry in entries
                        if entry.is_file(follow_symlinks=False)
                    )
                    while batch := tuple(islice(paths, _BATCH)):
                        yield batch

    def set_aside(self, relatives: Iterable[str]) -> int:
        """Move received files of one folder to LOST_AND_FOUND, for a person to look at.

        How many those were: whoever wrote one may take it back meanwhile.
        """
        aside = self.path(LOST_AND_FOUND)
        self._prepare_folder(aside)
        moved = []
        with os_errors_named(aside):
            for path in map(self.path, relatives):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(path, aside / path.name)  # noqa: PTH105 - as the call is named
                    moved.append(path)
            sync_folder(aside)
            for folder in {path.parent for path in moved}:
                sync_folder(folder)
        return len(moved)

    def digest(self, relative: str) -> str:
        """The SHA-256 of a file; raises IntegrityError when it is missing."""
        return self._reading(relative, _digest)

    def sweep_temporary(self) -> int:
        """Remove what a killed process left half-written, and say how many files that was.

        Files that a living process is writing are left alone.
        """
        with os_errors_named(self._temporary):
            self._prepare_folder(self._temporary)
            return sum(remove_if_abandoned(path) for path in self._temporary.iterdir())

    def free_bytes(self) -> int:
        """What is free on the spool's disk; raises SpoolError when it cannot be asked."""
        with os_errors_named(self._root):
            return shutil.disk_usage(self._root).free

    def _check_space(self, size: int) -> None:
        free = self.free_bytes()
        if free - size < self._min_free_bytes:
            raise OutOfSpaceError(
                f"{free} bytes free at {self._root}, of which {self._min_free_bytes} are to stay"
                f" free: no room for {size} more; free some, then it is tried again"
            )

    def _prepare_folder(self, folder: Path) -> None:
        """Create a folder and sync its name, once per process even where it exists."""
        self._require_marked()
        with os_errors_named(folder):
            if folder in self._durable_folders and folder.is_dir():
                return
        make_folder(folder, self._root)
        self._durable_folders.add(folder)

    def _reading(self, relative: str, read: Callable[[Path], _Read]) -> _Read:
        """What `read` makes of a file; one that fails is tried again once all others can be read.

        So a volume that comes back between the two looks has no file missing.
        """
        path = self.path(relative)
        try:
            return read(path)
        except OSError:
            self._require_readable()
        try:
            return read(path)
        except OSError as error:
            self._require_readable()
            if isinstance(error, FileNotFoundError):
                raise _missing(path) from error
            raise os_error_named(error, path) from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Tell what keeps one file from being written from what keeps all of them."""
        try:
            yield
        except SpoolUnavailableError:
            raise
        except SpoolError:
            self._require_writable()
            raise

    def _require_marked(self) -> None:
        with self._for_all():
            (self._root / MARKER).stat()

    def _require_readable(self) -> None:
        with self._for_all(), (self._root / MARKER).open("rb") as file:
            # Read from the disk: what the system remembers of it says nothing of the other files.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            file.read()

    def _require_writable(self) -> None:
        self._require_marked()
        probe = self._temporary / "probe"
        try:
            with durable_file(probe, self._temporary) as file:
                file.write(MARK)
        except SpoolError as error:
            raise SpoolUnavailableError(str(error)) from error
        with os_errors_named(probe):
            probe.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _for_all(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise SpoolUnavailableError(
                f"the spool is not at {self._root}, where {MARKER} is missing: mount its volume"
            ) from error
        except OSError as error:
            raise SpoolUnavailableError(str(os_error_named(error, self._root))) from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _missing(path: Path) -> IntegrityError:
    return IntegrityError(f"{path} is missing: restore it, or discard the job that needs it")
