"""CSV files whose cells no spreadsheet runs as a formula."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from storage.files.durable import durable_file

# OWASP "CSV Injection", with the full-width forms some spreadsheets fold to ASCII.
_FORMULA = re.compile(r"[\t\r\n]|\s*[=+\-@＝＋－＠]")

_NUMBER = re.compile(r"[+-]?(\d++(\.\d*+)?+|\.\d++)([eE][+-]?\d++)?+")

# A formula after what may stand between two cells, where a program takes that for their end.
_INNER_FORMULA = re.compile(
    r"""(?<![\s;"])(?=[\s"]*?[;\t\r\n])[\s;"]++(?=[=+\-@＝＋－＠])"""
    rf"(?!{_NUMBER.pattern}(?:[;\t\r\n]|\Z))"
)


def neutralise(cell: str) -> str:
    """The cell as a spreadsheet will show it rather than run it: a formula gets a quote first.

    So does one inside the cell, where a program that separates cells by semicolons or tabs would
    begin another one. A plain number is no formula, signed or not.
    """
    quote = "'" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else ""
    return quote + _INNER_FORMULA.sub(r"\g<0>'", cell)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Mapping[str, str]]) -> int:
    """Write rows (UTF-8 with every cell neutralised) and return how many there were.

    The file appears complete or not at all. Raises OutOfSpaceError or SpoolError.
    """
    written = 0
    with durable_file(path, path.parent) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text)
        writer.writerow([neutralise(name) for name in header])
        for row in rows:
            writer.writerow([neutralise(row[name]) for name in header])
            written += 1
        text.flush()
        text.detach()
    return written
