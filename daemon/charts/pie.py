"""A pie of a few parts."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from daemon.charts.chart import Chart, Key, Table, svg, titled
from daemon.charts.text import grouped, share

_CENTRE, _RADIUS = 100, 96
_SMALLEST_WITH_TEXT = 0.08


def pie(title: str, names: Sequence[str], counts: Sequence[int]) -> Chart:
    """Draw slices clockwise from twelve o'clock, with the shares inside; at most five."""
    total = sum(counts)
    largest = max(range(len(counts)), key=lambda i: counts[i])
    start = 0.0
    parts: list[Markup] = []
    texts: list[Markup] = []
    for i, (name, count) in enumerate(zip(names, counts, strict=True)):
        if not count:
            continue
        turn = count / total
        said = titled(f"{name}: {grouped(count)} ({share(count, total)})")
        if i == largest:
            # A slice of nearly the whole circle has the same point as begin and end.
            parts.insert(0, _circle(f"chart-fill-{i + 1}", said))
        else:
            parts.append(_slice(start, turn, i + 1, said))
        if turn >= _SMALLEST_WITH_TEXT:
            x, y = _on_circle(start + turn / 2, 0 if turn == 1 else _RADIUS * 0.6)
            texts.append(
                Markup('<text x="{:.1f}" y="{:.1f}" class="chart-on-{}">{}</text>').format(
                    x, y + 6, i + 1, share(count, total)
                )
            )
        start += turn
    if not total:
        parts.append(_circle("chart-track", titled("none")))
    facts = "; ".join(f"{name}: {grouped(n)}" for name, n in zip(names, counts, strict=True))
    rows = tuple(
        (name, grouped(count), share(count, total))
        for name, count in zip(names, counts, strict=True)
    )
    key = tuple(Key(i + 1, f"{name}: {number}") for i, (name, number, _) in enumerate(rows))
    picture = svg(
        "pie",
        f"{facts}, of {grouped(total)}",
        [*parts, *texts],
        width=2 * _CENTRE,
        height=2 * _CENTRE,
    )
    return Chart(title, picture, Table(("Part", "Number", "Share"), rows), key)


def _circle(name: str, said: Markup) -> Markup:
    return Markup('<circle cx="{0}" cy="{0}" r="{1}" class="{2}">{3}</circle>').format(
        _CENTRE, _RADIUS, name, said
    )


def _slice(start: float, turn: float, colour: int, said: Markup) -> Markup:
    x1, y1 = _on_circle(start, _RADIUS)
    x2, y2 = _on_circle(start + turn, _RADIUS)
    return Markup(
        '<path d="M{0} {0}L{1:.2f} {2:.2f}A{3} {3} 0 {4} 1 {5:.2f} {6:.2f}Z" '
        'class="chart-slice chart-fill-{7}">{8}</path>'
    ).format(_CENTRE, x1, y1, _RADIUS, int(turn > 0.5), x2, y2, colour, said)


def _on_circle(turn: float, radius: float) -> tuple[float, float]:
    angle = 2 * math.pi * turn
    return _CENTRE + radius * math.sin(angle), _CENTRE - radius * math.cos(angle)
