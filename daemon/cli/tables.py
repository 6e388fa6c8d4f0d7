"""Tables and paragraphs that fit the terminal.

On a terminal no line is wider than it: cells are wrapped, and a table that is still too wide is
shown as one block per row. In a pipe each row is one line of any width, without a heading.

Every text is made readable first: it may quote a peer, and a control character or an escape
sequence would act on the terminal.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import typer

from daemon.words.readable import readable

USUAL_WIDTH = 80
"""The width of a terminal that does not say its own."""
_LEAST_WIDTH = 20
_GAP = 2
_MOST_HANG = 16
_NAMED = re.compile(r" *\S+(?: \S+)* {2,}")
_ELLIPSIS = "…"
_NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: the heading.
        right: True if its cells are aligned at the right.
        least: the width below which it is not made narrower; None: that of its longest word.
        yields: the order in which columns are made narrower, 0 first.
        is_shortened: True if a cell loses its middle instead of being wrapped. Only for values that
            another command or `--json` shows in full.
    """

    title: str
    right: bool = False
    least: int | None = None
    yields: int = 1
    is_shortened: bool = False


def terminal_width() -> int | None:
    """Return the width of the terminal on stdout; None if stdout is no terminal."""
    if not sys.stdout.isatty():
        return None
    # As for other programs, COLUMNS decides if it is set.
    named = os.environ.get("COLUMNS", "")
    try:
        width = int(named) if named.isdecimal() else os.get_terminal_size(sys.stdout.fileno())[0]
    except (OSError, ValueError):
        width = 0
    return max(width, _LEAST_WIDTH) if width else USUAL_WIDTH


def print_table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[object]],
    *,
    indent: int = 0,
    heading: bool | None = None,
) -> None:
    """Print a table to stdout. Its heading is left out in a pipe unless `heading` is True."""
    width = terminal_width()
    heading = width is not None if heading is None else heading
    for line in table_lines(columns, rows, width, heading=heading, indent=indent):
        typer.echo(line)


def print_text(text: str, hang: int | None = None) -> None:
    """Print lines of text to stdout; see `text_lines`. For text that quotes no peer."""
    for line in text.split("\n"):
        print_paragraph(line, hang)


def print_paragraph(text: str, hang: int | None = None) -> None:
    """Print one paragraph to stdout: a line break in it is shown as a sign, and makes no line."""
    for part in text_lines(text, terminal_width(), hang):
        typer.echo(part)


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Print names with their values to stdout, aligned."""
    shown = [(name, clean(value)) for name, value in fields]
    widest = max((cell_width(name) for name, _ in shown), default=0)
    width = terminal_width()
    for name, value in shown:
        begin = f"{_padded(name, widest)}{' ' * _GAP}"
        for line in (f"{begin}{value}",) if width is None else _beside(begin, value, width):
            typer.echo(line)


def draw(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table of numbers whose first row is its heading, for stdout."""
    titles, *cells = rows
    columns = [Column(title, right=place > 0) for place, title in enumerate(titles)]
    return list(table_lines(columns, cells, terminal_width()))


def table_lines(
    columns: Sequence[Column],
    rows: Iterable[Sequence[object]],
    width: int | None,
    *,
    heading: bool = True,
    indent: int = 0,
) -> Iterator[str]:
    """Yield the lines of a table. An empty cell is shown as `-`."""
    cells = [[clean(cell) or _NOTHING for cell in row] for row in rows]
    titles = [column.title for column in columns]
    shown = [titles, *cells] if heading else cells
    natural = [
        max((cell_width(row[place]) for row in shown), default=0) for place in range(len(columns))
    ]
    if width is None:
        for row in shown:
            yield _line(columns, row, natural, indent)
        return
    widths = _fitted(columns, shown, natural, width - indent)
    if widths is None:
        yield from _blocks(titles, cells, width, indent)
        return
    for row in shown:
        yield from _row_lines(columns, row, widths, indent)


def text_lines(text: str, width: int | None, hang: int | None = None) -> Iterator[str]:
    """Yield a line of text, wrapped if it is wider than `width`.

    `hang` is the indent of the lines after the first. Without it they stand below the value of a
    line `name  value`, else two columns further right than the first.
    """
    shown = clean(text)
    if width is None or cell_width(shown) <= width:
        yield shown.rstrip()
        return
    begin = len(shown) - len(shown.lstrip())
    if hang is None:
        named = _NAMED.match(shown)
        if named is not None and cell_width(named[0]) <= min(_MOST_HANG, width // 2):
            yield from _beside(named[0], shown[named.end() :], width)
            return
        hang = begin + _GAP
    hang = min(hang, width // 2)
    first, *others = _wrapped(shown, width, hang)
    yield first
    for line in others:
        yield f"{' ' * hang}{line}"


def _beside(name: str, value: str, width: int) -> Iterator[str]:
    """Yield a value in lines that begin where the name ends."""
    begin = cell_width(name)
    first, *others = _wrapped(value, width - begin)
    yield f"{name}{first}".rstrip()
    for line in others:
        yield f"{' ' * begin}{line}"


def moment(at: datetime | None) -> str:
    """Return a time in UTC for a cell whose heading names UTC; empty for None."""
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def clean(value: object) -> str:
    """Return a value as text without characters that act on a terminal."""
    text = str(value)
    return readable(text, len(text))


def cell_width(text: str) -> int:
    """Return the number of columns that a text takes: two for a wide character, 0 for a mark."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def shortened(text: str, width: int) -> str:
    """Return a text that fits `width` columns; a longer one loses its middle."""
    if cell_width(text) <= width:
        return text
    kept = max(width - 1, 0)
    head, tail = _head(text, (kept + 1) // 2), _head(text[::-1], kept // 2)[::-1]
    return f"{head}{_ELLIPSIS}{tail}"


def _head(text: str, width: int) -> str:
    """Return the longest beginning of a text that fits `width` columns."""
    if text.isascii():
        return text[:width]
    end = min(len(text), width)
    # A mark takes no column, a wide character two.
    while end < len(text) and cell_width(text[: end + 1]) <= width:
        end += 1
    while end and cell_width(text[:end]) > width:
        end -= 1
    return text[:end]


def _wrapped(text: str, width: int, hang: int = 0) -> list[str]:
    """Return a text in lines; those after the first are `hang` columns shorter.

    A line ends at a space. A word that is wider than a line is divided.
    """
    lines: list[str] = []
    begin = text[: len(text) - len(text.lstrip(" "))]
    line, is_empty = begin, True
    for gap, word in re.findall(r"( *)([^ ]+)", text[len(begin) :]):
        room = width - (hang if lines else 0)
        if not is_empty and cell_width(line + gap + word) > room:
            lines.append(line)
            line, is_empty, room = "", True, width - hang
        line += word if is_empty else gap + word
        is_empty = False
        while cell_width(line) > room:
            part = _head(line, room) or line[:1]
            lines.append(part)
            line, room = line[len(part) :], width - hang
    return [*lines, line] if line or not lines else lines


def _fitted(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], natural: Sequence[int], width: int
) -> list[int] | None:
    """Return the widths of columns in `width`; None if they do not fit at their least widths."""
    widths = list(natural)
    least = [
        min(widths[place], column.least if column.least is not None else _longest_word(rows, place))
        for place, column in enumerate(columns)
    ]
    # No heading is divided within a word.
    titles = [[column.title for column in columns]]
    least = [max(found, _longest_word(titles, place)) for place, found in enumerate(least)]
    surplus = sum(widths) + _GAP * (len(widths) - 1) - width
    for turn in sorted({column.yields for column in columns}):
        places = [place for place, column in enumerate(columns) if column.yields == turn]
        while surplus > 0:
            # The widest gives first, so that the columns of one turn become alike.
            place = max(places, key=lambda one: (widths[one] > least[one], widths[one]))
            if widths[place] <= least[place]:
                break
            widths[place] -= 1
            surplus -= 1
    return None if surplus > 0 else widths


def _longest_word(rows: Sequence[Sequence[str]], place: int) -> int:
    return max((cell_width(word) for row in rows for word in row[place].split()), default=0)


def _row_lines(
    columns: Sequence[Column], row: Sequence[str], widths: Sequence[int], indent: int
) -> Iterator[str]:
    wrapped = [
        [shortened(cell, width)] if column.is_shortened else _wrapped(cell, width)
        for column, cell, width in zip(columns, row, widths, strict=True)
    ]
    for number in range(max(map(len, wrapped))):
        parts = [lines[number] if number < len(lines) else "" for lines in wrapped]
        yield _line(columns, parts, widths, indent)


def _line(columns: Sequence[Column], row: Sequence[str], widths: Sequence[int], indent: int) -> str:
    parts = [
        _padded(cell, width, right=column.right)
        for column, cell, width in zip(columns, row, widths, strict=True)
    ]
    return f"{' ' * indent}{(' ' * _GAP).join(parts)}".rstrip()


def _padded(text: str, width: int, *, right: bool = False) -> str:
    space = " " * (width - cell_width(text))
    return space + text if right else text + space


def _blocks(
    titles: Sequence[str], rows: Iterable[Sequence[str]], width: int, indent: int
) -> Iterator[str]:
    """Yield each row as lines of a title and a value, without empty ones; a blank line between."""
    widest = max(map(cell_width, titles))
    for number, row in enumerate(rows):
        if number:
            yield ""
        for title, cell in zip(titles, row, strict=True):
            if cell != _NOTHING:
                name = f"{' ' * indent}{_padded(title, widest)}{' ' * _GAP}"
                yield from _beside(name, cell, width)
