"""The dashboard's charts as SVG, without script, font or external file; readable in print.

Colours are of Okabe and Ito's palette, which colour-blind people can distinguish. Words or numbers
repeat all information that a colour shows.
"""

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

BLUE, ORANGE = "#0072b2", "#d55e00"
BINS = 20

_BAR, _PITCH, _LABEL, _WIDTH, _VALUE = 16, 25, 150, 640, 96
_PIE = 100
PANEL_WIDTH, PANEL_HEIGHT, PANEL_AXIS, PANEL_HEAD = 220, 96, 18, 14


def bars(names: Sequence[str], counts: Sequence[int], total: int) -> Markup:
    """Draw horizontal bars with count and share of `total`."""
    height = _PITCH * len(names) + 4
    longest = max([*counts, 1])
    parts = []
    for i, (name, count) in enumerate(zip(names, counts, strict=True)):
        top = i * _PITCH + (_PITCH - _BAR) / 2
        length = (_WIDTH - _LABEL - _VALUE) * count / longest
        middle = top + _BAR / 2 + 4.5
        parts.append(
            Markup(
                '<text x="{}" y="{:.1f}" text-anchor="end">{}</text>'
                '<rect x="{}" y="{:.1f}" width="{:.1f}" height="{}" rx="2" fill="{}"/>'
                '<text x="{:.1f}" y="{:.1f}" class="value">{} ({})</text>'
            ).format(
                *(_LABEL - 10, middle, name),
                *(_LABEL, top, max(length, 1.0), _BAR, BLUE if count else "#c5ccd3"),
                *(_LABEL + max(length, 1.0) + 8, middle, count, share(count, total)),
            )
        )
    label = ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
    return _svg(_WIDTH, height, f"Images with each finding, of {total}: {label}", parts)


def pie(counts: tuple[int, int], names: tuple[str, str]) -> Markup:
    """Draw two slices, the first clockwise from twelve o'clock, with their shares inside."""
    total = sum(counts)
    first = counts[0] / total
    centre, radius = _PIE, _PIE - 4
    parts = [
        Markup('<circle cx="{0}" cy="{0}" r="{1}" fill="{2}"/>').format(
            centre, radius, BLUE if first == 1 else ORANGE
        )
    ]
    if 0 < first < 1:
        x, y = _on_circle(first, radius)
        parts.append(
            Markup(
                '<path d="M{0} {0}L{0} {1}A{2} {2} 0 {3} 1 {4:.2f} {5:.2f}Z" fill="{6}" '
                'stroke="#fff" stroke-width="2" stroke-linejoin="round"/>'
            ).format(centre, centre - radius, radius, int(first > 0.5), x, y, BLUE)
        )
    for part, middle in ((first, first / 2), (1 - first, (1 + first) / 2)):
        if part >= 0.08:
            x, y = _on_circle(middle, 0 if part == 1 else radius * 0.6)
            parts.append(
                Markup(
                    '<text x="{:.1f}" y="{:.1f}" text-anchor="middle" class="on-colour">{}</text>'
                ).format(x, y + 5, share(part, 1))
            )
    label = "; ".join(f"{name}: {n}" for name, n in zip(names, counts, strict=True))
    return _svg(2 * _PIE, 2 * _PIE, f"{label}, of {total}", parts)


def histogram(
    name: str, values: NDArray[np.float32], present: NDArray[np.bool_], threshold: float
) -> Markup:
    """Draw probabilities from 0 to the panel's own end, with the threshold as a dashed line.

    `present` marks the values that reach the threshold; the values are rounded and may differ.
    """
    end = axis_end(max(float(values.max()), threshold))
    below = np.histogram(values[~present], BINS, (0.0, end))[0]
    above = np.histogram(values[present], BINS, (0.0, end))[0]
    tallest = int((below + above).max())
    floor = PANEL_HEIGHT - PANEL_AXIS
    unit = (floor - PANEL_HEAD) / tallest
    step = PANEL_WIDTH / BINS
    parts = []
    for i, (low, high) in enumerate(zip(below, above, strict=True)):
        parts += [
            Markup('<rect x="{:.1f}" y="{:.2f}" width="{:.1f}" height="{:.2f}" fill="{}"/>').format(
                i * step + 0.5, floor - bottom * unit - n * unit, step - 1, n * unit, colour
            )
            for n, bottom, colour in ((low, 0, BLUE), (high, low, ORANGE))
            if n
        ]
    at = threshold / end * PANEL_WIDTH
    parts.append(
        Markup(
            '<line x1="0" x2="{0}" y1="{1}" y2="{1}" class="axis"/>'
            '<line x1="{2:.1f}" x2="{2:.1f}" y1="0" y2="{1}" class="threshold"/>'
            '<text x="0" y="{3}">0</text>'
            '<text x="{0}" y="{3}" text-anchor="end">{4:g}</text>'
            '<text x="{5:.1f}" y="9" text-anchor="{6}">{7}</text>'
        ).format(
            *(PANEL_WIDTH, floor, at, PANEL_HEIGHT - 5, end),
            *(at + (4 if at < PANEL_WIDTH / 2 else -4),),
            *("start" if at < PANEL_WIDTH / 2 else "end", f"{threshold:.3f}"),
        )
    )
    label = (
        f"{name}: {int(above.sum())} of {len(values)} images at or above the threshold of "
        f"{threshold:.3f}; probabilities from {values.min():.3f} to {values.max():.3f}, "
        f"median {np.median(values):.3f}"
    )
    return _svg(PANEL_WIDTH, PANEL_HEIGHT, label, parts)


def axis_end(largest: float) -> float:
    """Return a round number with room above `largest`, at most 1."""
    for decade in (0.001, 0.01, 0.1):
        for digit in (1, 2, 3, 4, 5, 6, 8):
            if digit * decade >= largest * 1.08:
                return round(digit * decade, 4)
    return 1.0


def share(count: float, total: float) -> str:
    """Format a share of a total in per cent; a small share has one decimal."""
    if not total:
        return "–"
    percent = 100.0 * count / total
    return f"{percent:.1f} %" if 0 < percent < 9.95 else f"{percent:.0f} %"


def _on_circle(turn: float, radius: float) -> tuple[float, float]:
    angle = 2 * math.pi * turn
    return _PIE + radius * math.sin(angle), _PIE - radius * math.cos(angle)


def _svg(width: int, height: int, label: str, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-label="{2}">{3}</svg>'
    ).format(width, height, label, Markup().join(parts))
