"""Waits of jobs for a worker, by kind, in files of `data_dir/run`.

    run/waits-HOST-ROLE-NUMBER        the counts of a role, replaced while there are new ones
    run/waits-HOST-ROLE-NUMBER.lock   locked while the role lives

A role goes on from the counts of its last process, so that they never fall. Processes of one role
and host have files of their own.
"""

import contextlib
import json
import logging
import re
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from daemon.worker.waits.histogram import Histogram
from storage.errors import StorageError
from storage.files.durable import make_folder
from storage.files.lock import try_lock
from storage.records import Job, JobKind

log = logging.getLogger("waits")

WRITE_SECONDS = 5.0
_PREFIX = "waits-"
_LARGEST_FILE = 64 * 1024
_MOST_PROCESSES = 64
"""Processes of one role and host that are counted."""


class WaitCounts:
    """Counts the waits of the jobs that a process claims, until the block ends; thread-safe."""

    def __init__(self, folder: Path, role: str) -> None:
        self._folder = folder
        self._role = role
        self._lock = threading.Lock()
        self._waits: dict[JobKind, Histogram] = {}
        self._is_new = False
        self._is_failed = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="waits", daemon=True)
        self._path: Path | None = None
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            self._path = self._free_path()
        except (OSError, StorageError) as error:
            log.warning("the waits of jobs are not counted: %s", error)
        else:
            self._waits = read_file(self._path)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._held.close()

    def add(self, job: Job, wait: timedelta) -> None:
        """Count the wait of a job that was just claimed."""
        with self._lock:
            self._waits.setdefault(job.kind, Histogram()).add(wait.total_seconds())
            self._is_new = True

    def _free_path(self) -> Path:
        """Lock and return the first file that no living process has."""
        make_folder(self._folder)
        for number in range(_MOST_PROCESSES):
            path = self._folder / f"{_PREFIX}{socket.gethostname()}-{self._role}-{number}"
            if self._held.enter_context(try_lock(path.with_name(f"{path.name}.lock"))):
                return path
        raise OSError(f"{self._folder} is in use by {_MOST_PROCESSES} processes")

    def _run(self) -> None:
        while not self._stop.wait(WRITE_SECONDS):
            self._write()
        self._write()

    def _write(self) -> None:
        with self._lock:
            if not self._is_new or self._path is None:
                return
            content = {kind: histogram.plain() for kind, histogram in self._waits.items()}
            self._is_new = False
        part = self._path.with_name(f"{self._path.name}.part")
        try:
            part.write_text(json.dumps(content), encoding="utf-8")
            part.replace(self._path)
        except OSError as error:
            if not self._is_failed:
                log.warning("the waits of jobs cannot be written: %s", error)
            self._is_failed = True
        else:
            self._is_failed = False


def waits_here(folder: Path) -> dict[JobKind, Histogram]:
    """Return the waits that the roles of this host have counted, by kind of job."""
    found: dict[JobKind, Histogram] = {kind: Histogram() for kind in JobKind}
    for path in _files(folder):
        for kind, histogram in read_file(path).items():
            found[kind].add_all(histogram)
    return found


def read_file(path: Path) -> dict[JobKind, Histogram]:
    """Return the counts of a file; none for a file that is missing or of another version."""
    try:
        with path.open(encoding="utf-8") as file:
            content = json.loads(file.read(_LARGEST_FILE))
        return {JobKind(kind): Histogram.of_plain(plain) for kind, plain in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _files(folder: Path) -> Iterator[Path]:
    here = re.compile(rf"{_PREFIX}{re.escape(socket.gethostname())}-[a-z]+-\d+")
    for path in sorted(folder.glob(f"{_PREFIX}*")):
        if here.fullmatch(path.name):
            yield path
