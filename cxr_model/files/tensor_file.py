"""Checks the header of a safetensors file against the length of the file before it is loaded."""

import math
from typing import Any

from cxr_model.errors import BundleError
from cxr_model.files.regular_file import MB
from cxr_model.files.strict_json import parse_json, shown

_LENGTH = 8
_LARGEST_HEADER = MB
_MOST_TENSORS = 2_000
_MOST_DIMENSIONS = 4

#: Bytes of an element per data type that weights may have.
_REAL = {"F16": 2, "BF16": 2, "F32": 4}
# Counter of batch norm; it does not enter the outputs.
_COUNTER, _COUNTERS = "num_batches_tracked", {"I64": 8}


def check_header(data: bytes) -> None:
    """Raise BundleError, in one line, unless the tensors fill the file `data` exactly.

    Tensors are float16, bfloat16 or float32 of at most 4 dimensions; counters are int64.
    """
    length = int.from_bytes(data[:_LENGTH], "little")
    if not 2 <= length <= min(_LARGEST_HEADER, len(data) - _LENGTH):
        raise BundleError(
            f"the weights are not safetensors: a file of {len(data)} bytes with a header of "
            f"{shown(length)}"
        )
    try:
        header = parse_json(data[_LENGTH : _LENGTH + length])
    except ValueError as error:
        raise BundleError(f"the header of the weights is not JSON: {error}") from error
    if not isinstance(header, dict) or len(header) > _MOST_TENSORS:
        raise BundleError(f"the header of the weights is not a table of {_MOST_TENSORS} tensors")
    header.pop("__metadata__", None)
    ranges = sorted(_range(name, entry) for name, entry in header.items())
    end = 0
    for start, stop in ranges:
        if start != end:
            raise BundleError("the tensors of the weights overlap or leave gaps")
        end = stop
    if end != len(data) - _LENGTH - length:
        raise BundleError(
            f"the tensors of the weights take {end} bytes of {len(data) - _LENGTH - length}"
        )


def _range(name: str, entry: Any) -> tuple[int, int]:
    """Return the first byte of a tensor and the byte after its last."""
    place = f"the tensor {shown(name, 60)} of the weights"
    if not isinstance(entry, dict):
        raise BundleError(f"{place} is not described")
    dtype = entry.get("dtype")
    shape, offsets = (_whole_numbers(entry.get(key)) for key in ("shape", "data_offsets"))
    known = _REAL | (_COUNTERS if name.endswith(_COUNTER) else {})
    if not isinstance(dtype, str) or dtype not in known:
        raise BundleError(f"{place} is {shown(dtype)}, not one of {', '.join(_REAL)}")
    if shape is None or len(shape) > _MOST_DIMENSIONS:
        raise BundleError(f"{place} has no shape of at most {_MOST_DIMENSIONS} dimensions")
    if offsets is None or len(offsets) != 2:
        raise BundleError(f"{place} has no place in the file")
    start, stop = offsets
    if stop - start != math.prod(shape) * known[dtype]:
        raise BundleError(f"{place} has a shape that does not fit its {shown(stop - start)} bytes")
    return start, stop


def _whole_numbers(value: Any) -> list[int] | None:
    """Return a list of whole numbers from 0; None for anything else."""
    if isinstance(value, list) and all(type(number) is int and number >= 0 for number in value):
        return value
    return None
