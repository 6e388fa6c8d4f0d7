"""The rule that chose the thresholds of a bundle, as one sentence for a radiologist."""

from collections.abc import Mapping
from typing import Any

_CALLED_PRESENT = "A finding is called present when its probability reaches its threshold"
_LOWEST = "the lowest that keeps"
_NOT_ON_THRESHOLDS = frozenset({"rule", "map_scale_quantile"})


def operating_point_sentence(record: Mapping[str, Any]) -> str:
    """Return the operating point of a card as a sentence; empty if the card does not name a rule.

    A record with a specificity is one of this software. Of other records the words are repeated.
    """
    rule = threshold_rule(record)
    subject = "each threshold is" if rule.startswith(_LOWEST) else "the thresholds are"
    return f"{_CALLED_PRESENT}; {subject} {rule}." if rule else ""


def threshold_rule(record: Mapping[str, Any]) -> str:
    """Return the rule alone, for a place that has one line; empty if the card names none."""
    specificity = record.get("specificity")
    if isinstance(specificity, int | float):
        measured = f", measured on {record['chosen_on']}," if record.get("chosen_on") else ""
        return (
            f"{_LOWEST}{measured} at least {100 * specificity:.4g} of 100 films without the "
            f"finding below it (specificity {specificity:.4g})"
        )
    told = [str(record["rule"])] if record.get("rule") else []
    told += [
        str(value) if isinstance(value, str) else f"{key.replace('_', ' ')} {value}"
        for key, value in record.items()
        if key not in _NOT_ON_THRESHOLDS
    ]
    return "; ".join(told).rstrip(".")
