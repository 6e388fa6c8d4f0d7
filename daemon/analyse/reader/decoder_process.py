"""The reader process: reads films outside the analyst's process.

A native decoder can end its process, or never return, on a damaged image. Here that only loses the
image. Requests and outcomes are JSON, and pixels lie in shared memory, so that the analyst
unpickles no data of a reader process.
"""

import contextlib
import fcntl
import mmap
import multiprocessing
import os
import resource
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

import cv2

from daemon.analyse.reader.film_reader import FilmReader
from daemon.analyse.reader.look import look_at
from daemon.analyse.reader.look_messages import send_look
from daemon.analyse.reader.messages import (
    READY,
    LookRequest,
    receive_request,
    send_failure,
    send_out_of_memory,
    send_outcome,
)
from daemon.worker.core_dumps import forbid_core_dumps


@dataclass(frozen=True, slots=True)
class ReaderStart:
    """All that a reader process gets when it starts.

    `reader` is None for a process that only looks at files. `files` and `outcomes` are descriptors
    of shared memory: the bytes that it reads, and the pixels that it writes. `memory_mb` limits the
    memory of one image in MiB, and `seconds` its wall clock time.
    """

    reader: FilmReader | None
    files: Any
    outcomes: Any
    memory_mb: int
    seconds: float


def run_decoder(channel: "Connection[Any, Any]", start: ReaderStart) -> None:
    """Answer requests until the channel closes; the entry point of the process."""
    forbid_core_dumps()
    end_with_parent()
    files, outcomes = start.files.detach(), start.outcomes.detach()
    _limit(start.memory_mb)
    with mmap.mmap(outcomes, 0) as mapped, memoryview(mapped) as pages:
        channel.send_bytes(READY)
        with contextlib.suppress(EOFError, BrokenPipeError):
            while _answer(channel, start, files, pages):
                pass


class InheritedDescriptor:
    """A descriptor that a process inherits with its start; `detach` returns it there.

    Pickled before the start, a `DupFd` would keep a copy open in the parent until a process takes
    it: for ever, if that process dies while it starts.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> tuple[Callable[[Any], Any], tuple[Any]]:
        return _as_received, (DupFd(self._descriptor),)


def _as_received(inherited: Any) -> Any:
    return inherited


def _answer(
    channel: "Connection[Any, Any]", start: ReaderStart, files: int, pages: memoryview
) -> bool:
    """Answer one request. Returns False if this process has to end."""
    request = receive_request(channel)
    # If the parent cannot stop this process, SIGALRM ends it, even in native code.
    signal.setitimer(signal.ITIMER_REAL, 2 * start.seconds)
    try:
        data = os.pread(files, request.length, 0)
        if isinstance(request, LookRequest):
            send_look(channel, look_at(data, request.look), pages)
        else:
            outcome = _reader(start).read(data, request.rules, request.form, request.wanted)
            send_outcome(channel, outcome, pages)
    except MemoryError:
        send_out_of_memory(channel)
        return False
    except Exception as error:  # noqa: BLE001 - one bad image must not stop the reader
        # Only the place is reported, because the text may quote the image's header.
        place = "".join(traceback.format_tb(error.__traceback__))
        send_failure(channel, type(error).__name__, place)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return True


def _reader(start: ReaderStart) -> FilmReader:
    if start.reader is None:
        raise TypeError("this process only looks at files")
    return start.reader


def end_with_parent() -> None:
    """Make the system end this process with its parent, even in native code.

    The parent writes no more to its end of this pipe, so SIGIO can only mean that the pipe closed.
    SIGIO ends a process that does not handle it.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Ctrl-C reaches the whole process group; the parent decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(parent.sentinel, fcntl.F_GETFL)
    fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, flags | os.O_ASYNC)


def _limit(memory_mb: int) -> None:
    """Limit the resources of this process, and keep the output of native code out of the log."""
    cv2.setNumThreads(1)
    silence = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(silence, descriptor)
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_DATA, _data_bytes() + memory_mb * 2**20),
    ):
        _, hard = resource.getrlimit(kind)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (allowed, allowed))


def _data_bytes() -> int:
    """Return the data size of this process before any image, such as stacks and buffers."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[5]
    except OSError:
        return 0
    return int(pages) * resource.getpagesize()
