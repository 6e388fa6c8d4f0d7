"""Resources of the daemon's processes, and small file systems to fill."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from storage.files.marker import MARKER_NAME
from tests.servers.running import RunningDaemon


@dataclass(frozen=True, slots=True)
class Holdings:
    """Threads, open files and resident bytes of a process.

    The open files of a role, which is not dumpable, are shown to root only; else they count as 0.
    """

    threads: int
    files: int
    resident: int


def holdings(process: int) -> Holdings:
    folder = Path(f"/proc/{process}")
    pages = int((folder / "statm").read_text(encoding="ascii").split()[1])
    is_open = os.access(folder / "fd", os.R_OK)
    return Holdings(
        len(list((folder / "task").iterdir())),
        len(list((folder / "fd").iterdir())) if is_open else 0,
        pages * os.sysconf("SC_PAGE_SIZE"),
    )


def deaths(daemon: RunningDaemon) -> list[str]:
    """Return the lines of the log that report an internal fault."""
    bad = ("Traceback", "restarting in", "Exception", "ResourceWarning")
    return [line for line in daemon.log.splitlines() if any(word in line for word in bad)]


def spooled(daemon: RunningDaemon) -> set[str]:
    """Return the paths of all files in the spool, relative to it."""
    root = daemon.data / "spool"
    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    return files - {MARKER_NAME}


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a file system at `folder`; skip the test if it cannot be mounted."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        pytest.skip(f"no file system can be mounted here: {said.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, leave_bytes: int = 0) -> Path:
    """Fill a disk up to `leave_bytes` and return the file to delete to free it."""
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while (free := os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize) > leave_bytes:
            file.write(bytes(min(1 << 20, free - leave_bytes)))
    return ballast


def threads_of_connections() -> list[threading.Thread]:
    """Return the threads of a node's connections, of which each has two."""
    names = ("AcceptedAssociation", "UpperLayer")
    return [one for one in threading.enumerate() if type(one).__name__ in names]


def children_of(parent: int) -> set[int]:
    """Return the decoder processes of a process, without multiprocessing's resource tracker."""
    listed = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line.split(None, 1) for line in listed.stdout.splitlines()]
    return {int(pid) for pid, command in lines if "spawn_main" in command}
