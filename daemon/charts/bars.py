"""Bars beside names, and columns over days; both may be stacked."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from daemon.charts.chart import Chart, Key, Table, svg, titled
from daemon.charts.text import grouped, listed, share, shortened, ticks

_PITCH, _TEXT, _BAR = 32, 12, 9
_COLUMNS, _TOP, _FLOOR = 150, 8, 20
_MOST_LABELS = 3
_LONGEST_PLACE = 11
_FEWEST_COLUMNS = 7


@dataclass(frozen=True, slots=True)
class Series:
    """Counts that are drawn in one colour; `colour` is the number of a class."""

    name: str
    counts: tuple[int, ...]
    colour: int = 1


def bars(title: str, names: Sequence[str], counts: Sequence[int], total: int) -> Chart:
    """Draw a horizontal bar per name, with count and share of `total`."""
    rows = [
        (name, (count,), f"{grouped(count)} ({share(count, total)})")
        for name, count in zip(names, counts, strict=True)
    ]
    table = Table(
        ("Name", "Number", "Share"),
        tuple(
            (name, grouped(count), share(count, total))
            for name, count in zip(names, counts, strict=True)
        ),
    )
    label = f"{title}, of {grouped(total)}: {listed(names, counts) or 'none'}"
    return Chart(title, _rows(label, rows, (1,)), table)


def stacked_bars(title: str, names: Sequence[str], series: Sequence[Series]) -> Chart:
    """Draw a horizontal bar per name, with a part per series, and the total beside it."""
    totals = [sum(counts) for counts in zip(*(one.counts for one in series), strict=True)]
    rows = [
        (name, tuple(one.counts[i] for one in series), grouped(totals[i]))
        for i, name in enumerate(names)
    ]
    table = Table(
        ("Name", *(one.name for one in series), "Together"),
        tuple(
            (name, *(grouped(one.counts[i]) for one in series), grouped(totals[i]))
            for i, name in enumerate(names)
        ),
    )
    said = "; ".join(
        f"{name}: {listed([one.name for one in series], [one.counts[i] for one in series])}"
        for i, name in enumerate(names)
    )
    colours = tuple(one.colour for one in series)
    picture = _rows(f"{title}: {said or 'none'}", rows, colours)
    return Chart(title, picture, table, tuple(Key(one.colour, one.name) for one in series))


def columns(title: str, places: Sequence[str], series: Sequence[Series]) -> Chart:
    """Draw a column per place (for example a day), with a part per series from below."""
    totals = [sum(counts) for counts in zip(*(one.counts for one in series), strict=True)]
    most = max([*totals, 1])
    unit, step = (_COLUMNS - _TOP) / most, 100 / max(len(places), _FEWEST_COLUMNS)
    parts = [_grid(value, _COLUMNS - value * unit) for value in ticks(0, most, 4)]
    for i, place in enumerate(places):
        floor = float(_COLUMNS)
        counts = [one.counts[i] for one in series]
        marks = [titled(f"{place}: {listed([one.name for one in series], counts)}")]
        for one in series:
            if height := one.counts[i] * unit:
                floor -= height
                marks.append(_box(i * step + step * 0.08, floor, step * 0.84, height, one.colour))
        parts.append(Markup("<g>{}</g>").format(Markup().join(marks)))
    every = max(1, -(-len(places) // _MOST_LABELS))
    for i in range(0, len(places), every):
        parts.append(
            Markup('<text x="{:.2f}%" y="{}">{}</text>').format(
                i * step, _COLUMNS + 15, shortened(places[i], _LONGEST_PLACE)
            )
        )
    sums = listed([one.name for one in series], [sum(one.counts) for one in series])
    span = f", {places[0]} to {places[-1]}" if places else ""
    table = Table(
        ("Time", *(one.name for one in series)),
        tuple(
            (place, *(grouped(one.counts[i]) for one in series)) for i, place in enumerate(places)
        ),
    )
    picture = svg("columns", f"{title}{span}: {sums}", parts, height=_COLUMNS + _FLOOR)
    return Chart(title, picture, table, tuple(Key(one.colour, one.name) for one in series))


def _rows(
    label: str, rows: Sequence[tuple[str, tuple[int, ...], str]], colours: Sequence[int]
) -> Markup:
    longest = max([*(sum(counts) for _, counts, _ in rows), 1])
    parts = []
    for i, (name, counts, value) in enumerate(rows):
        top = i * _PITCH
        parts.append(
            Markup(
                '<text x="0" y="{0}">{1}{2}</text><text x="100%" y="{0}" class="chart-end '
                'chart-number">{3}</text><rect x="0" y="{4}" width="100%" height="{5}" rx="2" '
                'class="chart-track"/>'
            ).format(top + _TEXT, titled(name), shortened(name), value, top + _TEXT + 6, _BAR)
        )
        start = 0.0
        for count, colour in zip(counts, colours, strict=True):
            if count:
                width = max(100 * count / longest, 0.3)
                parts.append(_box(start, top + _TEXT + 6, width, _BAR, colour))
                start += 100 * count / longest
    return svg("bars", label, parts, height=max(_PITCH * len(rows), 1))


def _box(x: float, y: float, width: float, height: float, colour: int) -> Markup:
    return Markup(
        '<rect x="{:.2f}%" y="{:.2f}" width="{:.2f}%" height="{:.2f}" class="chart-fill-{}"/>'
    ).format(x, y, width, height, colour)


def _grid(value: float, y: float) -> Markup:
    return Markup(
        '<line x1="0" x2="100%" y1="{0:.2f}" y2="{0:.2f}" class="chart-grid"/>'
        '<text x="-8" y="{1:.2f}" class="chart-end">{2}</text>'
    ).format(y, y + 4, grouped(round(value)) if value == round(value) else f"{value:g}")
