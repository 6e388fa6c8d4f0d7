"""Fault points: places where a test can kill a process of the daemon.

`install` puts a point before and after every write, fsync, rename, unlink and mkdir below the data
folder, every commit that changed a row, every request to S3 that changes an object, and every
DIMSE message sent. It wraps the functions that the product calls. The name of a point is role,
action and place: `listener: fsync file spool/tmp`.

The folder `FAULT_DIR` holds `passed`, a list of the points passed with their times; `armed/`, a
file per armed point with the signal to send; and `killed`, a list of the points that killed.
"""

import hashlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

FOLDER = "FAULT_DIR"
ROOT = "FAULT_ROOT"
FORKS = "FAULT_FORKS"
BEFORE, AFTER = "before", "after"
SENT_SECONDS = 0.1

_lock = threading.RLock()
_inside = threading.local()


def role() -> str:
    name = multiprocessing.current_process().name
    return name.removeprefix("cxrd-") if name.startswith("cxrd-") else "supervisor"


def armed_file(folder: Path, point: str, when: str) -> Path:
    return folder / "armed" / hashlib.sha256(f"{point}|{when}".encode()).hexdigest()


class _Points:
    """The points of this process."""

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder = folder
        self._root = root
        self._open, self._rename = os.open, os.rename

    def around(self, name: str, work: Callable[[], Any], drain: Callable[[], Any] = bool) -> Any:
        """Do the work of a point; kill the process before or after it if the point is armed.

        A point inside another point is part of it.
        """
        if getattr(_inside, "point", False):
            return work()
        point = f"{role()}: {name}"
        _inside.point = True
        try:
            self._pass(point, BEFORE)
            result = work()
            self._pass(point, AFTER, drain)
        finally:
            _inside.point = False
        return result

    def _pass(self, point: str, when: str, drain: Callable[[], Any] = bool) -> None:
        if when == BEFORE:
            self._note("passed", f"{time.time()}\t{point}")
        armed = armed_file(self._folder, point, when)
        with _lock:
            if not armed.exists() or not self._is_due(armed):
                return
            drain()
            self._note("killed", f"{time.time()}\t{point}\t{when}")
            os.kill(os.getpid(), self._signal(armed))

    def _is_due(self, armed: Path) -> bool:
        """Return True if this process disarms the point first; only one process is killed."""
        try:
            self._rename(armed, armed.with_suffix(f".{os.getpid()}"))
        except FileNotFoundError:
            return False
        return True

    def _signal(self, armed: Path) -> signal.Signals:
        return signal.Signals(int(armed.with_suffix(f".{os.getpid()}").read_text()))

    def _note(self, name: str, line: str) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        descriptor = self._open(self._folder / name, flags, 0o600)
        try:
            os.write(descriptor, f"{line}\n".encode())
        finally:
            os.close(descriptor)

    def place(self, path: Any) -> str | None:
        """Return the first two folders of a path, or None outside of the data folder.

        The files of `run` have random names: their place is the folder.
        """
        if isinstance(path, int):
            path = Path(f"/proc/self/fd/{path}").readlink()
        try:
            inside = Path(os.fsdecode(path)).relative_to(self._root)
        except (TypeError, ValueError):
            return None
        return "/".join(inside.parts[: 1 if inside.parts[:1] == ("run",) else 2]) or "."


def install() -> None:
    """Install the points if the environment names the folder."""
    if FOLDER not in os.environ:
        return
    points = _Points(Path(os.environ[FOLDER]), Path(os.environ[ROOT]))
    _wrap_files(points)
    _wrap_commits(points)
    _wrap_objects(points)
    _wrap_messages(points)


class _Written:
    """A file whose writes are points."""

    def __init__(self, file: Any, points: _Points, place: str) -> None:
        self._file = file
        self._points = points
        self._place = place

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        half = len(view) // 2
        for name, part in (("write", view[:half]), ("write the rest", view[half:])):
            self._points.around(f"{name} {self._place}", partial(self._put, part))
        return len(view)

    def _put(self, part: memoryview) -> None:
        self._file.write(part)
        self._file.flush()

    def __enter__(self) -> "_Written":
        self._file.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self._file.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _wrap_files(points: _Points) -> None:
    def wrapped(name: str, said: Callable[..., str | None]) -> None:
        real = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            point = said(*arguments, **options)
            if point is None:
                return real(*arguments, **options)
            return points.around(point, lambda: real(*arguments, **options))

        setattr(os, name, call)

    def named(verb: str, path: Any) -> str | None:
        place = points.place(path)
        return None if place is None else f"{verb} {place}"

    def synced(descriptor: int) -> str | None:
        is_folder = Path(f"/proc/self/fd/{descriptor}").is_dir()
        return named("fsync folder" if is_folder else "fsync file", descriptor)

    wrapped("fsync", synced)
    wrapped("replace", lambda source, target, **_: named("rename to", target))
    wrapped("unlink", lambda path, **_: named("unlink", path))
    wrapped("mkdir", lambda path, *_, **__: named("make folder", path))
    wrapped(
        "open",
        lambda path, flags, *_, **__: named("create", path) if flags & os.O_CREAT else None,
    )
    real_fdopen = os.fdopen

    def fdopen(descriptor: int, *arguments: Any, **options: Any) -> Any:
        file = real_fdopen(descriptor, *arguments, **options)
        place = points.place(descriptor)
        return file if place is None else _Written(file, points, place)

    os.fdopen = fdopen  # type: ignore[assignment]


def _wrap_commits(points: _Points) -> None:
    from sqlalchemy.engine.default import DefaultDialect

    real: Any = DefaultDialect.do_commit

    def do_commit(self: Any, dbapi_connection: Any) -> None:
        if _has_changes(dbapi_connection):
            points.around(f"commit {_caller()}", lambda: real(self, dbapi_connection))
        else:
            real(self, dbapi_connection)

    DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]


def _has_changes(connection: Any) -> bool:
    """Return True if the transaction of a connection changed a row."""
    if hasattr(connection, "total_changes"):
        changes, before = connection.total_changes, connection.info.get("changes", 0)
        connection.info["changes"] = changes
        return bool(changes != before)
    from psycopg.pq import TransactionStatus

    server = connection.driver_connection
    if server.info.transaction_status != TransactionStatus.INTRANS:
        return False
    asked = server.execute("SELECT pg_current_xact_id_if_assigned()")
    return asked.fetchone()[0] is not None


def _wrap_objects(points: _Points) -> None:
    from storage.files.s3.client import S3Client

    real = S3Client.call

    def call(self: S3Client, operation: str, **arguments: Any) -> dict[str, Any]:
        work = partial(real, self, operation, **arguments)
        if operation.startswith(("get", "head", "list")):
            return work()
        answer: dict[str, Any] = points.around(f"S3 {operation}", work)
        return answer

    S3Client.call = call  # type: ignore[method-assign]


def _caller() -> str:
    """Return the file and the function of the transaction, such as `jobs.claim`."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("storage.") and module != "storage.tables.database":
            return f"{module.rpartition('.')[2]}.{frame.f_code.co_name}"
        frame = frame.f_back
    return "elsewhere"


def _wrap_messages(points: _Points) -> None:
    from pynetdicom.dimse import DIMSEServiceProvider

    real: Any = DIMSEServiceProvider.send_msg

    def send_msg(self: Any, primitive: Any, context_id: int) -> None:
        kind = "RQ" if primitive.MessageIDBeingRespondedTo is None else "RSP"

        def drained() -> None:
            deadline = time.monotonic() + 2.0
            while not self.dul.to_provider_queue.empty() and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(SENT_SECONDS)

        points.around(
            f"send {type(primitive).__name__}_{kind}",
            lambda: real(self, primitive, context_id),
            drained,
        )

    DIMSEServiceProvider.send_msg = send_msg  # type: ignore[method-assign]
