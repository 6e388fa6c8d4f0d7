"""CSV files with every formula neutralised, so that a spreadsheet shows it as text."""

import csv
import io
import re
import string
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from storage.files.durable import durable_file

# OWASP "CSV Injection", with the full-width forms some spreadsheets fold to ASCII.
_FORMULA = re.compile(r"[\t\r\n]|\s*[=+\-@＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d++(\.\d*+)?+|\.\d++)([eE][+-]?\d++)?+")

# A formula after a semicolon, tab or line break, where some programs begin another cell.
_INNER_FORMULA = re.compile(
    r"""(?<![\s;"])(?=[\s"]*?[;\t\r\n])[\s;"]++(?=[=+\-@＝＋－＠])"""
    rf"(?!{_NUMBER.pattern}(?:[;\t\r\n]|\Z))"
)


# A cell that begins with a letter or digit and has none of these is written as it is.
_PLAIN_START = frozenset(string.ascii_letters + string.digits)
_SPECIAL = re.compile(r'[;\t\r\n,"]')

_WIDE_SIGN = re.compile("[＝＋－＠]")

_ROWS_AT_ONCE = 500


def neutralise(cell: str) -> str:
    """Return the cell with a quote before each formula, so that a spreadsheet shows it as text.

    A formula inside the cell gets a quote, too, if a program that separates cells by semicolons or
    tabs would begin a cell there. A plain number, signed or not, is not a formula.
    """
    if not cell or (cell[0] in _PLAIN_START and not _SPECIAL.search(cell)):
        return cell
    return _neutralised(cell)


def _neutralised(cell: str) -> str:
    # Most cells have no sign, which is found much faster than a formula.
    if not _has_sign(cell) and cell[0] not in "\t\r\n":
        return cell
    quote = "'" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else ""
    return quote + _INNER_FORMULA.sub(r"\g<0>'", cell)


def _has_sign(cell: str) -> bool:
    """Return True if a formula may begin in the cell."""
    ascii_sign = "=" in cell or "+" in cell or "-" in cell or "@" in cell
    return ascii_sign or (not cell.isascii() and _WIDE_SIGN.search(cell) is not None)


class CsvPart(NamedTuple):
    """Some rows of a file, as they are written."""

    rows: int
    data: bytes


_NO_ROWS = CsvPart(0, b"")


def write_csv(
    path: Path, header: Sequence[str], rows: Iterable[list[str]], plain: Collection[str] = ()
) -> int:
    """Write rows as UTF-8 with every cell neutralised; return their number.

    See `csv_part` and `write_parts`.
    """
    remaining = iter(rows)
    parts = iter(lambda: csv_part(header, islice(remaining, _ROWS_AT_ONCE), plain), _NO_ROWS)
    return write_parts(path, header, parts)


def write_parts(path: Path, header: Sequence[str], parts: Iterable[CsvPart]) -> int:
    """Write a header and these parts; return the number of rows.

    The file appears when it is complete. Raises OutOfSpaceError or SpoolError.
    """
    written = 0
    with durable_file(path, path.parent) as file:
        file.write(csv_part(header, [list(header)]).data)
        for part in parts:
            file.write(part.data)
            written += part.rows
    return written


def counted(parts: Iterable[CsvPart], progress: Callable[[int], object]) -> Iterator[CsvPart]:
    """Yield these parts, and call `progress` with the rows of each."""
    for part in parts:
        progress(part.rows)
        yield part


def csv_part(
    header: Sequence[str], rows: Iterable[list[str]], plain: Collection[str] = ()
) -> CsvPart:
    """Return rows as UTF-8 with every cell neutralised, in place.

    A row has a cell for each name of the header. Columns named in `plain` hold numbers and words of
    this program, which no check changes.
    """
    checked = [place for place, name in enumerate(header) if name not in plain]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    special = _SPECIAL.search
    written = 0
    for row in rows:
        # An empty row of one cell is quoted, too.
        is_quoted = len(row) == 1
        for place in checked:
            cell = row[place]
            # Most cells are empty, or letters and digits alone.
            if cell and not cell.isalnum() and (cell[0] not in _PLAIN_START or special(cell)):
                row[place] = safe = _neutralised(cell)
                is_quoted = is_quoted or "," in safe or '"' in safe or "\n" in safe or "\r" in safe
        if is_quoted:
            writer.writerow(row)
        else:
            text.write(f"{','.join(row)}\r\n")
        written += 1
    return CsvPart(written, text.getvalue().encode())
