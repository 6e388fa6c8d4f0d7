"""Reads CSV tables, plain or gzipped, in bounded time and memory."""

import csv
import io
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from cxr_model.errors import ModelError, first_line
from cxr_model.files.regular_file import MB, read_regular
from cxr_model.files.strict_json import shown

#: Most bytes of a table, before and after unpacking. Predictions of the 112,120 films of NIH
#: ChestX-ray14 have 40 MB.
LARGEST_TABLE = 128 * MB
MOST_COLUMNS = 1_000
MOST_CELLS = 16_000_000

_LONGEST_LINE = 64_000
_CHUNK = MB
# Repeated text packs to a thousandth, a table of numbers to a third.
_MOST_PACKED, _PACKED_AT_LEAST = 100, 8 * MB
_GZIP = b"\x1f\x8b"
_OTHER_ARCHIVES = (b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


def read_table(
    path: Path,
    error: type[ModelError],
    *,
    columns: Callable[[str], bool] | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Read the table at `path`, or those of its columns for which `columns` is true.

    `options` are further ones of `pandas.read_csv`. Raises `error`, in one line, for anything but
    a regular file of at most 128 MB and 16 million cells, for NUL bytes and text that is not
    UTF-8, for a column that occurs twice, and for rows of another length than the header.
    """
    text = read_text(path, error)
    names = _header(path, text.readline(), error)
    text.seek(0)
    wanted = [name for name in names if name and (columns is None or columns(name))]
    warned = pd.errors.ParserWarning
    try:
        with warnings.catch_warnings():
            # Pandas warns, and cuts, if a row is longer than the header.
            warnings.simplefilter("error", warned)
            # With `usecols` it would neither warn nor refuse.
            table: pd.DataFrame = pd.read_csv(text, index_col=False, low_memory=False, **options)
    except (ValueError, OverflowError, warned) as cause:
        reason = first_line(cause)
        raise error(f"{path} cannot be read as a CSV table: {reason[:200]}") from cause
    return table[wanted]


def read_text(path: Path, error: type[ModelError]) -> io.BytesIO:
    """Return the text of a table, unpacked. Raises `error` as `read_table` does."""
    data = read_regular(path, LARGEST_TABLE, error)
    if data.startswith(_OTHER_ARCHIVES):
        raise error(f"{path} is packed in another way than gzip: unpack it first")
    text = io.BytesIO()
    cells, line = 0, 0
    for part in _unpacked(path, data, error) if data.startswith(_GZIP) else _pieces(data):
        cells += part.count(b",") + part.count(b"\n")
        line = _open_line(part, line)
        if text.tell() + len(part) > LARGEST_TABLE or cells > MOST_CELLS:
            raise error(
                f"{path} holds more than {LARGEST_TABLE // MB} MB or {MOST_CELLS:,} cells "
                "unpacked: split the table"
            )
        if b"\0" in part:
            raise error(f"{path} is no table: it holds a NUL byte")
        if line > _LONGEST_LINE:
            raise error(f"{path} is no table: a line has more than {_LONGEST_LINE:,} bytes")
        text.write(part)
    text.seek(0)
    return text


def _pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), _CHUNK):
        yield data[start : start + _CHUNK]


def _unpacked(path: Path, data: bytes, error: type[ModelError]) -> Iterator[bytes]:
    """Unpack the members of a gzip file piece by piece."""
    left, total = data, 0
    try:
        while left:
            member = zlib.decompressobj(wbits=31)
            while left and not member.eof:
                part = member.decompress(left, _CHUNK)
                left = member.unconsumed_tail
                total += len(part)
                if total > max(_PACKED_AT_LEAST, _MOST_PACKED * len(data)):
                    raise error(
                        f"{path} is packed to less than a {_MOST_PACKED}th of its size, as no "
                        "table of numbers is: unpack it first"
                    )
                yield part
            if not member.eof:
                raise error(f"{path} is damaged: its gzip data end early")
            left = member.unused_data
    except zlib.error as cause:
        raise error(f"{path} is damaged: {cause}") from cause


def _open_line(part: bytes, before: int) -> int:
    """Return the length of the line that `part` leaves open, or more than the limit of a line.

    `before` is the length of the line that is open at the start of `part`.
    """
    start = -before
    while len(part) - start > _LONGEST_LINE:
        end = part.rfind(b"\n", max(start, 0), start + _LONGEST_LINE + 1)
        if end < 0:
            return _LONGEST_LINE + 1
        start = end + 1
    end = part.rfind(b"\n", max(start, 0))
    return len(part) - (start if end < 0 else end + 1)


def _header(path: Path, line: bytes, error: type[ModelError]) -> list[str]:
    try:
        text = line.decode("utf-8-sig").rstrip("\r\n")
        rows = list(csv.reader([text], strict=True))
    except (UnicodeDecodeError, csv.Error) as cause:
        raise error(f"{path} is no table: its first line cannot be read ({cause})") from cause
    names = rows[0] if rows else []
    if not any(names):
        raise error(f"{path} is no table: its first line names no column")
    if len(names) > MOST_COLUMNS:
        raise error(f"{path} has {len(names):,} columns, more than {MOST_COLUMNS:,}")
    for name in names:
        if not name.isprintable():
            raise error(f"{path} has the column {shown(name)}, which is not printable")
    (name, count), *_ = Counter(filter(None, names)).most_common(1)
    if count > 1:
        raise error(f"{path} has {count} columns {shown(name)}: which counts?")
    return names
