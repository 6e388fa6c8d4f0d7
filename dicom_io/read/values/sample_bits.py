"""The bits of stored values that are the sample, also where the header is wrong about them."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from dicom_io.read.values.layout import Layout

# A lossy codec overshoots white by less than this part of the range.
_OVERSHOOT = 0.25

# Pixels that are compared with their neighbours, and the jumps that prove another reading.
_COMPARED = 2_000_000
_FEWEST_JUMPS, _LEAST_JUMPS = 16, 0.0005

# Share of pixels with bits below the sample from which on these bits are part of the picture.
_LEAST_IN_UNUSED = 0.25

# Mean step between neighbours, as a part of the range, from which on values are noise: a film has a
# tenth at most, and values that are cut to too few bits a fifth to a third.
_NOISE = 0.15


def at_high_bit(
    array: np.ndarray, layout: Layout, precision: int | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Drop the bits below the sample (PS3.5 8.1.1).

    `precision` are the bits of a compressed image.

    A picture in the lowest bits alone, which uses those below the sample, has a wrong High Bit.
    """
    top = layout.high_bit + 1
    depth = top if precision is None else min(top, precision)
    unused = max(0, depth - layout.bits_stored)
    if not unused:
        return array, ()
    fits = not layout.signed and array.max() < 1 << layout.bits_stored
    if fits and np.mean((array & ((1 << unused) - 1)) != 0) > _LEAST_IN_UNUSED:
        return array, (
            f"HighBit is {layout.high_bit}, the pixels lie in the lowest {layout.bits_stored} "
            "bits: read there",
        )
    return np.right_shift(array, unused), ()


def sample_bits(
    values: np.ndarray, layout: Layout, *, lossy: bool
) -> tuple[np.ndarray, Layout, tuple[str, ...]]:
    """Return the bits that the header declares as the sample (PS3.5 8.1.1), their layout and notes.

    Bits above the sample may hold an overlay. Bits below it are unused, and an encoder may have
    dropped them. A lossy codec sets bits above the sample where white overshot: such a value is
    clipped to white. But where neighbouring pixels show that the declared bits or sign cut through
    a smooth picture, the values are read as they are.
    """
    half = 1 << (layout.bits_stored - 1)
    low, high = (-half, half - 1) if layout.signed else (0, 2 * half - 1)
    fits = values.min() >= low and values.max() <= high
    if fits and (not layout.signed or values.min() >= 0):
        return values, layout, ()
    if not fits and lossy and np.percentile(values, 99) <= high + _OVERSHOOT * 2 * half:
        return np.clip(values, low, high), layout, ()
    readings = _readings(layout, is_cut=not fits)
    # Some of the rows decide.
    some = values[:: max(1, values.size // _COMPARED)]
    declared = _declared(some, layout)
    gains = [_jumps_mended(declared, reading(some), 2 * half) for reading in readings]
    if not any(gains):
        return values if fits else _declared(values, layout), layout, ()
    best = readings[gains.index(max(gains))](values)
    signed = bool(best.min() < 0)
    needed = max(int(best.max()).bit_length(), int(-1 - best.min()).bit_length()) + signed
    notes = []
    if signed != layout.signed:
        notes.append("PixelRepresentation says signed, the pixels are unsigned: read as unsigned")
    if needed > layout.bits_stored:
        notes.append(
            f"BitsStored is {layout.bits_stored}, the pixels need {needed} bits: all bits are read"
        )
    bits = max(needed, layout.bits_stored)
    return best, replace(layout, signed=signed, bits_stored=bits), tuple(notes)


def _declared(values: np.ndarray, layout: Layout) -> np.ndarray:
    """Return the bits that the layout declares, with its sign."""
    half = 1 << (layout.bits_stored - 1)
    unsigned = _lowest_bits(values, layout.bits_stored)
    return unsigned - ((unsigned & half) << 1) if layout.signed else unsigned


def _readings(layout: Layout, *, is_cut: bool) -> list[Callable[[np.ndarray], np.ndarray]]:
    """Return the other readings of values; `is_cut` says that the declared bits are too few."""
    if layout.photometric == "PALETTE COLOR":
        # Neighbouring indices are unrelated numbers.
        return []
    readings: list[Callable[[np.ndarray], np.ndarray]] = []
    if layout.signed:
        readings.append(partial(_lowest_bits, bits=layout.bits_stored))
    if is_cut:
        readings.append(lambda values: values.astype(np.int64))
        if layout.signed:
            readings.append(partial(_lowest_bits, bits=layout.bits_allocated))
    return readings


def _lowest_bits(values: np.ndarray, bits: int) -> np.ndarray:
    return values.astype(np.int64) & ((1 << bits) - 1)


def _jumps_mended(declared: np.ndarray, other: np.ndarray, span: int) -> int:
    """Return the number of jumps between neighbours that another reading of the values mends.

    A value that passes the end of the declared range of `span` values jumps to its other end. A
    picture is smooth, so the right reading has few of these jumps. Returns 0 unless the other
    reading turns enough jumps into small steps and few small steps into jumps, or is a picture
    where the declared reading is noise.
    """
    before, after = (np.abs(np.diff(reading, axis=1)) for reading in (declared, other))
    if before.size and before.mean() > max(_NOISE, 3 * after.mean() / np.ptp(other)) * span:
        return int(before.size)
    jump, small = span // 2, span // 8
    mended = int(((before > jump) & (after <= small)).sum())
    made = int(((before <= small) & (after > jump)).sum())
    enough = max(_FEWEST_JUMPS, int(_LEAST_JUMPS * before.size))
    return mended - made if mended >= max(enough, 2 * made) else 0
