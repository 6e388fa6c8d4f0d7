"""The claims of a card on its calibration, from its JSON, without the numeric libraries."""

from collections.abc import Iterator, Mapping
from typing import Any


def is_calibrated(calibration: Mapping[str, Any]) -> bool:
    """Return True if the interval of every slope in a card's `calibration` agrees with 1.

    A card without a slope is not calibrated.
    """
    bounds = [_bounds(slope) for slope in _slopes(calibration)]
    return bool(bounds) and all(agrees(low, high) for low, high in bounds)


def calibration_words(calibration: Mapping[str, Any]) -> str:
    """Return ``calibrated`` or ``not calibrated``, with the slopes that say so, in ASCII."""
    claim = "calibrated" if is_calibrated(calibration) else "not calibrated"
    told = [_slope_words(slope) for slope in _slopes(calibration)]
    return f"{claim}: {'; '.join(told) or 'no slope on unseen patients is recorded'}"


def agrees(low: float, high: float) -> bool:
    """Return True if the interval of a calibration slope contains 1, but not 0.

    A slope of 1 is agreement of probabilities and outcomes. An interval with 0 shows no relation of
    the two at all, however wide it is.
    """
    return 0 < low <= 1 <= high


def _slopes(calibration: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the slope of the cross-validation and, if it was measured, of the held-out patients."""
    for record in (calibration, calibration.get("held_out")):
        if isinstance(record, Mapping) and "slope" in record:
            yield record


def _bounds(record: Mapping[str, Any]) -> tuple[float, float]:
    """Return the interval of a slope; (0, 0), which is no agreement, if it is malformed."""
    match record.get("slope_95"):
        case [float() | int() as low, float() | int() as high]:
            return float(low), float(high)
    return 0.0, 0.0


def _slope_words(record: Mapping[str, Any]) -> str:
    low, high = _bounds(record)
    slope = record["slope"]
    number = f"{slope:.2f}" if isinstance(slope, float | int) else "unknown"
    return (
        f"slope {number} ({low:.2f} to {high:.2f}) on {record.get('patients', '?')} unseen patients"
    )
