"""CSV files with every formula neutralised, so that a spreadsheet shows it as text."""

import csv
import io
import re
import string
from collections.abc import Collection, Iterable, Sequence
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


# A cell that begins with a letter or digit and has none of these is written as it is.
_PLAIN_START = frozenset(string.ascii_letters + string.digits)
_SPECIAL = re.compile(r'[;\t\r\n,"]')
_QUOTED = re.compile(r'[\r\n,"]')


def neutralise(cell: str) -> str:
    """Return the cell with a quote before each formula, so that a spreadsheet shows it as text.

    A formula inside the cell gets a quote, too, if a program that separates cells by semicolons or
    tabs would begin a cell there. A plain number, signed or not, is not a formula.
    """
    if not cell or (cell[0] in _PLAIN_START and not _SPECIAL.search(cell)):
        return cell
    quote = "'" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else ""
    return quote + _INNER_FORMULA.sub(r"\g<0>'", cell)


def write_csv(
    path: Path, header: Sequence[str], rows: Iterable[list[str]], plain: Collection[str] = ()
) -> int:
    """Write rows as UTF-8 with every cell neutralised; return their number.

    A row has a cell for each name of the header. Columns named in `plain` hold numbers and words of
    this program, which no check changes. The file appears when it is complete. Raises
    OutOfSpaceError or SpoolError.
    """
    checked = [place for place, name in enumerate(header) if name not in plain]
    written = 0
    with durable_file(path, path.parent) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text)
        writer.writerow([neutralise(name) for name in header])
        special = _SPECIAL.search
        for row in rows:
            # An empty row of one cell is quoted, too.
            is_quoted = len(row) == 1
            for place in checked:
                cell = row[place]
                if cell and (cell[0] not in _PLAIN_START or special(cell)):
                    row[place] = safe = neutralise(cell)
                    is_quoted = is_quoted or _QUOTED.search(safe) is not None
            if is_quoted:
                writer.writerow(row)
            else:
                text.write(f"{','.join(row)}\r\n")
            written += 1
        text.flush()
        text.detach()
    return written
