"""Sentences on the place that a map shows, by the card's comparison with radiologists' boxes."""

from collections.abc import Mapping
from typing import Any

_UNTESTED = "location not validated: never compared with radiologists' boxes"


def is_validated(metrics: Mapping[str, Any], label: str) -> bool:
    """Return True if the maps of `label` were better than chance on boxes of films not seen.

    `metrics` are those of a card.
    """
    return _measured(metrics, label).get("better_than_chance") is True


def location_sentence(metrics: Mapping[str, Any], label: str) -> str:
    """Return how far the maps of `label` can be believed, in plain words without a full stop."""
    measured = _measured(metrics, label)
    boxes = measured.get("boxes")
    if not isinstance(boxes, int) or boxes < 1:
        return _UNTESTED
    measured_on = "1 box" if boxes == 1 else f"{boxes} boxes"
    if not is_validated(metrics, label):
        return f"location not validated: not shown to be better than chance on {measured_on}"
    shares = [measured.get(name) for name in ("pointing", "pointing_chance")]
    rates = [f"{share:.0%}" for share in shares if isinstance(share, int | float)]
    if len(rates) < len(shares):
        return f"location better than chance on {measured_on}"
    return (
        f"location: {rates[0]} of maps point into a radiologist's box "
        f"(chance {rates[1]}, {measured_on})"
    )


def _measured(metrics: Mapping[str, Any], label: str) -> Mapping[str, Any]:
    localisation = metrics.get("localisation")
    measured = localisation.get(label) if isinstance(localisation, Mapping) else None
    return measured if isinstance(measured, Mapping) else {}
