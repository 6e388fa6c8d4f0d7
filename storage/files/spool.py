"""The spool: DICOM files, each written once and completely, named by relative POSIX paths.

A spool is a folder (`FolderSpool`) or a bucket of an S3 service (`S3Spool`); `open_spool` in
`storage.files.places` makes one. A marker shows that the spool is there: without it, reads raise
SpoolUnavailableError, and no file counts as missing.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from storage.files.marker import Marker

RECEIVED = "received"
OBJECTS = "objects"
LOST_AND_FOUND = "lost+found"
BATCH_FILES = 500


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of the spool; `path` is relative to the spool, `size` is in bytes."""

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


class Spool(ABC):
    """Files named by relative POSIX paths. Safe to share between threads and processes.

    A file is written before the row that names it: its writer holds `folders_held` until the row is
    committed. The orphan sweep uses `exclusive`, `batches(settled=True)` and `retire`.

    A fault of the whole spool raises SpoolUnavailableError, of one file another SpoolError.
    """

    @property
    @abstractmethod
    def place(self) -> str:
        """The folder or URL of the spool, for people."""

    @abstractmethod
    def address(self, relative: str) -> str:
        """Return the absolute path or URL of a file. Raises UnsafePathError if it is outside."""

    @abstractmethod
    def make(self) -> None:
        """Create the spool and its marker if they are missing."""

    @abstractmethod
    def is_marked(self) -> bool:
        """Return True if the spool has its marker. Raises SpoolError if that is unknown."""

    @abstractmethod
    def marker(self) -> Marker | None:
        """Return the ids in the marker; None without a marker. Raises SpoolError."""

    @abstractmethod
    def put_marker(self, marker: Marker, *, replace: bool) -> None:
        """Write the marker, durably, and create the spool if it is missing. Raises SpoolError.

        Without `replace` a marker that is there stays as it is: of two hosts that write one at the
        same time, one does.
        """

    @abstractmethod
    def expect(self, spool_id: str) -> None:
        """Take the spool for unavailable from now on while its marker has another id.

        With an empty text any marker is accepted.
        """

    def identity(self) -> str | None:
        """Return the id in the marker; None without one. Raises SpoolError."""
        marker = self.marker()
        return (marker and marker.spool_id) or None

    def is_empty(self) -> bool:
        """Return True if the spool holds neither received files nor objects. Raises SpoolError."""
        return not any(True for area in (RECEIVED, OBJECTS) for _ in self.batches(area, 1))

    @abstractmethod
    def look(self) -> str:
        """Return the fault of the spool that is found without a write; empty if there is none.

        Raises SpoolError.
        """

    @abstractmethod
    def free_bytes(self) -> int | None:
        """Return the bytes that can still be written; None if unknown. Raises SpoolError."""

    @abstractmethod
    def probe(self) -> None:
        """Write and delete a file: only that detects quotas and read-only disks.

        Raises OutOfSpaceError or SpoolError.
        """

    def write(self, relative: str, data: bytes | memoryview) -> StoredFile:
        """Write a file; when this returns it survives a crash of the process or the machine.

        An existing file is replaced in one step. Raises OutOfSpaceError, SpoolError or
        UnsafePathError; then an existing file is unchanged and no partial file is left.
        """
        return self.write_together([(relative, data)])[0]

    @abstractmethod
    def write_together(
        self, files: Sequence[tuple[str, bytes | memoryview]]
    ) -> tuple[StoredFile, ...]:
        """Write several files; when this returns all survive a crash.

        Each is written as by `write`. After an error some may be written and others not; none is
        partial.
        """

    @abstractmethod
    def read(self, relative: str, sha256: str) -> bytes:
        """Return the bytes of a file. Raises IntegrityError if it is missing or altered.

        The digest is that of the returned bytes: the file is read once.
        """

    @abstractmethod
    def chunks(self, relative: str) -> Iterator[bytes]:
        """Yield the bytes of a file in parts. Raises IntegrityError if it is missing."""

    @abstractmethod
    def verify(self, relative: str, sha256: str) -> None:
        """Raise IntegrityError if a file is missing or altered, without keeping it in memory."""

    @abstractmethod
    def digest(self, relative: str) -> str:
        """Return the SHA-256 of a file. Raises IntegrityError if it is missing."""

    @abstractmethod
    def size(self, relative: str) -> int:
        """Return the size of a file in bytes. Raises IntegrityError if it is missing."""

    @abstractmethod
    def exists(self, relative: str) -> bool:
        """Return True if a file is there. Raises SpoolError if that is unknown."""

    @abstractmethod
    def mark(self, relative: str) -> Hashable | None:
        """Return a value that changes with every write of the file; None if it cannot be read."""

    @abstractmethod
    def delete(self, relative: str) -> None:
        """Delete a file; a missing file is not an error."""

    @abstractmethod
    def delete_together(self, relatives: Sequence[str]) -> None:
        """Delete several files; when this returns they are gone after a crash, too."""

    @abstractmethod
    def retire(self, relatives: Sequence[str]) -> None:
        """Delete files that no row names, and that a writer may be writing again just now.

        The caller holds `exclusive` of their folder.
        """

    @abstractmethod
    def folders_held(self, *relatives: str) -> AbstractContextManager[None]:
        """Keep the sweep from these files, which the block writes, until their rows are committed.

        The files need not exist. Any number of threads and processes may hold a folder.
        """

    @abstractmethod
    def exclusive(self, relative: str) -> AbstractContextManager[bool]:
        """Lock the folder of a file against `folders_held`; yield False if it is in use."""

    @abstractmethod
    def batches(
        self, area: str, batch_files: int = BATCH_FILES, *, settled: bool = False
    ) -> Iterator[tuple[str, ...]]:
        """Yield the paths of the files of one area: RECEIVED, OBJECTS or LOST_AND_FOUND.

        The files of a batch are in one folder. Files that are added or removed meanwhile may be
        missed. `settled` leaves out files that a writer may be about to record.
        """

    @abstractmethod
    def set_aside(self, relatives: Iterable[str]) -> int:
        """Move received files of one folder to LOST_AND_FOUND; return their number.

        A file that its writer deletes meanwhile is skipped.
        """

    @abstractmethod
    def origin(self, aside: str) -> str:
        """Return the path at which a file of LOST_AND_FOUND was."""

    @abstractmethod
    def put_back(self, relatives: Sequence[str]) -> tuple[str, ...]:
        """Move files of LOST_AND_FOUND back to these paths, and return those that were moved.

        A file that is at its path stays as it is.
        """

    @abstractmethod
    def sweep_temporary(self) -> int:
        """Delete what killed writers left unfinished; return the number.

        Files of running writers stay.
        """


def holds_received_files(spool: Spool) -> bool:
    """Return True if the spool has a received file. Raises SpoolError if that is unknown."""
    return next(spool.batches(RECEIVED, 1), None) is not None
