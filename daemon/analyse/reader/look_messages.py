"""Messages on a file that was looked at; the receiver trusts nothing in them, as in `messages`."""

import base64
import dataclasses
import json
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_model.predict.transform import reduced_shape
from daemon.analyse.reader.film import Refusal
from daemon.analyse.reader.look import Look, LookKind, Picture
from daemon.analyse.reader.messages import (
    LARGEST_NUMBER,
    LARGEST_SIDE,
    flag_of,
    notes_of,
    number_of,
    pose_of,
    put,
    receive_answer,
    send_refusal,
    shape_of,
    whole_of,
)
from daemon.analyse.reader.shared_pages import SharedPages
from dicom_io.read.grey_scale import MOST_FUNCTIONS
from dicom_io.read.orientation import SPACINGS
from dicom_io.read.values.layout import MAX_SAMPLES
from dicom_io.read.viewing.stored import (
    BYTES_OF,
    FUNCTIONS,
    MOST_VALUES,
    MOST_WORDS,
    RGB,
    NamedTable,
    NamedWindow,
    StoredFacts,
    StoredGrey,
    StoredImage,
)

LOOK_BYTES = 2 * MAX_SAMPLES
"""Bytes of the largest pixels that are looked at."""

_LONGEST_SPACING = 1e4


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class StoredPixels:
    """Stored pixels in a file of their own in memory, which its holder closes."""

    facts: StoredFacts
    pages: SharedPages

    def plain_facts(self) -> dict[str, Any]:
        """Return the facts as values of JSON."""
        return plain_facts(self.facts)


Looked = Picture | StoredPixels | Refusal


def send_look(
    channel: "Connection[Any, Any]", outcome: Picture | StoredImage | Refusal, pages: memoryview
) -> None:
    """Send what was seen. Raises MemoryError before the first byte if memory runs out."""
    if isinstance(outcome, Refusal):
        send_refusal(channel, outcome)
        return
    if isinstance(outcome, Picture):
        rows, columns, *planes = outcome.pixels.shape
        answer: dict[str, Any] = {
            "rows": rows,
            "columns": columns,
            "planes": planes,
            "stored": [outcome.stored_rows, outcome.stored_columns],
            "pose": dataclasses.asdict(outcome.pose),
            "notes": outcome.notes,
        }
    else:
        answer = plain_facts(outcome.facts)
    put(pages, 0, outcome.pixels)
    channel.send_bytes(json.dumps(answer).encode())


def receive_look(channel: "Connection[Any, Any]", pages: SharedPages, look: Look) -> Looked:
    """Return what a reader saw. Raises as `messages.receive_outcome` does, and DecoderError."""
    answer = receive_answer(channel)
    if isinstance(answer, Refusal):
        return answer
    rows, columns = shape_of(answer)
    if look.kind is LookKind.PIXELS:
        facts = _facts(answer, rows, columns)
        return StoredPixels(facts, pages.copy(facts.size, 0))
    planes = answer["planes"]
    if planes not in ([], [3]) or reduced_shape(rows, columns, look.side) != (rows, columns):
        raise ValueError("not a picture as it was wanted")
    if rows * columns * (3 if planes else 1) > MAX_SAMPLES:
        raise ValueError(f"no image has {rows} rows and {columns} columns in colour")
    stored_rows, stored_columns = (whole_of(side, 1, LARGEST_SIDE) for side in answer["stored"])
    pixels = pages.take((rows, columns, *planes), np.uint8, 0)
    return Picture(pixels, stored_rows, stored_columns, pose_of(answer["pose"]), notes_of(answer))


def plain_facts(facts: StoredFacts) -> dict[str, Any]:
    """Return facts as values of JSON: an array is the base64 of its bytes, little-endian."""
    made: dict[str, Any] = _plain(facts)
    return made


def _plain(value: object) -> Any:
    """Return facts as values of JSON; arrays as their bytes in base64."""
    if isinstance(value, np.ndarray):
        return base64.b64encode(value.tobytes()).decode("ascii")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value


def _facts(answer: Mapping[str, Any], rows: int, columns: int) -> StoredFacts:
    kind = answer["kind"]
    if kind not in BYTES_OF or (kind == RGB) != (answer["grey"] is None):
        raise ValueError("no kind of pixels")
    if kind == RGB and rows * columns * BYTES_OF[RGB] > MAX_SAMPLES:
        raise ValueError(f"no image has {rows} rows and {columns} columns in colour")
    measured_by = answer["measured_by"]
    if measured_by not in ("", *SPACINGS):
        raise ValueError("no attribute that gives a spacing")
    spacing = None
    if answer["spacing"] is not None:
        height, width = (number_of(side, 0, _LONGEST_SPACING) for side in answer["spacing"])
        spacing = height, width
    return StoredFacts(
        rows=rows,
        columns=columns,
        kind=kind,
        grey=None if answer["grey"] is None else _grey(answer["grey"]),
        pose=pose_of(answer["pose"]),
        spacing=spacing,
        measured_by=measured_by,
        photometric=_words(answer["photometric"]),
        bits=whole_of(answer["bits"], 1, 64),
        notes=notes_of(answer),
    )


def _grey(answer: Mapping[str, Any]) -> StoredGrey:
    low = whole_of(answer["low"], -MOST_VALUES, MOST_VALUES)
    high = whole_of(answer["high"], low, low + MOST_VALUES - 1)
    size = high - low + 1
    if max(len(answer["windows"]), len(answer["tables"])) > MOST_FUNCTIONS:
        raise ValueError("too many windows or tables")
    modality = answer["modality"]
    padding = None
    if answer["padding"] is not None:
        first, last = (whole_of(end, low, high) for end in answer["padding"])
        padding = first, last
    return StoredGrey(
        low=low,
        high=high,
        offset=whole_of(answer["offset"], -LARGEST_NUMBER, LARGEST_NUMBER),
        step=whole_of(answer["step"], 1, LARGEST_NUMBER),
        slope=_any_number(answer["slope"]),
        intercept=_any_number(answer["intercept"]),
        unit=_words(answer["unit"]),
        modality=None if modality is None else _array(modality, np.float32, size),
        analysed=None if answer["analysed"] is None else _window(answer["analysed"]),
        windows=tuple(_window(window) for window in answer["windows"]),
        tables=tuple(
            NamedTable(_words(table["name"]), _array(table["levels"], np.uint8, size))
            for table in answer["tables"]
        ),
        levels=_array(answer["levels"], np.uint8, size),
        auto=_pair(answer["auto"]),
        full=_pair(answer["full"]),
        padding=padding,
        inverted=flag_of(answer["inverted"]),
    )


def _window(answer: Mapping[str, Any]) -> NamedWindow:
    if answer["function"] not in FUNCTIONS:
        raise ValueError("no function of a window")
    return NamedWindow(
        _words(answer["name"]),
        _any_number(answer["centre"]),
        _any_number(answer["width"]),
        answer["function"],
    )


def _words(value: object) -> str:
    if not isinstance(value, str) or len(value) > MOST_WORDS:
        raise TypeError("no short text")
    return value


def _any_number(value: object) -> float:
    return number_of(value, -LARGEST_NUMBER, LARGEST_NUMBER)


def _pair(values: Any) -> tuple[float, float]:
    low, high = (_any_number(value) for value in values)
    return low, high


def _array(encoded: object, kind: type[Any], size: int) -> NDArray[Any]:
    if not isinstance(encoded, str):
        raise TypeError("no text")
    array = np.frombuffer(base64.b64decode(encoded, validate=True), kind)
    if array.size != size or not np.isfinite(array).all():
        raise ValueError("a table of another size, or with no number")
    return array
