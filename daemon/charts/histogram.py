"""A histogram of probabilities with the threshold as a dashed line."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from daemon.charts.chart import Chart, Table, svg, titled
from daemon.charts.text import axis_end, grouped

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BINS = 20
HEIGHT, AXIS, HEAD = 96, 18, 14
"""Heights in pixels: of the picture, of the axis below the bins, of the text above them."""


@dataclass(frozen=True, slots=True)
class Bins:
    """Numbers of values in bins of equal width from 0 to `end`."""

    end: float
    below: tuple[int, ...]
    above: tuple[int, ...]


def histogram(name: str, bins: Bins, threshold: float | None, *, said: str = "") -> Chart:
    """Draw bins; the values at or above the threshold stand on top of the others.

    `said` continues the sentence that describes the picture. Without one threshold (for example
    because it was changed) no line is drawn.
    """
    below, above, end = bins.below, bins.above, bins.end
    tallest = max([*(low + high for low, high in zip(below, above, strict=True)), 1])
    floor = HEIGHT - AXIS
    unit = (floor - HEAD) / tallest
    step = 100 / max(len(below), 1)
    parts = []
    rows = []
    for i, (low, high) in enumerate(zip(below, above, strict=True)):
        span = f"{i * end / len(below):.3g} to {(i + 1) * end / len(below):.3g}"
        rows.append((span, grouped(low), grouped(high)))
        parts += [
            Markup(
                '<rect x="{:.2f}%" y="{:.2f}" width="{:.2f}%" height="{:.2f}" '
                'class="chart-fill-{}">{}</rect>'
            ).format(
                *(i * step + step * 0.06, floor - (bottom + n) * unit, step * 0.88, n * unit),
                *(colour, titled(f"{span}: {grouped(n)} {side}")),
            )
            for n, bottom, colour, side in (
                (low, 0, 1, "below the threshold"),
                (high, low, 2, "at or above the threshold"),
            )
            if n
        ]
    parts.append(
        Markup(
            '<line x1="0" x2="100%" y1="{0}" y2="{0}" class="chart-axis"/><text x="0" y="{1}">0'
            '</text><text x="100%" y="{1}" class="chart-end">{2:g}</text>'
        ).format(floor, HEIGHT - 5, end)
    )
    if threshold is not None:
        parts.append(_threshold(threshold, end, floor))
    at = "" if threshold is None else f" of {threshold:.3f}"
    label = (
        f"{name}: {grouped(sum(above))} of {grouped(sum(above) + sum(below))} images at or above "
        f"the threshold{at}{said}"
    )
    table = Table(("Probability", "Below the threshold", "At or above"), tuple(rows))
    return Chart(name, svg("histogram", label, parts, height=HEIGHT), table)


def bins_of(values: "NDArray[np.float32]", present: "NDArray[np.bool_]", threshold: float) -> Bins:
    """Count probabilities, shape (n,), in bins to a round end above all of them.

    `present` marks the values that reach the threshold; the values are rounded and may differ.
    """
    # Who has values has loaded numpy; a page of drawn bins needs none.
    import numpy as np

    end = axis_end(max(float(values.max()) if len(values) else 0.0, threshold))
    below, above = (
        np.histogram(part, BINS, (0.0, end))[0].tolist()
        for part in (values[~present], values[present])
    )
    return Bins(end, tuple(below), tuple(above))


def histogram_of(
    name: str, values: "NDArray[np.float32]", present: "NDArray[np.bool_]", threshold: float
) -> Chart:
    """Draw probabilities, shape (n,), with the facts of `bins_of`."""
    import numpy as np

    said = (
        f"; probabilities from {values.min():.3f} to {values.max():.3f}, "
        f"median {np.median(values):.3f}"
        if len(values)
        else ""
    )
    return histogram(name, bins_of(values, present, threshold), threshold, said=said)


def _threshold(threshold: float, end: float, floor: int) -> Markup:
    at = min(threshold / end, 1.0)
    return Markup(
        '<line x1="{0:.2f}%" x2="{0:.2f}%" y1="0" y2="{1}" class="chart-threshold"/>'
        '<text x="{0:.2f}%" dx="{2}" y="10" class="{3}">{4:.3f}</text>'
    ).format(100 * at, floor, *((4, "chart-start") if at < 0.5 else (-4, "chart-end")), threshold)
