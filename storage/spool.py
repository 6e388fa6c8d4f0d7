"""The spool: a folder of DICOM files, each written once and completely."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from storage.durable import durable_file, is_abandoned, make_folder, os_errors_named, sync_folder
from storage.errors import IntegrityError, OutOfSpaceError, UnsafePathError

_TEMPORARY = "tmp"


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
    return _fan_out("received", study_instance_uid, sop_instance_uid, reception)


def object_path(sop_instance_uid: str) -> str:
    """Where an object made here is kept."""
    return _fan_out("objects", sop_instance_uid)


def _fan_out(folder: str, *identifiers: str) -> str:
    name = hashlib.sha256("\0".join(identifiers).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{folder}/{name[:2]}/{name}.dcm"


class Spool:
    """Files below one root folder, named by relative POSIX paths.

    Safe to share between threads and processes. Files are 0600 and folders 0700.
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
        path = self.path(relative)
        with os_errors_named(path):
            try:
                with path.open("rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
            except FileNotFoundError as error:
                raise _missing(path) from error
        if found != sha256:
            raise IntegrityError(f"{path} has changed since it was written: restore it")

    def delete(self, relative: str) -> None:
        """Remove a file; one that is already gone is no error."""
        path = self.path(relative)
        with os_errors_named(path):
            path.unlink(missing_ok=True)

    def sweep_temporary(self) -> int:
        """Remove what a killed process left half-written, and say how many files that was.

        Files that a living process is writing are left alone.
        """
        with os_errors_named(self._temporary):
            abandoned = [path for path in self._temporary.iterdir() if is_abandoned(path)]
            for path in abandoned:
                path.unlink(missing_ok=True)
        return len(abandoned)

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
        """Create a folder and sync the names above it.

        Once per process even for a folder that exists: another process may have made it this
        instant and not synced it yet.
        """
        if folder in self._durable_folders:
            return
        make_folder(folder)
        with os_errors_named(folder):
            for ancestor in folder.parents:
                if ancestor == self._root.parent:
                    break
                sync_folder(ancestor)
        self._durable_folders.add(folder)


def _missing(path: Path) -> IntegrityError:
    return IntegrityError(f"{path} is missing: restore it, or discard the job that needs it")
