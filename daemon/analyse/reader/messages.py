"""Messages between a reader process and the process that started it.

A message is JSON; the bytes of a file, and the pixels of a film, lie in shared memory. The receiver
of an outcome trusts nothing in it: a damaged image may have taken over the reader.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from cxr_model.predict.transform import Geometry, Margins, NetworkInput, reduced_shape
from daemon.analyse.reader.film import Film, Refusal, Wanted
from daemon.analyse.reader.film_file import Form
from daemon.analyse.reader.shared_pages import SharedPages
from dicom_io.gate.reasons import Reason
from dicom_io.gate.rejection_note import Rejection
from dicom_io.gate.rules import PictureRule, Rules
from dicom_io.read.orientation import LARGEST_ASPECT, Pose
from dicom_io.read.pixels import MOST_SHOWN
from dicom_io.read.tone import MOST_TONES, Tone
from dicom_io.read.values.layout import MAX_SAMPLES

READY = b"ready"
LARGEST_SIDE = 65535
"""Rows and Columns are of VR US (PS3.3 C.7.6.3)."""
MOST_BYTES = 4 * 2**20
"""The longest message. The UIDs of a rejection note need half of this."""

_SHOWN_BYTES = 8 * MOST_SHOWN
_ALIGNED = 8
_LARGEST_NUMBER = 2**53


class OutOfMemoryError(Exception):
    """The reader reports that an image needs more memory than its limit."""


class UnexpectedError(Exception):
    """The reader reports an unexpected exception: its type as text, and its place."""

    def __init__(self, kind: str, place: str) -> None:
        super().__init__(kind)
        self.place = place


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """A file to read: its length in shared memory, its form, and the rules of its sender."""

    length: int
    form: Form
    rules: Rules
    wanted: Wanted


@dataclasses.dataclass(frozen=True, slots=True)
class PageLayout:
    """Places in the shared memory of outcomes, for a network's input of `side` x `side` pixels."""

    side: int

    @property
    def shown(self) -> int:
        """Offset of the stored values; the network's input comes before them."""
        return -(-self.side * self.side // _ALIGNED) * _ALIGNED

    @property
    def picture(self) -> int:
        """Offset of the picture."""
        return self.shown + _SHOWN_BYTES

    @property
    def size(self) -> int:
        """Bytes of the largest outcome."""
        return self.picture + MAX_SAMPLES


def send_request(channel: "Connection[Any, Any]", request: Request) -> None:
    """Ask a reader to read a file."""
    channel.send_bytes(json.dumps(dataclasses.asdict(request)).encode())


def receive_request(channel: "Connection[Any, Any]") -> Request:
    """Wait for a request; the sender is trusted. Raises EOFError when the channel closes."""
    said = json.loads(channel.recv_bytes())
    return Request(
        said["length"], Form(said["form"]), _rules(said["rules"]), Wanted(**said["wanted"])
    )


def send_outcome(
    channel: "Connection[Any, Any]", outcome: Film | Refusal, pages: memoryview
) -> None:
    """Send an outcome. Raises MemoryError before the first byte if memory runs out."""
    if isinstance(outcome, Refusal):
        channel.send_bytes(json.dumps(dataclasses.asdict(outcome)).encode())
        return
    layout = PageLayout(len(outcome.input.square))
    answer = {
        "rows": outcome.rows,
        "columns": outcome.columns,
        "margins": outcome.input.geometry.margins,
        "notes": outcome.notes,
        "pose": dataclasses.asdict(outcome.pose),
        "tone": dataclasses.asdict(outcome.tone),
        "shown": None if outcome.shown is None else len(outcome.shown),
    }
    _put(pages, 0, outcome.input.square)
    if outcome.shown is not None:
        _put(pages, layout.shown, outcome.shown.astype(np.int64))
    _put(pages, layout.picture, outcome.picture)
    channel.send_bytes(json.dumps(answer).encode())


def send_failure(channel: "Connection[Any, Any]", kind: str, place: str) -> None:
    """Report an unexpected exception by its type and place: its text may quote a header."""
    channel.send_bytes(json.dumps({"unexpected": kind, "place": place}).encode())


def send_out_of_memory(channel: "Connection[Any, Any]") -> None:
    """Report that an image needs more memory than the limit."""
    channel.send_bytes(json.dumps({"out_of_memory": True}).encode())


def receive_outcome(
    channel: "Connection[Any, Any]", pages: SharedPages, side: int, wanted: Wanted
) -> Film | Refusal:
    """Return the outcome that a reader sends, for a network's input of `side` x `side` pixels.

    Raises OutOfMemoryError or UnexpectedError if the reader reports it, EOFError or OSError if the
    reader has ended or sends too much, ValueError, LookupError, TypeError or RecursionError if the
    outcome is malformed.
    """
    answer = json.loads(channel.recv_bytes(MOST_BYTES))
    if "unexpected" in answer:
        raise UnexpectedError(str(answer["unexpected"]), str(answer["place"]))
    if "out_of_memory" in answer:
        raise OutOfMemoryError
    notes = tuple(str(note) for note in answer["notes"])
    if "reason" in answer:
        rejection = _rejection(answer["rejection"])
        return Refusal(Reason(answer["reason"]), str(answer["detail"]), notes, rejection)
    rows = _whole(answer["rows"], 1, LARGEST_SIDE)
    columns = _whole(answer["columns"], 1, LARGEST_SIDE)
    if rows * columns > MAX_SAMPLES:
        raise ValueError(f"no image has {rows} rows and {columns} columns")
    pose = _pose(answer["pose"])
    top, left, bottom, right = (_number(share, 0, 1) for share in answer["margins"])
    margins = Margins(top, left, bottom, right)
    layout = PageLayout(side)
    shown = None
    if answer["shown"] is not None:
        count = _whole(answer["shown"], 1, MOST_SHOWN)
        shown = pages.take((count,), np.int64, layout.shown)
    square = NetworkInput(
        pages.take((side, side), np.uint8, 0),
        Geometry.fit(*pose.display_shape(rows, columns), side, margins),
    )
    picture = pages.take(
        reduced_shape(rows, columns, wanted.picture_side), np.uint8, layout.picture
    )
    return Film(picture, rows, columns, square, notes, pose, _tone(answer["tone"]), shown)


def _put(pages: memoryview, place: int, array: np.ndarray) -> None:
    there = np.frombuffer(pages, array.dtype, array.size, place).reshape(array.shape)
    np.copyto(there, array)


def _rejection(answer: Mapping[str, Any] | None) -> Rejection | None:
    if answer is None:
        return None
    uids = tuple(str(uid) for uid in answer["sop_instance_uids"])
    return Rejection(str(answer["code"]), uids)


def _pose(answer: Mapping[str, Any]) -> Pose:
    return Pose(
        _flag(answer["transposed"]),
        _flag(answer["columns_reversed"]),
        _flag(answer["rows_reversed"]),
        _number(answer["aspect"], 1 / LARGEST_ASPECT, LARGEST_ASPECT),
    )


def _tone(answer: Mapping[str, Any]) -> Tone:
    signed, bits = answer["signed"], answer["bits_stored"]
    top, centre, width = (
        None if answer[name] is None else _number(answer[name], -_LARGEST_NUMBER, _LARGEST_NUMBER)
        for name in ("top", "centre", "width")
    )
    return Tone(
        None if signed is None else _flag(signed),
        None if bits is None else _whole(bits, 1, 64),
        _flag(answer["has_modality"]),
        _whole(answer["function"], -1, MOST_TONES),
        top,
        centre,
        width,
        _flag(answer["inverted"]),
    )


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("neither true nor false")
    return value


def _whole(value: object, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("no whole number")
    if not least <= value <= most:
        raise ValueError(f"{value} is not between {least} and {most}")
    return value


def _number(value: object, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("no number")
    # A comparison with NaN is false.
    if not (math.isfinite(value) and least <= value <= most):
        raise ValueError(f"{value} is not between {least:g} and {most:g}")
    return float(value)


def _rules(said: Mapping[str, Any]) -> Rules:
    # JSON has no enumeration: the rule would be a plain text, which equals no member by identity.
    return Rules(**{**said, "picture_check": PictureRule(said["picture_check"])})
