"""A spool in a folder, local or shared between hosts.

A marker file shows that the spool volume is mounted. Without the marker, reads and writes raise
SpoolUnavailableError, and no file counts as missing.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
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
    file_sha256,
    folder_locked,
    make_folder,
    remove_if_abandoned,
    storage_error,
    storage_errors,
    sync_folder,
    write_together,
)
from storage.files.marker import MARKER_NAME, MARKER_TEXT, Marker
from storage.files.spool import (
    BATCH_FILES,
    LOST_AND_FOUND,
    RECEIVED,
    Spool,
    StoredFile,
)

_Result = TypeVar("_Result")

_TEMPORARY = "tmp"
_PROBE = "health"
_CHUNK = 2**20


class FolderSpool(Spool):
    """Files below one root folder, named by relative POSIX paths.

    Files are 0600 and folders 0700. A writer holds the shared lock of its folder (`folders_held`)
    until the row is committed; the orphan sweep holds the exclusive lock (`exclusive`).
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
        self._expected = ""
        self._seen: tuple[int, ...] = ()
        if create:
            self.make()

    @property
    def place(self) -> str:
        """The folder of the spool."""
        return str(self._root)

    def make(self) -> None:
        """Create the spool folder and its marker file if they are missing."""
        make_folder(self._temporary)
        if not self.is_marked():
            with durable_file(self._root / MARKER_NAME, self._temporary) as file:
                file.write(MARKER_TEXT)

    def is_marked(self) -> bool:
        """Return True if the folder holds the marker file. Raises SpoolError if that is unknown."""
        with storage_errors(self._root):
            return _is_there(self._root / MARKER_NAME)

    def marker(self) -> Marker | None:
        """Return the ids in the marker file; None without one. Raises SpoolError."""
        path = self._root / MARKER_NAME
        with storage_errors(path):
            try:
                return Marker.parse(path.read_bytes())
            except FileNotFoundError:
                return None

    def put_marker(self, marker: Marker, *, replace: bool) -> None:
        """Write the marker file; see `Spool.put_marker`."""
        make_folder(self._temporary)
        path = self._root / MARKER_NAME
        if replace:
            with durable_file(path, self._temporary) as file:
                file.write(marker.text())
            return
        with storage_errors(path), contextlib.suppress(FileExistsError):
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(marker.text())
                file.flush()
                os.fsync(descriptor)
            sync_folder(self._root)

    def expect(self, spool_id: str) -> None:
        """Compare the id in the marker file from now on; see `Spool.expect`."""
        self._expected, self._seen = spool_id, ()

    def look(self) -> str:
        """Return the fault of the spool that is found without a write; empty if there is none."""
        if not self.is_marked():
            return f"no spool at {self._root}: start `cxrd serve` once, or mount its disk"
        free = self.free_bytes()
        if free < self._min_free_bytes:
            least = self._min_free_bytes // 2**20
            return f"{free / 1e6:.0f} MB are free, spool.min_free_mb is {least}"
        if not os.access(self._root, os.W_OK):
            return f"{self._root} cannot be written by this user, or its disk is read-only"
        return ""

    def path(self, relative: str) -> Path:
        """Return the absolute path. Raises UnsafePathError for a path outside the spool."""
        try:
            absolute = (self._root / relative).resolve()
        except (ValueError, RuntimeError) as error:
            raise UnsafePathError(f"not a path of a spooled file: {relative!r}") from error
        if self._root not in absolute.parents:
            raise UnsafePathError(f"not inside the spool {self._root}: {relative!r}")
        return absolute

    def probe(self) -> None:
        """Write and delete a file."""
        self.write(_PROBE, b"cxrd")
        self.delete(_PROBE)

    def address(self, relative: str) -> str:
        """Return the absolute path of a file."""
        return str(self.path(relative))

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

    def chunks(self, relative: str) -> Iterator[bytes]:
        """Yield the bytes of a file in parts. Raises IntegrityError if it is missing."""
        with self._read(relative, lambda path: path.open("rb")) as file:
            while chunk := self._read(relative, lambda _: file.read(_CHUNK)):
                yield chunk

    def verify(self, relative: str, sha256: str) -> None:
        """Raise IntegrityError if a file is missing or altered, without keeping it in memory."""
        self._require_digest(relative, self.digest(relative), sha256)

    def digest(self, relative: str) -> str:
        """Return the SHA-256 of a file. Raises IntegrityError if it is missing."""
        return self._read(relative, file_sha256)

    def size(self, relative: str) -> int:
        """Return the size of a file in bytes. Raises IntegrityError if it is missing."""
        return self._read(relative, lambda path: path.stat().st_size)

    def exists(self, relative: str) -> bool:
        """Return True if a file is there. Raises SpoolError if that is unknown."""
        path = self.path(relative)
        with storage_errors(path):
            return _is_there(path)

    def mark(self, relative: str) -> Hashable | None:
        """Return device, inode, size and time of the last change of a file; None if it is lost."""
        try:
            found = self.path(relative).stat()
        except (OSError, SpoolError):
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns

    def delete(self, relative: str) -> None:
        """Delete a file; a missing file is not an error."""
        path = self.path(relative)
        with storage_errors(path):
            try:
                path.unlink()
            except FileNotFoundError:
                self._require_marked()

    def delete_together(self, relatives: Sequence[str]) -> None:
        """Delete several files, then sync each folder once."""
        for relative in relatives:
            self.delete(relative)
        for folder in {self.path(relative).parent for relative in relatives}:
            with storage_errors(folder), contextlib.suppress(FileNotFoundError):
                sync_folder(folder)

    def retire(self, relatives: Sequence[str]) -> None:
        """Delete the files: `exclusive` keeps writers away."""
        self.delete_together(relatives)

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

    def batches(
        self,
        area: str,
        batch_files: int = BATCH_FILES,
        *,
        settled: bool = False,
    ) -> Iterator[tuple[str, ...]]:
        """Yield the paths of the files of one area, folder by folder."""
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

    def origin(self, aside: str) -> str:
        """Return the path at which a received file of LOST_AND_FOUND was."""
        name = aside.removeprefix(f"{LOST_AND_FOUND}/")
        return f"{RECEIVED}/{name[:2]}/{name}"

    def put_back(self, relatives: Sequence[str]) -> tuple[str, ...]:
        """Move files of LOST_AND_FOUND back to these paths; a file that is there stays as it is."""
        moved = []
        for relative in relatives:
            path = self.path(relative)
            aside = self.path(LOST_AND_FOUND) / path.name
            self._require_marked()
            with storage_errors(path):
                if path.exists() or not aside.exists():
                    continue
                self._prepare_folder(path.parent)
                os.replace(aside, path)  # noqa: PTH105 - the name of the call
                sync_folder(path.parent)
                sync_folder(aside.parent)
            moved.append(relative)
        return tuple(moved)

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
            found = (self._root / MARKER_NAME).stat()
        seen = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        if self._expected and seen != self._seen:
            self._require_readable()
            self._seen = seen

    def _require_readable(self) -> None:
        with self._marker_errors(), (self._root / MARKER_NAME).open("rb") as file:
            # Read from the disk: a cached marker file does not prove that the disk can be read.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            found = Marker.parse(file.read()).spool_id
        if self._expected not in ("", found):
            raise SpoolUnavailableError(
                f"the spool at {self._root} has the id {found or 'of none'}, the store names"
                f" {self._expected}: mount the volume of this store's spool; cxrd waits for it"
            )

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


def _is_there(path: Path) -> bool:
    """Return True if a path exists. Raises OSError if that is unknown."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    return True
