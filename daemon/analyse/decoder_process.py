"""A process that reads objects and may die of one: the only place where pixels are decoded.

A native decoder can end its process, or never return, on a damaged image; here that costs the
image and nothing else. Questions and answers are JSON and plain bytes: nothing that comes out of
a reader is unpickled.
"""

import contextlib
import dataclasses
import fcntl
import json
import multiprocessing
import os
import resource
import signal
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from daemon.analyse.gate_and_decode import Film, Refusal, gate_and_decode
from dicom_io.gate.header_check import Rules
from dicom_io.gate.reasons import Reason
from dicom_io.read.orientation import Pose

READY = b"ready"

LARGEST_SIDE = 65535
"""Rows and Columns are of VR US (PS3.3 C.7.6.3)."""


class OutOfMemoryError(Exception):
    """The reader's answer to an image that needs more memory than it may have."""


class UnexpectedError(Exception):
    """The reader's answer to an image that ran into a fault of ours: its type, and its place."""

    def __init__(self, kind: str, place: str) -> None:
        super().__init__(kind)
        self.place = place


def run_decoder(channel: "Connection[Any, Any]", memory_mb: int, seconds: float) -> None:
    """Entry point: answer questions until the channel closes, the parent dies or an image kills."""
    _end_with_parent()
    _limit(memory_mb)
    channel.send_bytes(READY)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            rules = Rules(**json.loads(channel.recv_bytes()))
            # Should the parent not be there to stop it: the default of SIGALRM ends the process,
            # whatever native code is at work.
            signal.setitimer(signal.ITIMER_REAL, 2 * seconds)
            try:
                send_outcome(channel, gate_and_decode(channel.recv_bytes(), rules))
            except MemoryError:
                channel.send_bytes(json.dumps({"out_of_memory": True}).encode())
                return
            except Exception as error:  # noqa: BLE001 - one bad image must not stop the reader
                # The text may quote the image's header: of it, only the place is told.
                place = "".join(traceback.format_tb(error.__traceback__))
                answer = {"unexpected": type(error).__name__, "place": place}
                channel.send_bytes(json.dumps(answer).encode())
            signal.setitimer(signal.ITIMER_REAL, 0)


def send_question(channel: "Connection[Any, Any]", data: bytes, rules: Rules) -> None:
    """Ask a reader about an object."""
    channel.send_bytes(json.dumps(dataclasses.asdict(rules)).encode())
    channel.send_bytes(data)


def send_outcome(channel: "Connection[Any, Any]", outcome: Film | Refusal) -> None:
    """Answer a question: whole, or not at all where memory runs out on the way to it."""
    if isinstance(outcome, Refusal):
        channel.send_bytes(json.dumps(dataclasses.asdict(outcome)).encode())
        return
    answer = {
        "notes": outcome.notes,
        "pose": dataclasses.asdict(outcome.pose),
        "shape": outcome.pixels.shape,
        "has_shown": outcome.shown is not None,
    }
    parts: list[bytes | memoryview] = [
        json.dumps(answer).encode(),
        np.ascontiguousarray(outcome.pixels).data.cast("B"),
    ]
    if outcome.shown is not None:
        parts.append(outcome.shown.astype(np.int64).tobytes())
    for part in parts:
        channel.send_bytes(part)


def receive_outcome(channel: "Connection[Any, Any]", most_bytes: int) -> Film | Refusal:
    """The answer to a question, of which no part may be longer than `most_bytes`.

    Raises OutOfMemoryError or UnexpectedError as the reader says, EOFError or OSError where it is
    gone or sends too much, ValueError, LookupError or TypeError where what it sends is no answer.
    """
    answer = json.loads(channel.recv_bytes(most_bytes))
    if "unexpected" in answer:
        raise UnexpectedError(str(answer["unexpected"]), str(answer["place"]))
    if "out_of_memory" in answer:
        raise OutOfMemoryError
    notes = tuple(str(note) for note in answer["notes"])
    if "reason" in answer:
        return Refusal(Reason(answer["reason"]), str(answer["detail"]), notes)
    rows, columns = answer["shape"]
    if not (0 < rows <= LARGEST_SIDE and 0 < columns <= LARGEST_SIDE):
        raise ValueError(f"no image has {rows} rows and {columns} columns")
    # A bytearray, so that the array may be written to.
    data = bytearray(channel.recv_bytes(most_bytes))
    pixels = np.frombuffer(data, np.uint8).reshape(rows, columns)
    shown = np.frombuffer(channel.recv_bytes(most_bytes), np.int64) if answer["has_shown"] else None
    return Film(pixels, notes, Pose(**answer["pose"]), shown)


def _end_with_parent() -> None:
    """Let the system end this process with its parent, even from within native code.

    The parent's end of this pipe is never written to again: all that can be signalled of it is
    that it closed, and SIGIO ends a process that does not handle it.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Ctrl-C reaches the whole process group; what is being read is for the parent to decide.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(parent.sentinel, fcntl.F_GETFL)
    fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, flags | os.O_ASYNC)


def _limit(memory_mb: int) -> None:
    """Bound what an image can take, and keep what native code prints out of the log."""
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
    """What this process has by itself: the stacks of its threads, a library's buffers."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[5]
    except OSError:
        return 0
    return int(pages) * resource.getpagesize()
