"""Lines over time with control limits and marks of alarms."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from daemon.charts.chart import Chart, Key, Table, svg, titled
from daemon.charts.text import shortened, ticks

_HEIGHT, _TOP, _FLOOR = 132, 10, 20
_MOST_LABELS = 3
_LONGEST_PLACE = 11
_WIDE = 1000


@dataclass(frozen=True, slots=True)
class Line:
    """Values over the places of a chart; None where there is none."""

    name: str
    values: tuple[float | None, ...]
    colour: int = 1


@dataclass(frozen=True, slots=True)
class Limits:
    """The centre of a control chart and its limits at each place; None where there is none."""

    centre: float
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


def lines(
    title: str,
    places: Sequence[str],
    series: Sequence[Line],
    *,
    limits: Limits | None = None,
    alarms: Sequence[int] = (),
    baseline: int = 0,
    digits: int = 3,
) -> Chart:
    """Draw lines over `places`, oldest first.

    `alarms` are the places that get a mark; the first `baseline` places have a ground of their own.
    `digits` are the decimals of a value in words.
    """
    low, high = _range(series, limits)
    unit = (_HEIGHT - _TOP) / (high - low)

    def across(i: int) -> float:
        return 100 * (i + 0.5) / max(len(places), 1)

    def down(value: float) -> float:
        return _HEIGHT - (value - low) * unit

    parts: list[Markup] = []
    if baseline:
        parts.append(
            Markup('<rect x="0" y="{}" width="{:.2f}%" height="{}" class="chart-ground"/>').format(
                _TOP, 100 * baseline / len(places), _HEIGHT - _TOP
            )
        )
    for tick in ticks(low, high, 4):
        parts.append(
            Markup(
                '<line x1="0" x2="100%" y1="{0:.2f}" y2="{0:.2f}" class="chart-grid"/>'
                '<text x="-8" y="{1:.2f}" class="chart-end">{2:g}</text>'
            ).format(down(tick), down(tick) + 4, tick)
        )
    paths = []
    if limits is not None:
        centre: tuple[float | None, ...] = (limits.centre,) * len(places)
        paths.append(_path(centre, "chart-centre", across, down))
        paths += [_path(edge, "chart-limit", across, down) for edge in (limits.low, limits.high)]
    paths += [_path(one.values, f"chart-line-{one.colour}", across, down) for one in series]
    parts.append(
        Markup(
            '<svg x="0" y="0" width="100%" height="{0}" viewBox="0 0 {1} {0}" '
            'preserveAspectRatio="none">{2}</svg>'
        ).format(_HEIGHT, _WIDE, Markup().join(paths))
    )
    for one in series:
        for i, value in enumerate(one.values):
            if value is not None:
                said = titled(f"{places[i]}: {one.name} {value:.{digits}f}")
                parts.append(
                    Markup(
                        '<circle cx="{:.2f}%" cy="{:.2f}" r="2.5" class="chart-fill-{}">{}</circle>'
                    ).format(across(i), down(value), one.colour, said)
                )
    parts += [_alarm(across(i), places[i]) for i in alarms]
    every = max(1, -(-len(places) // _MOST_LABELS))
    parts += [
        Markup('<text x="{:.2f}%" y="{}">{}</text>').format(
            100 * i / len(places), _HEIGHT + 15, shortened(places[i], _LONGEST_PLACE)
        )
        for i in range(0, len(places), every)
    ]
    return Chart(
        title,
        svg(
            "lines",
            _said(title, places, series, limits, alarms, digits),
            parts,
            height=_HEIGHT + _FLOOR,
        ),
        _table(places, series, limits, alarms, digits),
        _key(series),
    )


def _range(series: Sequence[Line], limits: Limits | None) -> tuple[float, float]:
    values = [value for one in series for value in one.values if value is not None]
    if limits is not None:
        edges = (*limits.low, *limits.high, limits.centre)
        values += [value for value in edges if value is not None]
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = (high - low) * 0.08 or max(abs(high) * 0.1, 0.01)
    # A share or a mean probability has no value below 0.
    return (max(low - margin, 0.0) if low >= 0 else low - margin), high + margin


def _path(
    values: Sequence[float | None],
    name: str,
    across: Callable[[int], float],
    down: Callable[[float], float],
) -> Markup:
    drawn, pen = [], "M"
    for i, value in enumerate(values):
        if value is None:
            pen = "M"
            continue
        drawn.append(f"{pen}{across(i) * _WIDE / 100:.1f} {down(value):.2f}")
        pen = "L"
    return Markup('<path d="{}" class="{}"/>').format("".join(drawn), name)


def _alarm(x: float, place: str) -> Markup:
    return Markup(
        '<g class="chart-alarm">{0}<line x1="{1:.2f}%" x2="{1:.2f}%" y1="{2}" y2="{3}"/>'
        '<text x="{1:.2f}%" y="9" class="chart-middle">▼</text></g>'
    ).format(titled(f"{place}: alarm"), x, _TOP + 2, _HEIGHT)


def _said(
    title: str,
    places: Sequence[str],
    series: Sequence[Line],
    limits: Limits | None,
    alarms: Sequence[int],
    digits: int,
) -> str:
    said = []
    for one in series:
        values = [value for value in one.values if value is not None]
        if values:
            said.append(
                f"{one.name} from {min(values):.{digits}f} to {max(values):.{digits}f}, "
                f"last {values[-1]:.{digits}f}"
            )
    if limits is not None:
        said.append(f"centre {limits.centre:.{digits}f}")
    if alarms:
        said.append(f"alarms: {', '.join(places[i] for i in alarms)}")
    span = f", {places[0]} to {places[-1]}" if places else ""
    return f"{title}{span}: {'; '.join(said) or 'no value'}"


def _table(
    places: Sequence[str],
    series: Sequence[Line],
    limits: Limits | None,
    alarms: Sequence[int],
    digits: int,
) -> Table:
    columns: list[tuple[str, Sequence[float | None]]] = [(one.name, one.values) for one in series]
    if limits is not None:
        columns += [("Lower limit", limits.low), ("Upper limit", limits.high)]
    rows = []
    for i, place in enumerate(places):
        cells = ["–" if values[i] is None else f"{values[i]:.{digits}f}" for _, values in columns]
        if alarms:
            cells.append("alarm" if i in alarms else "")
        rows.append((place, *cells))
    heads = ("Time", *(name for name, _ in columns), *(("Alarm",) if alarms else ()))
    return Table(heads, tuple(rows))


def _key(series: Sequence[Line]) -> tuple[Key, ...]:
    if len(series) < 2:
        return ()
    return tuple(Key(one.colour, one.name, "mark") for one in series)
