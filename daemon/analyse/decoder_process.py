"""The decoder process: gates and decodes films outside the analyst's process.

A native decoder can end its process, or never return, on a damaged image. Here that only loses the
image. Requests and outcomes are JSON and plain bytes, so that the analyst unpickles no data of a
decoder process.
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

from daemon.analyse.film_file import Form, read_film
from daemon.analyse.gate_and_decode import Film, Refusal
from daemon.worker.core_dumps import forbid_core_dumps
from dicom_io.gate.reasons import Reason
from dicom_io.gate.rejection_note import Rejection
from dicom_io.gate.rules import Rules
from dicom_io.read.orientation import Pose
from dicom_io.read.tone import Tone

READY = b"ready"
LARGEST_SIDE = 65535
"""Rows and Columns are of VR US (PS3.3 C.7.6.3)."""


class OutOfMemoryError(Exception):
    """The decoder reports that an image needs more memory than its limit."""


class UnexpectedError(Exception):
    """The decoder reports an unexpected exception: its type as text, and its place."""

    def __init__(self, kind: str, place: str) -> None:
        super().__init__(kind)
        self.place = place


def run_decoder(channel: "Connection[Any, Any]", memory_mb: int, seconds: float) -> None:
    """Answer requests until the channel closes; the entry point of the process."""
    forbid_core_dumps()
    end_with_parent()
    _limit(memory_mb)
    channel.send_bytes(READY)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            request = json.loads(channel.recv_bytes())
            form, rules = Form(request["form"]), Rules(**request["rules"])
            # If the parent cannot stop this process, SIGALRM ends it, even in native code.
            signal.setitimer(signal.ITIMER_REAL, 2 * seconds)
            try:
                send_outcome(channel, read_film(channel.recv_bytes(), form, rules))
            except MemoryError:
                channel.send_bytes(json.dumps({"out_of_memory": True}).encode())
                return
            except Exception as error:  # noqa: BLE001 - one bad image must not stop the decoder
                # Only the place is reported, because the text may quote the image's header.
                place = "".join(traceback.format_tb(error.__traceback__))
                answer = {"unexpected": type(error).__name__, "place": place}
                channel.send_bytes(json.dumps(answer).encode())
            signal.setitimer(signal.ITIMER_REAL, 0)


def send_request(channel: "Connection[Any, Any]", data: bytes, rules: Rules, form: Form) -> None:
    """Send the bytes of a file, its form, and the rules of its sender to a decoder process."""
    request = {"form": form, "rules": dataclasses.asdict(rules)}
    channel.send_bytes(json.dumps(request).encode())
    channel.send_bytes(data)


def send_outcome(channel: "Connection[Any, Any]", outcome: Film | Refusal) -> None:
    """Send an outcome. Raises MemoryError before the first byte if memory runs out."""
    if isinstance(outcome, Refusal):
        channel.send_bytes(json.dumps(dataclasses.asdict(outcome)).encode())
        return
    answer = {
        "notes": outcome.notes,
        "pose": dataclasses.asdict(outcome.pose),
        "tone": dataclasses.asdict(outcome.tone),
        "shape": outcome.pixels.shape,
        "has_shown": outcome.shown is not None,
        "has_hidden": outcome.hidden is not None,
    }
    parts: list[bytes | memoryview] = [
        json.dumps(answer).encode(),
        np.ascontiguousarray(outcome.pixels).data.cast("B"),
    ]
    if outcome.shown is not None:
        parts.append(outcome.shown.astype(np.int64).tobytes())
    if outcome.hidden is not None:
        parts.append(np.packbits(outcome.hidden).tobytes())
    for part in parts:
        channel.send_bytes(part)


def receive_outcome(channel: "Connection[Any, Any]", most_bytes: int) -> Film | Refusal:
    """Return the outcome that a decoder sends, in parts of at most `most_bytes`.

    Raises OutOfMemoryError or UnexpectedError if the decoder reports it, EOFError or OSError if the
    decoder has ended or sends too much, ValueError, LookupError or TypeError if the outcome is
    malformed.
    """
    answer = json.loads(channel.recv_bytes(most_bytes))
    if "unexpected" in answer:
        raise UnexpectedError(str(answer["unexpected"]), str(answer["place"]))
    if "out_of_memory" in answer:
        raise OutOfMemoryError
    notes = tuple(str(note) for note in answer["notes"])
    if "reason" in answer:
        rejection = _rejection(answer["rejection"])
        return Refusal(Reason(answer["reason"]), str(answer["detail"]), notes, rejection)
    rows, columns = answer["shape"]
    if not (0 < rows <= LARGEST_SIDE and 0 < columns <= LARGEST_SIDE):
        raise ValueError(f"no image has {rows} rows and {columns} columns")
    # A bytearray makes the array writeable.
    data = bytearray(channel.recv_bytes(most_bytes))
    pixels = np.frombuffer(data, np.uint8).reshape(rows, columns)
    shown = np.frombuffer(channel.recv_bytes(most_bytes), np.int64) if answer["has_shown"] else None
    hidden = None
    if answer["has_hidden"]:
        bits = np.frombuffer(channel.recv_bytes(most_bytes), np.uint8)
        hidden = np.unpackbits(bits, count=rows * columns).reshape(rows, columns).astype(bool)
    return Film(pixels, notes, Pose(**answer["pose"]), shown, Tone(**answer["tone"]), hidden)


def _rejection(answer: dict[str, Any] | None) -> Rejection | None:
    if answer is None:
        return None
    uids = tuple(str(uid) for uid in answer["sop_instance_uids"])
    return Rejection(str(answer["code"]), uids)


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
