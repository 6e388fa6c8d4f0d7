"""The spool: a folder of DICOM files, each written once and completely.

A marker file shows that the spool volume is mounted. Without the marker, reads and writes raise
SpoolUnavailableError, and no file counts as missing.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
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
    remove_if_abandoned,
    storage_error,
    storage_errors,
    sync_folder,
    write_together,
)

_Result = TypeVar("_Result")

RECEIVED = "received"
OBJECTS = "objects"
LOST_AND_FOUND = "lost+found"
MARKER_NAME = "cxrd-spool"
"""Name of the marker file."""
MARKER_TEXT = (
    b"cxrd keeps files here: without this one it takes the folder for an empty mount point.\n"
)
_TEMPORARY = "tmp"
BATCH_FILES = 500


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file on disk; `path` is relative to the spool, `size` is in bytes."""

    path: str
    size: int
    sha256: str


def received_path(study_instance_uid: str, sop_instance_uid: str, reception: str) -> str:
    """Return the spool path of a received file.

    `reception` is unique to this reception (a UUID), so that two receptions of an instance neither
    overwrite nor delete each other's file. The path holds only a hash: a UID from a peer may
    contain any character, and logs and listings must not show identifiers.
    """
    name = _hashed(study_instance_uid, sop_instance_uid, reception)
    return f"{RECEIVED}/{name[:2]}/{name}.dcm"


def object_path(sop_instance_uid: str, data: bytes, beside: str | None = None) -> str:
    """Return the spool path of an object made here.

    The path depends on the bytes, which may differ for the same object on another day. So a worker
    that lost its lease unnoticed cannot overwrite the file that its successor recorded. Objects
    with the same UID `beside` are in one folder, which is locked and synced once for all of them.
    """
    name = _hashed(sop_instance_uid, hashlib.sha256(data).hexdigest())
    folder = name if beside is None else _hashed(beside)
    return f"{OBJECTS}/{folder[:2]}/{name}.dcm"


def _hashed(*identifiers: str) -> str:
    return hashlib.sha256("\0".join(identifiers).encode("utf-8", "surrogatepass")).hexdigest()


def make_spool(root: Path) -> None:
    """Create the spool folder and its marker file if they are missing."""
    temporary = root / _TEMPORARY
    make_folder(temporary)
    if not is_marked(root):
        with durable_file(root / MARKER_NAME, temporary) as file:
            file.write(MARKER_TEXT)


def is_marked(root: Path) -> bool:
    """Return True if the folder holds the marker file. Raises SpoolError if that is unknown."""
    with storage_errors(root):
        try:
            (root / MARKER_NAME).stat()
        except FileNotFoundError:
            return False
    return True


class Spool:
    """Files below one root folder, named by relative POSIX paths.

    Safe to share between threads and processes. Files are 0600 and folders 0700. A file is written
    before the row that names it: its writer holds the shared lock of its folder (`folders_held`)
    until the row is committed. The orphan sweep holds the exclusive lock (`exclusive`).

    A fault of the whole volume raises SpoolUnavailableError, of one file another SpoolError.
    """

    def __init__(self, root: Path, min_free_bytes: int = 0, *, create: bool = True) -> None:
        """Open the spool; `min_free_bytes` stay free on its disk.

        `create` makes a missing spool. Roles of a running daemon do not create it: they cannot
        tell a new spool from an unmounted volume.
        """
        self._root = root.resolve()
        self._min_free_bytes = min_free_bytes
        self._temporary = self._root / _TEMPORARY
        self._durable_folders: set[Path] = set()
        if create:
            make_spool(self._root)

    def path(self, relative: str) -> Path:
        """Return the absolute path. Raises UnsafePathError for a path outside the spool."""
        try:
            absolute = (self._root / relative).resolve()
        except (ValueError, RuntimeError) as error:
            raise UnsafePathError(f"not a path of a spooled file: {relative!r}") from error
        if self._root not in absolute.parents:
            raise UnsafePathError(f"not inside the spool {self._root}: {relative!r}")
        return absolute

    def write(self, relative: str, data: bytes | memoryview) -> StoredFile:
        """Write a file; when this returns it survives a crash of the process or the machine.

        An existing file is replaced in one step. Raises OutOfSpaceError, SpoolError or
        UnsafePathError; then an existing file is unchanged and no partial file is left.
        """
        return self.write_together([(relative, data)])[0]

    def write_together(
        self, files: Sequence[tuple[str, bytes | memoryview]]
    ) -> tuple[StoredFile, ...]:
        """Write several files, synced together; when this returns all survive a crash.

        Each is written as by `write`. After an error some may be written and others not; none is
        partial.
        """
        targets = [self.path(relative) for relative, _ in files]
        sizes = [memoryview(data).nbytes for _, data in files]
        with self._writing():
            self._require_marked()
            self._check_space(sum(sizes))
            for folder in dict.fromkeys((self._temporary, *(path.parent for path in targets))):
                self._prepare_folder(folder)
            write_together(
                [(path, data) for path, (_, data) in zip(targets, files, strict=True)],
                self._temporary,
            )
            # After an unmount the files would lie in the empty folder of the mount point.
            self._require_marked()
        return tuple(
            StoredFile(
                path.relative_to(self._root).as_posix(), size, hashlib.sha256(data).hexdigest()
            )
            for path, size, (_, data) in zip(targets, sizes, files, strict=True)
        )

    def read(self, relative: str, sha256: str) -> bytes:
        """Return the bytes of a file. Raises IntegrityError if it is missing or altered.

        The digest is that of the returned bytes: the file is read once.
        """
        data = self._read(relative, Path.read_bytes)
        self._require_digest(relative, hashlib.sha256(data).hexdigest(), sha256)
        return data

    def verify(self, relative: str, sha256: str) -> None:
        """Raise IntegrityError if a file is missing or altered, without keeping it in memory."""
        self._require_digest(relative, self.digest(relative), sha256)

    def digest(self, relative: str) -> str:
        """Return the SHA-256 of a file. Raises IntegrityError if it is missing."""
        return self._read(relative, file_sha256)

    def size(self, relative: str) -> int:
        """Return the size of a file in bytes. Raises IntegrityError if it is missing."""
        return self._read(relative, lambda path: path.stat().st_size)

    def delete(self, relative: str) -> None:
        """Delete a file; a missing file is not an error."""
        path = self.path(relative)
        with storage_errors(path):
            try:
                path.unlink()
            except FileNotFoundError:
                self._require_marked()

    @contextlib.contextmanager
    def folders_held(self, *relatives: str) -> Iterator[None]:
        """Hold the shared locks of the folders of these files until their rows are committed.

        The files need not exist. Any number of threads and processes may hold a folder; a sweep
        skips it meanwhile.
        """
        with contextlib.ExitStack() as stack:
            for folder in {self.path(relative).parent for relative in relatives}:
                with self._writing(), storage_errors(folder):
                    self._require_marked()
                    self._prepare_folder(folder)
                    stack.enter_context(folder_locked(folder, fcntl.LOCK_SH))
            yield

    @contextlib.contextmanager
    def exclusive(self, relative: str) -> Iterator[bool]:
        """Lock the folder of a file against `folders_held`; yield False if it is in use."""
        folder = self.path(relative).parent
        with contextlib.ExitStack() as stack:
            with storage_errors(folder):
                try:
                    lock = folder_locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    stack.enter_context(lock)
                    is_held = True
                except BlockingIOError:
                    is_held = False
            yield is_held

    def batches(self, area: str, batch_files: int = BATCH_FILES) -> Iterator[tuple[str, ...]]:
        """Yield the paths of the files of one area: RECEIVED, OBJECTS or LOST_AND_FOUND.

        The files of a batch are in one folder. Files that are added or removed meanwhile may be
        missed.
        """
        top = self.path(area)
        with storage_errors(top):
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
                    while batch := tuple(islice(paths, batch_files)):
                        yield batch

    def set_aside(self, relatives: Iterable[str]) -> int:
        """Move received files of one folder to LOST_AND_FOUND; return their number.

        A file that its writer deletes meanwhile is skipped.
        """
        aside = self.path(LOST_AND_FOUND)
        self._require_marked()
        self._prepare_folder(aside)
        moved = []
        with storage_errors(aside):
            for path in map(self.path, relatives):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(path, aside / path.name)  # noqa: PTH105 - the name of the call
                    moved.append(path)
            sync_folder(aside)
            for folder in {path.parent for path in moved}:
                sync_folder(folder)
        return len(moved)

    def sweep_temporary(self) -> int:
        """Delete the temporary files of killed processes; return their number.

        Files of running writers stay.
        """
        with storage_errors(self._temporary):
            self._require_marked()
            self._prepare_folder(self._temporary)
            return sum(remove_if_abandoned(path) for path in self._temporary.iterdir())

    def free_bytes(self) -> int:
        """Return the free bytes of the spool's disk. Raises SpoolError."""
        with storage_errors(self._root):
            return shutil.disk_usage(self._root).free

    def _check_space(self, size: int) -> None:
        free = self.free_bytes()
        if free - size < self._min_free_bytes:
            raise OutOfSpaceError(
                f"{free} bytes free at {self._root}, of which {self._min_free_bytes} are to stay"
                f" free: no room for {size} more; free some, then it is tried again"
            )

    def _prepare_folder(self, folder: Path) -> None:
        """Create a folder if it is missing; sync its name when this process first uses it.

        The caller has found the marker file.
        """
        with storage_errors(folder):
            if folder in self._durable_folders and folder.is_dir():
                return
        make_folder(folder, self._root)
        self._durable_folders.add(folder)

    def _require_digest(self, relative: str, found: str, expected: str) -> None:
        if found != expected:
            path = self.path(relative)
            raise IntegrityError(f"{path} has changed since it was written: restore it")

    def _read(self, relative: str, read: Callable[[Path], _Result]) -> _Result:
        """Return `read(path)`; retry it once after a failure, when the spool can be read.

        A volume may be mounted between the failure and the check of the marker file. Without the
        retry, its files would count as missing.
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
                raise IntegrityError(
                    f"{path} is missing: restore it, or discard the job that needs it"
                ) from error
            raise storage_error(error, path) from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Raise SpoolUnavailableError instead of SpoolError if no file can be written."""
        try:
            yield
        except SpoolUnavailableError:
            raise
        except SpoolError:
            self._require_writable()
            raise

    def _require_marked(self) -> None:
        with self._marker_errors():
            (self._root / MARKER_NAME).stat()

    def _require_readable(self) -> None:
        with self._marker_errors(), (self._root / MARKER_NAME).open("rb") as file:
            # Read from the disk: a cached marker file does not prove that the disk can be read.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            file.read()

    def _require_writable(self) -> None:
        self._require_marked()
        probe = self._temporary / "probe"
        try:
            with durable_file(probe, self._temporary) as file:
                file.write(MARKER_TEXT)
        except SpoolError as error:
            raise SpoolUnavailableError(str(error)) from error
        with storage_errors(probe):
            probe.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _marker_errors(self) -> Iterator[None]:
        """Raise an OSError at the marker file as SpoolUnavailableError."""
        try:
            yield
        except FileNotFoundError as error:
            raise SpoolUnavailableError(
                f"the spool is not at {self._root}, where {MARKER_NAME} is missing: "
                "mount its volume"
            ) from error
        except OSError as error:
            raise SpoolUnavailableError(str(storage_error(error, self._root))) from error


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, as lower-case hexadecimal digits. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
