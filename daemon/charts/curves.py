"""Curves in the unit square: ROC curves, and reliability with intervals and numbers per bin."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from daemon.charts.chart import Chart, Key, Table, svg, titled
from daemon.charts.text import grouped

_SIDE, _LEFT, _TOP, _BELOW, _RIGHT = 240, 54, 8, 40, 10
_COUNTS = 34
"""Height of the bars that show how many films a bin has."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve through points (x, y), each from 0 to 1."""

    name: str
    points: tuple[tuple[float, float], ...]
    colour: int = 1


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Films of similar probability: the mean of it, the share with the finding, its interval."""

    mean: float
    rate: float
    low: float
    high: float
    count: int


def curves(
    title: str,
    series: Sequence[Curve],
    axes: tuple[str, str],
    *,
    steps: bool = True,
    point: tuple[float, float] | None = None,
    most_rows: int = 60,
) -> Chart:
    """Draw curves with the diagonal; as steps (an ROC curve) or straight from point to point.

    `point` is marked by a ring, for example the operating point. The table has at most `most_rows`
    points of each curve.
    """
    parts = _square(axes)
    for one in series:
        parts.append(
            Markup('<path d="{}" class="chart-line-{}">{}</path>').format(
                _steps(one.points) if steps else _straight(one.points),
                one.colour,
                titled(one.name),
            )
        )
    if point is not None:
        parts.append(
            Markup('<circle cx="{:.2f}" cy="{:.2f}" r="5" class="chart-ring">{}</circle>').format(
                _x(point[0]), _y(point[1]), titled(f"{point[0]:.3f}, {point[1]:.3f}")
            )
        )
    rows = []
    for one in series:
        every = max(1, -(-len(one.points) // most_rows))
        chosen = [*one.points[::every], *one.points[-1:]] if every > 1 else one.points
        rows += [(one.name, f"{x:.3f}", f"{y:.3f}") for x, y in chosen]
    marked = f"; marked point {point[0]:.3f}, {point[1]:.3f}" if point is not None else ""
    label = f"{title}: {'; '.join(one.name for one in series) or 'no curve'}{marked}"
    return Chart(
        title,
        svg("square", label, parts, width=_LEFT + _SIDE + _RIGHT, height=_TOP + _SIDE + _BELOW),
        Table(("Curve", *axes), tuple(rows)),
        tuple(Key(one.colour, one.name, "mark") for one in series) if len(series) > 1 else (),
    )


def reliability(
    title: str, bins: Sequence[ReliabilityBin], axes: tuple[str, str], *, end: float = 1.0
) -> Chart:
    """Draw the rate of each bin over its mean probability, with its interval and its number.

    Both axes go from 0 to `end`; an interval that goes on beyond it is cut off there.
    """
    parts = _square(axes, end)
    for one in bins:
        said = titled(
            f"{one.mean:.3f}: {one.rate:.3f} ({one.low:.3f} to {one.high:.3f}), "
            f"{grouped(one.count)} films"
        )
        parts.append(
            Markup(
                '<g>{0}<line x1="{1:.2f}" x2="{1:.2f}" y1="{2:.2f}" y2="{3:.2f}" '
                'class="chart-error"/><circle cx="{1:.2f}" cy="{4:.2f}" r="4" '
                'class="chart-fill-1"/></g>'
            ).format(
                said,
                _x(one.mean / end),
                *(_y(min(value / end, 1.0)) for value in (one.low, one.high, one.rate)),
            )
        )
    line = tuple((one.mean / end, min(one.rate / end, 1.0)) for one in bins)
    parts.append(Markup('<path d="{}" class="chart-line-1"/>').format(_straight(line)))
    most = max([*(one.count for one in bins), 1])
    floor = _TOP + _SIDE + _BELOW + _COUNTS
    for one in bins:
        height = max(_COUNTS * one.count / most, 1.0)
        parts.append(
            Markup(
                '<rect x="{:.2f}" y="{:.2f}" width="6" height="{:.2f}" class="chart-fill-3">{}'
                "</rect>"
            ).format(
                _x(one.mean / end) - 3,
                floor - height,
                height,
                titled(f"{grouped(one.count)} films"),
            )
        )
    parts.append(
        Markup(
            '<line x1="{0}" x2="{1}" y1="{2}" y2="{2}" class="chart-axis"/>'
            '<text x="{0}" y="{3}">films per bin, at most {4}</text>'
        ).format(_LEFT, _LEFT + _SIDE, floor, floor + 14, grouped(most if bins else 0))
    )
    facts = "; ".join(f"{one.mean:.2f} → {one.rate:.2f} of {grouped(one.count)}" for one in bins)
    table = Table(
        (axes[0], axes[1], "95 % from", "95 % to", "Films"),
        tuple(
            (
                *(f"{value:.3f}" for value in (one.mean, one.rate, one.low, one.high)),
                grouped(one.count),
            )
            for one in bins
        ),
    )
    width = _LEFT + _SIDE + _RIGHT
    picture = svg("square", f"{title}: {facts or 'no bin'}", parts, width=width, height=floor + 20)
    return Chart(title, picture, table)


def _square(axes: tuple[str, str], end: float = 1.0) -> list[Markup]:
    parts = [
        Markup(
            '<rect x="{0}" y="{1}" width="{2}" height="{2}" class="chart-frame"/>'
            '<line x1="{0}" y1="{3}" x2="{4}" y2="{1}" class="chart-diagonal"/>'
            '<text x="{5}" y="{6}" class="chart-middle">{7}</text>'
            '<text x="12" y="{8}" class="chart-middle" transform="rotate(-90 12 {8})">{9}</text>'
        ).format(
            *(_LEFT, _TOP, _SIDE, _TOP + _SIDE, _LEFT + _SIDE),
            *(_LEFT + _SIDE / 2, _TOP + _SIDE + 33, axes[0], _TOP + _SIDE / 2, axes[1]),
        )
    ]
    for value in (0.0, 0.5, 1.0):
        parts.append(
            Markup(
                '<text x="{:.1f}" y="{}" class="chart-middle">{:g}</text>'
                '<text x="{}" y="{:.1f}" class="chart-end">{:g}</text>'
            ).format(
                *(_x(value), _TOP + _SIDE + 15, value * end),
                *(_LEFT - 6, _y(value) + 4, value * end),
            )
        )
    return parts


def _x(value: float) -> float:
    return _LEFT + _SIDE * value


def _y(value: float) -> float:
    return _TOP + _SIDE * (1 - value)


def _straight(points: Sequence[tuple[float, float]]) -> str:
    return "".join(f"{'L' if i else 'M'}{_x(x):.2f} {_y(y):.2f}" for i, (x, y) in enumerate(points))


def _steps(points: Sequence[tuple[float, float]]) -> str:
    """Return a path that goes up before it goes right."""
    drawn = []
    for i, (x, y) in enumerate(points):
        drawn.append(f"V{_y(y):.2f}H{_x(x):.2f}" if i else f"M{_x(x):.2f} {_y(y):.2f}")
    return "".join(drawn)
