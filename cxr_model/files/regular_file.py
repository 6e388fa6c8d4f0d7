"""Reads a file that is what it claims to be: regular, not too large, and in its folder."""

import os
import stat
from pathlib import Path

from cxr_model.errors import ModelError, first_line

MB = 1_000_000


def read_regular(path: Path, limit: int, error: type[ModelError]) -> bytes:
    """Return the bytes of a regular file of at most `limit` bytes; links to one are followed.

    The file is opened without waiting, so that a FIFO without a writer cannot stop the caller.
    Raises `error`, in one line, for a missing or larger file and for any other kind of file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as cause:
        raise error(f"no file {path}") from cause
    except (OSError, ValueError) as cause:
        raise error(f"{path} cannot be read: {_reason(cause)}") from cause
    try:
        _require_regular(path, os.fstat(descriptor), limit, error)
        return _read(path, descriptor, limit, error)
    except OSError as cause:
        raise error(f"{path} cannot be read: {_reason(cause)}") from cause
    finally:
        os.close(descriptor)


def read_inside(folder: Path, name: str, limit: int, error: type[ModelError]) -> bytes:
    """Return the bytes of file `name` of `folder` as `read_regular` does; no link leads out.

    Raises `error` if the file is a link to another folder.
    """
    try:
        real, home = (folder / name).resolve(strict=True), folder.resolve(strict=True)
    except FileNotFoundError as cause:
        raise error(f"the bundle has no {name}: {folder} is incomplete") from cause
    except (OSError, ValueError, RuntimeError) as cause:
        raise error(f"{folder / name} cannot be read: {_reason(cause)}") from cause
    if real.parent != home:
        raise error(f"{name} is a link out of its folder {folder}: copy the file into the folder")
    return read_regular(real, limit, error)


def _require_regular(
    path: Path, status: os.stat_result, limit: int, error: type[ModelError]
) -> None:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise error(f"{path} is {kinds.get(kind, 'not a file')}, not a regular file")
    if status.st_size > limit:
        raise _too_large(path, limit, error)


def _read(path: Path, descriptor: int, limit: int, error: type[ModelError]) -> bytes:
    # Files of /proc have size 0, and a file may grow while it is read.
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise _too_large(path, limit, error)
    return data


def _too_large(path: Path, limit: int, error: type[ModelError]) -> ModelError:
    return error(f"{path} is larger than {limit / MB:g} MB, the most that is read of such a file")


def _reason(cause: Exception) -> str:
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return first_line(cause)
