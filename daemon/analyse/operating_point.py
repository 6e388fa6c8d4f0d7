"""The rule that chose the thresholds of a bundle, as one sentence for a radiologist."""

from collections.abc import Mapping
from typing import Any

_CALLED_PRESENT = "A finding is called present when its probability reaches its threshold"
_LOWEST = "the lowest that keeps"
_NOT_TOLD = frozenset({"rule", "map_scale_quantile", "intervals"})
_ALL_TOGETHER = "over all findings together"


def operating_point_sentence(record: Mapping[str, Any]) -> str:
    """Return the operating point of a card as a sentence; empty if the card does not name a rule.

    A record with a goal of `cxrd model thresholds` is one of this software. Of other records the
    words are repeated.
    """
    rule = threshold_rule(record)
    subject = "each threshold is" if rule.startswith(_LOWEST) else "the thresholds are"
    return f"{_CALLED_PRESENT}; {subject} {rule}." if rule else ""


def threshold_rule(record: Mapping[str, Any]) -> str:
    """Return the rule alone, for a place that has one line; empty if the card names none."""
    ratio = record.get("likelihood_ratio")
    if isinstance(ratio, int | float):
        goal = _goal(record)
        if goal:
            return f"those of one likelihood ratio, {ratio:.3g}, for {goal}{_measured(record)}"
    specificity = record.get("specificity")
    if isinstance(specificity, int | float):
        measured = _measured(record)
        return (
            f"{_LOWEST}{measured}{',' * bool(measured)} at least {100 * specificity:.4g} of 100 "
            f"films without the finding below it (specificity {specificity:.4g})"
        )
    told = [str(record["rule"])] if record.get("rule") else []
    told += [
        str(value) if isinstance(value, str) else f"{key.replace('_', ' ')} {value}"
        for key, value in record.items()
        if key not in _NOT_TOLD and not isinstance(value, Mapping)
    ]
    return "; ".join(told).rstrip(".")


def false_calls_sentence(record: Mapping[str, Any]) -> str:
    """Return the false calls that a card's operating point measured; empty if it has none."""
    measured = record.get("false_calls")
    if not isinstance(measured, Mapping):
        return ""
    calls, bounds = (measured.get(f"per_film_without_findings{suffix}") for suffix in ("", "_95"))
    if not isinstance(calls, int | float) or not isinstance(bounds, list) or len(bounds) != 2:
        return ""
    low, high = (f"{bound:.2f}" if isinstance(bound, int | float) else "?" for bound in bounds)
    return (
        f"There, {measured.get('films_without_findings')} films without findings had {calls:.2f} "
        f"false calls each on average (95 % interval {low} to {high})."
    )


def _goal(record: Mapping[str, Any]) -> str:
    """Return the goal of a common likelihood ratio in words; empty if the record has none."""
    words = {
        "max_false_calls": "at most {:.4g} false calls per film without findings",
        "ppv": f"a PPV of at least {{:.4g}} {_ALL_TOGETHER}",
        "sensitivity": f"a sensitivity of at least {{:.4g}} {_ALL_TOGETHER}",
    }
    told = [
        text.format(value)
        for aim, text in words.items()
        if isinstance(value := record.get(aim), int | float)
    ]
    return told[0] if told else ""


def _measured(record: Mapping[str, Any]) -> str:
    return f", measured on {record['chosen_on']}" if record.get("chosen_on") else ""
