"""A spool in a bucket of an S3 service.

A file is one object. It is durable when the service has answered the PUT, whose signature covers
the SHA-256 of the bytes: the service refuses bytes that changed on their way. A reader compares the
digest of the row.

No lock keeps the sweep of one host from the file that a writer of another host is about to record.
Time and a second look take its place, and nothing that a row names can be lost:

1. A sweep takes only objects that no row names and that are older than GRACE_SECONDS, both by the
   clock of the service (LastModified and the Date of its answer). So the clock of a host does not
   matter. A writer that commits its row within the grace is never met.
2. The sweep deletes nothing at once. It copies the object to LOST_AND_FOUND, under its whole path,
   and deletes the first copy. A reader that finds no object at a path looks there, so that a row
   committed meanwhile still has its file.
3. The sweep then asks for the rows again, and puts back a file that now has one. If it is killed
   before that, the next sweep puts the file back.
4. A sweep deletes a made object of LOST_AND_FOUND after a further grace if still no row names it;
   received files stay there. So an object written again while it was moved is kept, too: its row is
   committed, or its writer is late.
5. A late writer, that took more than half the grace from the start of its PUT to the commit, looks
   for its file after the commit and writes it again if it is gone. Only then it acknowledges.

A purge removes made objects in the same way, because a worker may make an object again under the
same path. A received file has a path of its own, and is deleted at once.
"""

import contextlib
import functools
import hashlib
import os
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from storage.errors import IntegrityError, SpoolUnavailableError, UnsafePathError
from storage.files.marker import MARKER_NAME, Marker
from storage.files.s3.client import (
    MissingObjectError,
    ObjectExistsError,
    S3Client,
    at_once,
    server_time,
)
from storage.files.s3.place import S3Place
from storage.files.s3.upload import abort_abandoned, put
from storage.files.spool import (
    BATCH_FILES,
    LOST_AND_FOUND,
    Spool,
    StoredFile,
)

GRACE_SECONDS = 3600.0
"""Age of an object that a sweep may take. An image is recorded within seconds of its PUT."""
UPLOAD_SECONDS = 24 * 3600.0
"""Age of an unfinished upload that a sweep aborts: the largest image is written much sooner."""
PROBE_SECONDS = 2.0
"""Time limit of a probe, for which a page waits."""
_PAGE = 1000

MARKER_SECONDS = 60.0
"""Time for which the marker is not compared again before a write."""

_Result = TypeVar("_Result")


def _uptime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(slots=True)
class _Hold:
    """The files written in one `folders_held`, and the time before the first of them."""

    began: float
    written: dict[str, bytes] = field(default_factory=dict)


class S3Spool(Spool):
    """Files as objects of a bucket, below a prefix. Safe to share between threads."""

    def __init__(
        self,
        place: S3Place,
        *,
        grace_seconds: float = GRACE_SECONDS,
        upload_seconds: float = UPLOAD_SECONDS,
        clock: Callable[[], float] = _uptime,
    ) -> None:
        """Open the spool without a request. `clock` also counts while the host sleeps."""
        self._place = place
        self._root = f"{place.prefix}/" if place.prefix else ""
        self._client = S3Client(place)
        self._prober = S3Client(place, timeout_seconds=PROBE_SECONDS, retry_seconds=0)
        self._grace = grace_seconds
        self._upload_age = upload_seconds
        self._clock = clock
        self._local = threading.local()
        self._expected = ""
        self._compare_at = 0.0

    @property
    def place(self) -> str:
        """The URL of the spool."""
        return str(self._place)

    def close(self) -> None:
        """Close the connections of this process; the next request opens new ones."""
        self._client.close()
        self._prober.close()

    def address(self, relative: str) -> str:
        """Return the URL of a file."""
        return f"s3://{self._place.bucket}/{self._key(relative)}"

    def make(self) -> None:
        """Write the marker if it is missing. The bucket must be there."""
        if not self.is_marked():
            self.put_marker(Marker(), replace=False)

    def is_marked(self) -> bool:
        """Return True if the bucket has the marker."""
        return self.marker() is not None

    def marker(self) -> Marker | None:
        """Return the ids in the marker; None if the bucket has none."""
        return self._marker(self._client)

    def put_marker(self, marker: Marker, *, replace: bool) -> None:
        """Write the marker; without `replace` the service itself keeps one that is there."""
        only_new = {} if replace else {"IfNoneMatch": "*"}
        with contextlib.suppress(ObjectExistsError):
            self._client.call(
                "put_object", Key=self._key(MARKER_NAME), Body=marker.text(), **only_new
            )

    def expect(self, spool_id: str) -> None:
        """Compare the id in the marker from now on: before a write, and if a file is missing."""
        self._expected, self._compare_at = spool_id, 0.0

    def look(self) -> str:
        """Return the fault that reading the marker finds; empty if there is none."""
        if self._marker(self._prober) is None:
            return f"no spool at {self._place}: start `cxrd serve` once, or correct spool.url"
        return ""

    def free_bytes(self) -> None:
        """Return None: an S3 service does not say what is left of a quota."""
        return

    def probe(self) -> None:
        """Write and delete an object, in a short time."""
        key = self._key(f"probe/{os.urandom(8).hex()}")
        self._prober.call("put_object", Key=key, Body=b"cxrd")
        self._prober.call("delete_object", Key=key)

    def write_together(
        self, files: Sequence[tuple[str, bytes | memoryview]]
    ) -> tuple[StoredFile, ...]:
        """Write several files at once; the service has them all when this returns."""
        contents = [(relative, self._key(relative), bytes(data)) for relative, data in files]
        if self._expected and self._clock() >= self._compare_at:
            self._require_expected()
            self._compare_at = self._clock() + MARKER_SECONDS
        hold: _Hold | None = getattr(self._local, "hold", None)
        if hold is not None:
            # Noted first: after an error the object may be there all the same.
            hold.written |= {relative: data for relative, _, data in contents}

        def write(file: tuple[str, str, bytes]) -> StoredFile:
            relative, key, data = file
            digest = hashlib.sha256(data)
            put(self._client, key, data, digest.digest(), self._place.part_bytes)
            return StoredFile(relative, len(data), digest.hexdigest())

        return tuple(at_once(write, contents))

    def read(self, relative: str, sha256: str) -> bytes:
        """Return the bytes of a file; bytes with another digest are read once more."""
        for _ in range(2):
            data = self._get(relative, self._client.read)
            if hashlib.sha256(data).hexdigest() == sha256:
                return data
        raise self._altered(relative)

    def chunks(self, relative: str) -> Iterator[bytes]:
        """Yield the bytes of a file in parts, each by a request of its own."""
        start, size = 0, self.size(relative)
        while start < size:
            part = f"bytes={start}-{min(start + self._place.part_bytes, size) - 1}"
            data = self._get(relative, functools.partial(self._client.read, part=part))
            if not data:
                return
            yield data
            start += len(data)

    def verify(self, relative: str, sha256: str) -> None:
        """Raise IntegrityError if a file is missing or altered; it is read in parts."""
        if all(self.digest(relative) != sha256 for _ in range(2)):
            raise self._altered(relative)

    def digest(self, relative: str) -> str:
        """Return the SHA-256 of a file. Raises IntegrityError if it is missing."""
        digest = hashlib.sha256()
        for chunk in self.chunks(relative):
            digest.update(chunk)
        return digest.hexdigest()

    def size(self, relative: str) -> int:
        """Return the size of a file in bytes. Raises IntegrityError if it is missing."""
        return int(self._get(relative, self._client.head)["ContentLength"])

    def exists(self, relative: str) -> bool:
        """Return True if a file is there. Raises SpoolUnavailableError if that is unknown."""
        try:
            self._found(relative, self._client.head)
        except MissingObjectError:
            # The answer to a HEAD does not tell a missing bucket from a missing object.
            self.marker()
            return False
        return True

    def mark(self, relative: str) -> Hashable | None:
        """Return ETag and time of an object; None if it cannot be read."""
        try:
            found = self._found(relative, self._client.head)
        except (MissingObjectError, SpoolUnavailableError, UnsafePathError):
            return None
        return found["ETag"], found["LastModified"]

    def delete(self, relative: str) -> None:
        """Delete a file; a missing file is not an error."""
        hold: _Hold | None = getattr(self._local, "hold", None)
        if hold is not None:
            hold.written.pop(relative, None)
        self._client.remove(self._key(relative))

    def delete_together(self, relatives: Sequence[str]) -> None:
        """Delete several files at once.

        One request deletes one object: the request for many needs a checksum of which services
        know different kinds.
        """
        at_once(self.delete, relatives)

    def retire(self, relatives: Sequence[str]) -> None:
        """Move files to LOST_AND_FOUND, from where a later sweep deletes them or puts them back."""
        self.set_aside(relatives)

    @contextlib.contextmanager
    def folders_held(self, *relatives: str) -> Iterator[None]:
        """Keep the files that the block writes; look for them at its end if that took long.

        Raises OutOfSpaceError or SpoolUnavailableError if a file is gone and cannot be written
        again.
        """
        outer: _Hold | None = getattr(self._local, "hold", None)
        hold = self._local.hold = _Hold(self._clock())
        try:
            yield
        finally:
            self._local.hold = outer
        if self._clock() - hold.began > self._grace / 2:
            for relative, data in hold.written.items():
                if not self._is_at(relative):
                    self.write(relative, data)

    @contextlib.contextmanager
    def exclusive(self, relative: str) -> Iterator[bool]:
        """Yield True: no lock is needed, as this module says."""
        yield True

    def batches(
        self, area: str, batch_files: int = BATCH_FILES, *, settled: bool = False
    ) -> Iterator[tuple[str, ...]]:
        """Yield the paths of the files of one area, page by page of the bucket's list.

        `settled` leaves out objects younger than the grace, by the clock of the service.
        """
        for page in self._client.pages(f"{self._root}{area}/", min(batch_files, _PAGE)):
            until = server_time(page) - timedelta(seconds=self._grace if settled else 0)
            found = tuple(
                item["Key"].removeprefix(self._root)
                for item in page.get("Contents", ())
                if not settled or item["LastModified"] < until
            )
            if found:
                yield found

    def set_aside(self, relatives: Iterable[str]) -> int:
        """Move files to LOST_AND_FOUND, each under its whole path; return their number."""
        return sum(
            at_once(
                lambda path: self._move(self._key(path), self._aside_key(path)), list(relatives)
            )
        )

    def origin(self, aside: str) -> str:
        """Return the path at which a file of LOST_AND_FOUND was."""
        return aside.removeprefix(f"{LOST_AND_FOUND}/")

    def put_back(self, relatives: Sequence[str]) -> tuple[str, ...]:
        """Move files of LOST_AND_FOUND back; a second copy of a file that is there is deleted."""

        def move(relative: str) -> bool:
            if self._is_at(relative):
                self._client.remove(self._aside_key(relative))
                return True
            return self._move(self._aside_key(relative), self._key(relative))

        moved = at_once(move, relatives)
        return tuple(path for path, is_moved in zip(relatives, moved, strict=True) if is_moved)

    def sweep_temporary(self) -> int:
        """Abort the uploads in parts that killed writers left; return their number."""
        return abort_abandoned(self._client, self._root, timedelta(seconds=self._upload_age))

    def _key(self, relative: str) -> str:
        """Return the key of a path. Raises UnsafePathError for a path that leaves the spool."""
        parts = relative.split("/")
        if "\0" in relative or not {"", ".", ".."}.isdisjoint(parts):
            raise UnsafePathError(f"not a path of a spooled file: {relative!r}")
        return self._root + relative

    def _aside_key(self, relative: str) -> str:
        return self._key(f"{LOST_AND_FOUND}/{relative}")

    def _marker(self, client: S3Client) -> Marker | None:
        try:
            return Marker.parse(client.read(self._key(MARKER_NAME)))
        except MissingObjectError:
            return None

    def _require_expected(self) -> None:
        """Raise SpoolUnavailableError unless the bucket has the marker of this spool."""
        marker = self.marker()
        if marker is None:
            raise SpoolUnavailableError(
                f"the spool is not at {self._place}, where {MARKER_NAME} is missing: "
                "correct spool.url"
            )
        if self._expected not in ("", marker.spool_id):
            raise SpoolUnavailableError(
                f"the spool at {self._place} has the id {marker.spool_id or 'of none'}, the store"
                f" names {self._expected}: correct spool.url; cxrd waits for it"
            )

    def _get(self, relative: str, ask: Callable[[str], _Result]) -> _Result:
        """Return `ask(key)` of a file. Raises IntegrityError if it is missing."""
        try:
            return self._found(relative, ask)
        except MissingObjectError as error:
            # A wrong bucket or prefix has no file at all, and not this marker either.
            self._require_expected()
            raise IntegrityError(
                f"{self.address(relative)} is missing: restore it, or discard the job that needs it"
            ) from error

    def _found(self, relative: str, ask: Callable[[str], _Result]) -> _Result:
        """Return `ask(key)` of a file, or else of its copy in LOST_AND_FOUND.

        A sweep may put a file back between the two requests, so the first is made once more.
        """
        key = self._key(relative)
        for place in (key, self._aside_key(relative)):
            with contextlib.suppress(MissingObjectError):
                return ask(place)
        return ask(key)

    def _is_at(self, relative: str) -> bool:
        """Return True if a file is at its own place."""
        try:
            self._client.head(self._key(relative))
        except MissingObjectError:
            return False
        return True

    def _move(self, key: str, target: str) -> bool:
        """Copy an object, then delete it; return False if it is gone, or the copy took too long."""
        began = self._clock()
        try:
            self._client.copy(key, target)
        except MissingObjectError:
            return False
        # A host that slept meanwhile must not delete what was written again: by now another sweep
        # may have removed the copy.
        if self._clock() - began > self._grace / 4:
            return False
        self._client.remove(key)
        return True

    def _altered(self, relative: str) -> IntegrityError:
        return IntegrityError(
            f"{self.address(relative)} has changed since it was written: restore it"
        )
