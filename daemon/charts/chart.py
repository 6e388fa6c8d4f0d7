"""A chart: its picture, the key to its colours, and the table that says the same in numbers.

A picture is SVG with classes only: `charts.css` has the colours, for light and dark pages. They are
based on the palette of Okabe and Ito, which colour-blind people can distinguish. Words or numbers
repeat all information that a colour shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

COLOURS = 5
"""Numbers of the colour classes: 1 to 5."""

_STYLE = Path(__file__).parent / "charts.css"


@dataclass(frozen=True, slots=True)
class Table:
    """The numbers of a chart; the first cell of a row is its heading, the others are numbers."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Key:
    """The meaning of a colour; `mark` is `area` or `mark` (a line)."""

    colour: int
    text: str
    mark: str = "area"


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawn chart. A template shows it as a figure with its key and table by `{{ chart }}`."""

    title: str
    picture: Markup
    table: Table
    key: tuple[Key, ...] = ()

    def __html__(self) -> str:
        """Return the figure as HTML, with the table in a closed `<details>`."""
        return Markup('<figure class="chart">{}{}{}</figure>').format(
            _key(self.key), self.picture, table_behind(self.title, self.table)
        )


def stylesheet() -> str:
    """Return the rules of `charts.css`, for a page that has no other file."""
    return _STYLE.read_text(encoding="utf-8")


def table_behind(title: str, table: Table) -> Markup:
    """Return a closed `<details>` with the table of a chart."""
    return Markup(
        '<details class="chart-behind"><summary>Numbers<span class="chart-hidden">: {0}</span>'
        '</summary><div class="chart-scroll" tabindex="0" role="region" aria-label="Numbers: {0}">'
        '<table class="chart-table"><thead><tr>{1}</tr></thead><tbody>{2}</tbody></table></div>'
        "</details>"
    ).format(
        title,
        _joined(Markup('<th scope="col">{}</th>'), table.heads),
        Markup().join(
            Markup('<tr><th scope="row">{}</th>{}</tr>').format(
                row[0], _joined(Markup("<td>{}</td>"), row[1:])
            )
            for row in table.rows
        ),
    )


def svg(
    kind: str,
    label: str,
    parts: Sequence[Markup],
    *,
    height: float,
    width: float | None = None,
) -> Markup:
    """Return the picture with its facts in words; without `width` it fills its place.

    A picture without a width has horizontal places in per cent, so that its text keeps its size
    on a narrow page.
    """
    size = (
        Markup('width="100%" height="{:g}"').format(height)
        if width is None
        else Markup('viewBox="0 0 {0:g} {1:g}" width="{0:g}" height="{1:g}"').format(width, height)
    )
    return Markup(
        '<svg class="chart-picture chart-{}" {} role="img" aria-label="{}">{}</svg>'
    ).format(kind, size, label, Markup().join(parts))


def titled(text: str) -> Markup:
    """Return the text that a browser shows over a mark."""
    return Markup("<title>{}</title>").format(text)


def _key(key: Sequence[Key]) -> Markup:
    if not key:
        return Markup("")
    items = Markup().join(
        Markup('<li><i class="chart-{}-{}" aria-hidden="true"></i>{}</li>').format(
            one.mark, one.colour, one.text
        )
        for one in key
    )
    return Markup('<ul class="chart-key">{}</ul>').format(items)


def _joined(element: Markup, cells: Sequence[str]) -> Markup:
    return Markup().join(element.format(cell) for cell in cells)
