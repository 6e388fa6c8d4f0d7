"""The spool: a folder of DICOM files, each written once and completely."""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from storage.durable import (
    durable_file,
    folder_locked,
    make_folder,
    os_errors_named,
    remove_if_abandoned,
    sync_folder,
)
from storage.errors import IntegrityError, OutOfSpaceError, UnsafePathError

RECEIVED = "received"
OBJECTS = "objects"
LOST_AND_FOUND = "lost+found"
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


class Spool:
    """Files below one root folder, named by relative POSIX paths.

    Safe to share between threads and processes. Files are 0600 and folders 0700. A file is written
    before the row that names it; whoever does so is `recording` it, and who looks for files that
    no row names has their folder `alone`.
    """

    def __init__(self, root: Path, min_free_bytes: int = 0) -> None:
        """Open the spool and create its folders; `min_free_bytes` stay free on its disk."""
        self._root = root.resolve()
        self._min_free_bytes = min_free_bytes
        self._temporary = self._root / _TEMPORARY
        self._durable_folders: set[Path] = set()
        make_folder(self._temporary)

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
        self._check_space(size)
        self._prepare_folder(target.parent)
        with durable_file(target, self._temporary) as file:
            file.write(data)
        stored = target.relative_to(self._root).as_posix()
        return StoredFile(stored, size, hashlib.sha256(data).hexdigest())

    def read(self, relative: str) -> bytes:
        """The whole file; raises IntegrityError when it is missing."""
        path = self.path(relative)
        with os_errors_named(path):
            try:
                return path.read_bytes()
            except FileNotFoundError as error:
                raise _missing(path) from error

    def verify(self, relative: str, sha256: str) -> None:
        """Raise IntegrityError unless the file is there with the bytes it was written with."""
        if self.digest(relative) != sha256:
            path = self.path(relative)
            raise IntegrityError(f"{path} has changed since it was written: restore it")

    def delete(self, relative: str) -> None:
        """Remove a file; one that is already gone is no error."""
        path = self.path(relative)
        with os_errors_named(path):
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def recording(self, *relatives: str) -> Iterator[None]:
        """Hold these files, which may not be there yet, until their rows are committed.

        Any number of threads and processes may; a sweep takes nothing from their folders meanwhile.
        """
        with contextlib.ExitStack() as stack:
            for folder in {self.path(relative).parent for relative in relatives}:
                self._prepare_folder(folder)
                with os_errors_named(folder):
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
        path = self.path(relative)
        with os_errors_named(path):
            try:
                with path.open("rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest()
            except FileNotFoundError as error:
                raise _missing(path) from error

    def sweep_temporary(self) -> int:
        """Remove what a killed process left half-written, and say how many files that was.

        Files that a living process is writing are left alone.
        """
        with os_errors_named(self._temporary):
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
        if folder in self._durable_folders:
            return
        make_folder(folder, self._root)
        self._durable_folders.add(folder)


def _missing(path: Path) -> IntegrityError:
    return IntegrityError(f"{path} is missing: restore it, or discard the job that needs it")
