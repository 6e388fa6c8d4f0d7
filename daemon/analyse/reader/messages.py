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
from daemon.analyse.reader.look import Look, LookKind
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
LARGEST_NUMBER = 2**53
"""Whole numbers up to it are exact in JSON."""


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
class LookRequest:
    """A file to look at: its length in shared memory, and what is wanted of it."""

    length: int
    look: Look


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


def send_request(channel: "Connection[Any, Any]", request: Request | LookRequest) -> None:
    """Ask a reader to read a file."""
    channel.send_bytes(json.dumps(dataclasses.asdict(request)).encode())


def receive_request(channel: "Connection[Any, Any]") -> Request | LookRequest:
    """Wait for a request; the sender is trusted. Raises EOFError when the channel closes."""
    said = json.loads(channel.recv_bytes())
    if "look" in said:
        look = said["look"]
        return LookRequest(said["length"], Look(**{**look, "kind": LookKind(look["kind"])}))
    return Request(
        said["length"], Form(said["form"]), _rules(said["rules"]), Wanted(**said["wanted"])
    )


def send_outcome(
    channel: "Connection[Any, Any]", outcome: Film | Refusal, pages: memoryview
) -> None:
    """Send an outcome. Raises MemoryError before the first byte if memory runs out."""
    if isinstance(outcome, Refusal):
        send_refusal(channel, outcome)
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
    put(pages, 0, outcome.input.square)
    if outcome.shown is not None:
        put(pages, layout.shown, outcome.shown.astype(np.int64))
    put(pages, layout.picture, outcome.picture)
    channel.send_bytes(json.dumps(answer).encode())


def send_refusal(channel: "Connection[Any, Any]", refusal: Refusal) -> None:
    """Send a refusal."""
    channel.send_bytes(json.dumps(dataclasses.asdict(refusal)).encode())


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
    answer = receive_answer(channel)
    if isinstance(answer, Refusal):
        return answer
    notes = notes_of(answer)
    rows, columns = shape_of(answer)
    pose = pose_of(answer["pose"])
    top, left, bottom, right = (number_of(share, 0, 1) for share in answer["margins"])
    margins = Margins(top, left, bottom, right)
    layout = PageLayout(side)
    shown = None
    if answer["shown"] is not None:
        count = whole_of(answer["shown"], 1, MOST_SHOWN)
        shown = pages.take((count,), np.int64, layout.shown)
    square = NetworkInput(
        pages.take((side, side), np.uint8, 0),
        Geometry.fit(*pose.display_shape(rows, columns), side, margins),
    )
    picture = pages.take(
        reduced_shape(rows, columns, wanted.picture_side), np.uint8, layout.picture
    )
    return Film(picture, rows, columns, square, notes, pose, _tone(answer["tone"]), shown)


def receive_answer(channel: "Connection[Any, Any]") -> dict[str, Any] | Refusal:
    """Return the answer that a reader sends. Raises as `receive_outcome` does."""
    answer: dict[str, Any] = json.loads(channel.recv_bytes(MOST_BYTES))
    if "unexpected" in answer:
        raise UnexpectedError(str(answer["unexpected"]), str(answer["place"]))
    if "out_of_memory" in answer:
        raise OutOfMemoryError
    if "reason" in answer:
        rejection = _rejection(answer["rejection"])
        return Refusal(Reason(answer["reason"]), str(answer["detail"]), notes_of(answer), rejection)
    return answer


def notes_of(answer: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the notes of an outcome."""
    return tuple(str(note) for note in answer["notes"])


def shape_of(answer: Mapping[str, Any]) -> tuple[int, int]:
    """Return rows and columns of an outcome. Raises as `receive_outcome` does."""
    rows = whole_of(answer["rows"], 1, LARGEST_SIDE)
    columns = whole_of(answer["columns"], 1, LARGEST_SIDE)
    if rows * columns > MAX_SAMPLES:
        raise ValueError(f"no image has {rows} rows and {columns} columns")
    return rows, columns


def put(pages: memoryview, place: int, array: np.ndarray) -> None:
    """Write an array to the shared memory."""
    there = np.frombuffer(pages, array.dtype, array.size, place).reshape(array.shape)
    np.copyto(there, array)


def _rejection(answer: Mapping[str, Any] | None) -> Rejection | None:
    if answer is None:
        return None
    uids = tuple(str(uid) for uid in answer["sop_instance_uids"])
    return Rejection(str(answer["code"]), uids)


def pose_of(answer: Mapping[str, Any]) -> Pose:
    """Return a pose of an outcome. Raises as `receive_outcome` does."""
    return Pose(
        flag_of(answer["transposed"]),
        flag_of(answer["columns_reversed"]),
        flag_of(answer["rows_reversed"]),
        number_of(answer["aspect"], 1 / LARGEST_ASPECT, LARGEST_ASPECT),
    )


def _tone(answer: Mapping[str, Any]) -> Tone:
    signed, bits = answer["signed"], answer["bits_stored"]
    top, centre, width = (
        None if answer[name] is None else number_of(answer[name], -LARGEST_NUMBER, LARGEST_NUMBER)
        for name in ("top", "centre", "width")
    )
    return Tone(
        None if signed is None else flag_of(signed),
        None if bits is None else whole_of(bits, 1, 64),
        flag_of(answer["has_modality"]),
        whole_of(answer["function"], -1, MOST_TONES),
        top,
        centre,
        width,
        flag_of(answer["inverted"]),
    )


def flag_of(value: object) -> bool:
    """Return a flag of an outcome. Raises TypeError for any other value."""
    if not isinstance(value, bool):
        raise TypeError("neither true nor false")
    return value


def whole_of(value: object, least: int, most: int) -> int:
    """Return a whole number within limits. Raises TypeError or ValueError for any other value."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("no whole number")
    if not least <= value <= most:
        raise ValueError(f"{value} is not between {least} and {most}")
    return value


def number_of(value: object, least: float, most: float) -> float:
    """Return a finite number within limits. Raises TypeError or ValueError for any other value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("no number")
    # A comparison with NaN is false.
    if not (math.isfinite(value) and least <= value <= most):
        raise ValueError(f"{value} is not between {least:g} and {most:g}")
    return float(value)


def _rules(said: Mapping[str, Any]) -> Rules:
    # JSON has no enumeration: the rule would be a plain text, which equals no member by identity.
    return Rules(**{**said, "picture_check": PictureRule(said["picture_check"])})
