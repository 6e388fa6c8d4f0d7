"""Co-occurrence as a table with shaded cells: it is its own table of numbers."""

from collections.abc import Sequence

from markupsafe import Markup

from daemon.charts.text import grouped

STEPS = 8
"""Classes of shade, from 0 (none) to 8 (the largest)."""


def matrix(title: str, names: Sequence[str], counts: Sequence[Sequence[int]]) -> Markup:
    """Return counts of pairs, shaded by their share of the largest pair; the diagonal is outlined.

    `counts` is square: cell (i, j) is the number with both i and j, (i, i) the number with i.
    """
    largest = max(
        (n for i, row in enumerate(counts) for j, n in enumerate(row) if i != j), default=0
    )
    head = Markup().join(
        Markup('<th scope="col"><span>{}</span></th>').format(name) for name in names
    )
    rows = Markup().join(
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(
            name,
            Markup().join(_cell(n, i == j, largest) for j, n in enumerate(counts[i])),
        )
        for i, name in enumerate(names)
    )
    return Markup(
        '<div class="chart-scroll" tabindex="0" role="region" aria-label="{0}"><table '
        'class="chart-matrix"><caption class="chart-hidden">{0}</caption><thead><tr><td></td>{1}'
        "</tr></thead><tbody>{2}</tbody></table></div>"
    ).format(title, head, rows)


def _cell(count: int, on_diagonal: bool, largest: int) -> Markup:
    if on_diagonal:
        return Markup('<td class="chart-self">{}</td>').format(grouped(count))
    shade = -(-STEPS * min(count, largest) // largest) if count else 0
    return Markup('<td class="chart-shade-{}">{}</td>').format(shade, grouped(count))
