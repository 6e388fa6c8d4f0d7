"""Checks the grey scale that a header declares against the pixels, and replaces what shows nothing.

A VOI LUT or window is degenerate if the visible pixels keep hardly any difference under it. Then
the next one that shows the pixels is taken: the same table scaled by its largest entry, the other
tables and windows of the header, the range of the pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dicom_io.read.grey_scale import (
    BYTE_BITS,
    MOST_FUNCTIONS,
    GreyScale,
    LookupTable,
    Values,
    Window,
)
from dicom_io.read.values.layout import Layout

Counts = NDArray[np.int64]

LEAST_SPREAD = 40
"""Grey levels between the 1st and the 99th percentile of the pixels, at least.

The flattest of 7,700 films (ChestX-ray14, children, other hospitals) has 62.
"""
MOST_CLIPPED = 0.95
"""Share of pixels at the ends of the grey scale from which on it is degenerate.

A uniform border is not counted.
"""
MOST_CLIPPED_BY_NARROW = 0.75
"""The same share where less than a tenth of the range of the values lies between the ends.

A window for 12 bits clips more than this of every film of 16 bits that was tried, but 95 % of only
half of them. On a film that is shown as it should be, a tenth of the range is not all that matters.
"""

MOST_BEYOND = 0.1
"""Share of pixels above BitsStored, or beyond the end of a cut table, that may have one grey level.

More of them are not a uniform border.
"""

MOST_TONES = 2 * MOST_FUNCTIONS
"""VOI LUTs and windows of an image that `Tone.function` counts, at most."""

# Grey levels that count as an end of the grey scale.
_MARGIN = 5

# Pixels at an end of the grey scale are a border if their values differ by less than this part of
# the range of all values; otherwise the tone hides differences.
_UNIFORM = 0.1
_NARROW = 0.1

# Noise differs from pixel to pixel by a quarter of its spread; a film by a tenth at most.
_LEAST_STEPS = 16
_NOISE = 0.12

_PERCENTILES = (0.01, 0.99)
_BULK = (0.05, 0.95)


@dataclass(frozen=True, slots=True)
class Tone:
    """The departure from the grey scale that a header declares; by default there is none.

    `signed` and `bits_stored` replace those of the layout unless None. `has_modality` is False if
    Modality LUT or Rescale are left out. `function` counts the VOI LUTs and windows of the header;
    -1 stands for none. `top` is the output of full scale of the table. `centre` and `width`
    make a linear window that is not in the header. `inverted` reverses the polarity.
    """

    signed: bool | None = None
    bits_stored: int | None = None
    has_modality: bool = True
    function: int = 0
    top: float | None = None
    centre: float | None = None
    width: float | None = None
    inverted: bool = False

    def layout_of(self, declared: Layout) -> Layout:
        """Return the layout that the values of the pixels have."""
        return replace(
            declared,
            signed=declared.signed if self.signed is None else self.signed,
            bits_stored=self.bits_stored or declared.bits_stored,
        )

    def of(self, scale: GreyScale) -> GreyScale:
        """Return the grey scale with this departure."""
        changed = replace(scale, is_inverted=scale.is_inverted != self.inverted)
        if not self.has_modality:
            changed = replace(changed, modality_table=None, slope=1.0, intercept=0.0)
        if self.centre is not None and self.width is not None:
            window = Window(self.centre, self.width, "LINEAR")
            return replace(changed, voi_table=None, window=window, function="LINEAR")
        if self.function < 0:
            return replace(changed, voi_table=None, window=None)
        if self.function:
            chosen = scale.others[self.function - 1]
            changed = replace(
                changed,
                voi_table=chosen if isinstance(chosen, LookupTable) else None,
                window=chosen if isinstance(chosen, Window) else None,
            )
        if self.top is not None and changed.voi_table is not None:
            changed = replace(changed, voi_table=replace(changed.voi_table, top=self.top))
        return changed


DECLARED = Tone()
"""No departure from the header."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """The stored values of the visible pixels, ascending, and the pixels of each value.

    `roughness` returns the mean difference between neighbouring pixels. `declared_bits` are those
    of the header, which the values may exceed.
    """

    values: Values
    counts: Counts
    roughness: Callable[[], float]
    declared_bits: int

    def is_blank(self, bits_stored: int) -> bool:
        """Return True if the pixels hold no picture: nearly one value, or noise."""
        low, high = _quantiles(self.values, self.counts, _PERCENTILES)
        least = max(_LEAST_STEPS, (1 << bits_stored) // 512)
        return high - low < least or self.roughness() > _NOISE * (high - low)

    def beyond(self, levels: Values) -> float:
        """Return the share of pixels that exceed the declared bits and have one of the grey levels.

        Returns 0 if it is too small to make the scale degenerate.
        """
        above = self.values >= 1 << self.declared_bits
        share = float(self.counts[above].sum() / self.counts.sum())
        return share if share > MOST_BEYOND and np.ptp(levels[above]) <= _MARGIN else 0.0

    def hidden(self, low_end: NDArray[np.bool_], high_end: NDArray[np.bool_]) -> float:
        """Return the share of pixels at either end of a scale, of those not in a uniform border.

        Returns 0 if the share is too small to make the scale degenerate.
        """
        extent = between = float(np.ptp(self.values))
        counted, everything = 0, int(self.counts.sum())
        rest = everything
        for end in (low_end, high_end):
            pixels = int(self.counts[end].sum())
            if not pixels:
                continue
            between -= float(np.ptp(self.values[end]))
            low, high = _quantiles(self.values[end], self.counts[end], _BULK)
            if high - low < _UNIFORM * extent:
                rest -= pixels
            else:
                counted += pixels
        most = MOST_CLIPPED_BY_NARROW if between < _NARROW * extent else MOST_CLIPPED
        return counted / rest if counted >= max(most * rest, everything / 2) and rest else 0.0


def fit(scale: GreyScale, pixels: Histogram) -> tuple[Tone, tuple[str, ...]]:
    """Return the first tone that shows the pixels, and notes on those that were ignored.

    That is the declared one unless it is degenerate. If the pixels hold no picture, no other tone
    is tried, because it would show noise.
    """
    problem = _modality_problem(scale, pixels)
    base = Tone(has_modality=not problem)
    notes = [f"{problem}: ignored"] if problem else []
    functions = _functions(scale)
    for number, (tone, how, remark) in enumerate(_tones(base, scale, pixels, functions)):
        problem = _problem(tone.of(scale), pixels)
        if not problem:
            return tone, (*notes, *((remark or f"shown {how}",) if tone != base else ()))
        if number == 0 and pixels.is_blank(scale.bits_stored):
            if functions:
                notes.append(f"{how}, {problem}, and no other tone shows a picture")
            return base, tuple(notes)
        notes.append(f"{how}, {problem}: ignored")
    return base, tuple(notes)


def _functions(scale: GreyScale) -> tuple[LookupTable | Window, ...]:
    """Return the VOI LUTs and windows of the header, the one that counts first."""
    declared = scale.voi_table or scale.window
    return () if declared is None else (declared, *scale.others)


def _tones(
    base: Tone,
    scale: GreyScale,
    pixels: Histogram,
    functions: Sequence[LookupTable | Window],
) -> Iterator[tuple[Tone, str, str]]:
    """Yield the tones to try, what each goes by, and a remark on a departure from the header."""
    tables = sum(isinstance(function, LookupTable) for function in functions)
    for number, function in enumerate(functions):
        tone, remark = replace(base, function=number), ""
        name = function.name if isinstance(function, Window) else "the VOI LUT"
        if number < tables != 1:
            name = f"VOI LUT {number + 1}"
        if isinstance(function, LookupTable) and function.wastes_bits:
            tone = replace(tone, top=function.largest)
            remark = (
                f"{name} says {int(function.top).bit_length()} bits and its largest entry is "
                f"{function.largest:g}: scaled by the largest entry"
            )
        yield tone, f"by {name}", remark
    if scale.bits_stored == BYTE_BITS:
        yield replace(base, function=-1 if functions else 0), "as 8-bit values are", ""
    elif not functions:
        yield base, "by the smallest and the largest value", ""
    values = base.of(scale).modality(pixels.values)
    ranges = [(*_quantiles(values, pixels.counts, _PERCENTILES), "the range of 98% of the pixels")]
    if functions or scale.bits_stored == BYTE_BITS:
        ranges.insert(0, (values.min(), values.max(), "the smallest and the largest value"))
    for low, high, name in ranges:
        tone = replace(base, centre=float(low + high + 1) / 2, width=float(high - low + 1))
        yield tone, f"by {name}, {low:g} to {high:g}", ""


def _modality_problem(scale: GreyScale, pixels: Histogram) -> str:
    """Return the reason why the Modality LUT hides the pixels; empty if it shows them."""
    table = scale.modality_table
    if table is None:
        return ""
    last = table.first + len(table.entries) - 1
    share = pixels.hidden(pixels.values <= table.first, pixels.values >= last)
    if share:
        return (
            f"{share:.0%} of the pixels lie outside the Modality LUT, "
            f"which covers {table.first} to {last}"
        )
    low, high = _quantiles(table(pixels.values), pixels.counts, _PERCENTILES)
    if low == high and not pixels.is_blank(scale.bits_stored):
        return f"the Modality LUT makes nearly all pixels {low:g}"
    return ""


def _problem(scale: GreyScale, pixels: Histogram) -> str:
    """Return the reason why a grey scale is degenerate for the pixels; empty if it is not."""
    table = scale.voi_table
    if table is not None and len(table.entries) < table.declared:
        beyond = scale.modality(pixels.values) >= table.first + len(table.entries)
        share = float(pixels.counts[beyond].sum() / pixels.counts.sum())
        if share > MOST_BEYOND:
            entries = f"{len(table.entries)} entries of {table.declared}"
            return f"{share:.0%} of the pixels lie beyond its {entries}"
    everything = np.ones(pixels.values.shape, dtype=bool)
    grey, _ = scale.voi(scale.modality(pixels.values), everything)
    levels = np.rint((1.0 - grey if scale.is_inverted else grey) * 255.0)
    low, high = _quantiles(levels, pixels.counts, _PERCENTILES)
    if high - low < LEAST_SPREAD:
        first, last = pixels.values[0], pixels.values[-1]
        return f"pixels from {first:g} to {last:g} differ by {high - low:g} of 255 grey levels"
    share = pixels.beyond(levels)
    if share:
        return f"{share:.0%} of the pixels, those above BitsStored, do not differ"
    black, white = levels <= levels.min() + _MARGIN, levels >= levels.max() - _MARGIN
    share = pixels.hidden(black, white)
    if not share:
        return ""
    blacks, whites = (int(pixels.counts[end].sum()) for end in (black, white))
    end = "black" if blacks > 9 * whites else "white" if whites > 9 * blacks else "black or white"
    return f"{share:.0%} of the pixels are {end}"


def _quantiles(values: Values, counts: Counts, shares: tuple[float, float]) -> tuple[float, float]:
    """Return the values below which these shares of the counted pixels lie."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(counts[order])
    places = np.searchsorted(below, np.array(shares) * below[-1])
    low, high = values[order[np.minimum(places, len(order) - 1)]]
    return float(low), float(high)
