"""CSV files with every formula neutralised, so that a spreadsheet shows it as text."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from storage.files.durable import durable_file

# OWASP "CSV Injection", with the full-width forms some spreadsheets fold to ASCII.
_FORMULA = re.compile(r"[\t\r\n]|\s*[=+\-@＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d++(\.\d*+)?+|\.\d++)([eE][+-]?\d++)?+")

# A formula after a semicolon, tab or line break, where some programs begin another cell.
_INNER_FORMULA = re.compile(
    r"""(?<![\s;"])(?=[\s"]*?[;\t\r\n])[\s;"]++(?=[=+\-@＝＋－＠])"""
    rf"(?!{_NUMBER.pattern}(?:[;\t\r\n]|\Z))"
)


def neutralise(cell: str) -> str:
    """Return the cell with a quote before each formula, so that a spreadsheet shows it as text.

    A formula inside the cell gets a quote, too, if a program that separates cells by semicolons or
    tabs would begin a cell there. A plain number, signed or not, is not a formula.
    """
    if not cell or cell.isalnum():
        return cell
    quote = "'" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else ""
    return quote + _INNER_FORMULA.sub(r"\g<0>'", cell)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Mapping[str, str]]) -> int:
    """Write rows as UTF-8 with every cell neutralised; return their number.

    The file appears when it is complete. Raises OutOfSpaceError or SpoolError.
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
