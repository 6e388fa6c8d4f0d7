"""The rule that chose the thresholds of a bundle, as one sentence for a radiologist."""

from collections.abc import Mapping
from typing import Any

_CALLED_PRESENT = "A finding is called present when its probability reaches its threshold"
_NOT_ON_THRESHOLDS = frozenset({"rule", "specificity", "chosen_on", "map_scale_quantile"})


def operating_point_sentence(record: Mapping[str, Any]) -> str:
    """Return the operating point of a card as a sentence; empty if the card does not name a rule.

    A record with a specificity is one of this software. Of other records the words are repeated.
    """
    specificity = record.get("specificity")
    if isinstance(specificity, int | float):
        measured = f", measured on {record['chosen_on']}," if record.get("chosen_on") else ""
        return (
            f"{_CALLED_PRESENT}; each threshold is the lowest that keeps{measured} at least "
            f"{100 * specificity:.4g} of 100 films without the finding below it "
            f"(specificity {specificity:.4g})."
        )
    told = [str(record["rule"])] if record.get("rule") else []
    told += [
        str(value) if isinstance(value, str) else f"{key.replace('_', ' ')} {value}"
        for key, value in record.items()
        if key not in _NOT_ON_THRESHOLDS
    ]
    rule = "; ".join(told).rstrip(".")
    return f"{_CALLED_PRESENT}; the thresholds are {rule}." if rule else ""
