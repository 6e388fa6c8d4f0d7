"""Ranges of the values of a card: a card outside of them is refused before it is used."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from cxr_model.errors import BundleError
from cxr_model.files.strict_json import shown
from cxr_model.findings import LABELS

#: Least and greatest side of a network's input, in pixels.
SIZES = (32, 2048)
#: Greatest logit that a network can mean; those of trained networks stay below 100.
MOST_OUTPUT = 1e5

_LONGEST_NAME = 128
_LONGEST_SENTENCE = 2_000
_MEANS, _STDS = (-1e3, 1e3), (1e-4, 1e4)
_SCALES = (1e-6, 1e6)
_PROPORTION = (0.0, 1.0)
_DTYPES = ("float16", "float32", "bfloat16")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

# Values of these names are proportions wherever a card has them.
_PROPORTIONS = frozenset({"auc", "mean_auc", "sensitivity", "specificity", "ppv", "npv"})


def check_card(content: Mapping[str, Any]) -> None:
    """Raise BundleError, in one line, for the first value of a card's JSON out of its range."""
    for name in ("name", "version", "created"):
        _text(content[name], name, _LONGEST_NAME)
    _text(content["intended_use"], "intended_use", _LONGEST_SENTENCE)
    _labels(content["labels"])
    _input(content["input"])
    _per_label(content, "thresholds", _threshold)
    _per_label(content, "map_scales", _map_scale)
    _per_label(content, "calibrators", _calibrator)
    for name in ("operating_point", "provenance", "metrics"):
        _object(content[name], name)
    _provenance(content["provenance"])
    for name in ("operating_point", "metrics"):
        _proportions(content[name], name)
    if content.get("map_baselines", {}) != {}:
        _per_label(content, "map_baselines", _rows)
    _calibration(content.get("calibration", {}))
    if content.get("reference", {}) != {}:
        _reference(content["reference"])
    # A card that is about to be built has no weights yet.
    if content["weights"] is not None:
        _weights(content["weights"])


def _labels(labels: Any) -> None:
    if not isinstance(labels, list) or tuple(labels) != LABELS:
        found = ", ".join(map(shown, labels[:20])) if isinstance(labels, list) else shown(labels)
        raise BundleError(
            f"the card's labels are not the 14 of NIH ChestX-ray14 in NIH order: {found};"
            " use a bundle that `cxrd model train` or `cxrd model import` made"
        )


def _input(spec: Any) -> None:
    _object(spec, "input")
    size = spec["size"]
    if isinstance(size, bool) or not isinstance(size, int) or not SIZES[0] <= size <= SIZES[1]:
        raise BundleError(
            f"the card's input size is {shown(size)}, not a whole number from {SIZES[0]} to "
            f"{SIZES[1]} pixels"
        )
    if not isinstance(spec.get("trim", False), bool):
        raise BundleError(f"the card's input trim is {shown(spec['trim'])}, not true or false")
    for name, limits in (("mean", _MEANS), ("std", _STDS)):
        values = spec[name]
        if not isinstance(values, list) or len(values) not in (1, 3):
            raise BundleError(f"the card's input {name} is not a list of 1 or 3 numbers")
        for value in values:
            _number(value, f"input {name}", limits)


def _per_label(content: Mapping[str, Any], name: str, check: Callable[[Any, str], None]) -> None:
    table = content[name]
    _object(table, name)
    wrong = sorted(set(LABELS) ^ set(table))
    if wrong:
        raise BundleError(f"the card's {name} do not fit the labels: [{shown(wrong[0])}]")
    for label in LABELS:
        check(table[label], label)


def _threshold(value: Any, label: str) -> None:
    name = f"threshold of {label}"
    _number(value, name, _PROPORTION)
    if not 0 < value < 1:
        raise BundleError(f"the card's {name} is {value}: it lies between 0 and 1")


def _map_scale(value: Any, label: str) -> None:
    _number(value, f"map scale of {label}", _SCALES)


def check_grids(baselines: Mapping[str, Any], size: int) -> None:
    """Raise BundleError unless each map baseline is `size` rows of `size` numbers."""
    for label, rows in baselines.items():
        if any(len(row) != size for row in rows) or len(rows) != size:
            raise BundleError(
                f"the card's map baseline of {label} is not {size} rows of {size} numbers"
            )


def _rows(rows: Any, label: str) -> None:
    name = f"map baseline of {label}"
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise BundleError(f"the card's {name} is not a list of rows of numbers")
    for row in rows:
        for cell in row:
            _number(cell, name, (-MOST_OUTPUT, MOST_OUTPUT))


def _calibrator(value: Any, label: str) -> None:
    _object(value, f"calibrator of {label}")
    for name, parameter in value.items():
        if name == "method":
            _text(parameter, f"calibration method of {label}", _LONGEST_NAME)
            continue
        values = parameter if isinstance(parameter, list) else [parameter]
        for number in values:
            _number(number, f"calibrator of {label}: {name}", (-1e6, 1e6))


def _provenance(content: Mapping[str, Any]) -> None:
    """Check the kinds of the records by which films and patients are left out or refused."""
    for name in ("split", "recalibrated", "thresholds"):
        _object(content.get(name, {}), f"provenance {name}")
    for name in ("fitted_on", "stages", "training_only"):
        if not isinstance(content.get(name, []), list | tuple):
            raise BundleError(f"the card's provenance {name} is {shown(content[name])}, not a list")


def _calibration(content: Any) -> None:
    _object(content, "calibration")
    _slope(content)
    _object(content.get("held_out", {}), "calibration held_out")
    _slope(content.get("held_out", {}))
    if content.get("prevalence", {}) != {}:
        _per_label(content, "prevalence", _prevalence)
    if content.get("shifts", {}) != {}:
        _per_label(content, "shifts", _shift)


def _slope(content: Mapping[str, Any]) -> None:
    if content.get("slope") is not None:
        _number(content["slope"], "calibration slope", (-1e3, 1e3))
    if content.get("slope_95") is not None:
        _interval(content["slope_95"], "calibration slope_95", (-1e6, 1e6))


def _prevalence(value: Any, label: str) -> None:
    _number(value, f"prevalence of {label}", _PROPORTION)


def _shift(value: Any, label: str) -> None:
    _number(value, f"shift of {label}", (-1e3, 1e3))


def _reference(content: Any) -> None:
    _object(content, "reference")
    _text(content["film"], "reference film", _LONGEST_NAME)
    outputs = content["outputs"]
    if not isinstance(outputs, list) or len(outputs) != len(LABELS):
        raise BundleError(f"the card's reference outputs are not a list of {len(LABELS)} numbers")
    for value in outputs:
        _number(value, "reference output", (-MOST_OUTPUT, MOST_OUTPUT))
    _number(content["tolerance"], "reference tolerance", (1e-6, 1e-3 * MOST_OUTPUT))


def _weights(content: Any) -> None:
    _object(content, "weights")
    file, sha256, dtype = content["file"], content["sha256"], content["dtype"]
    if not isinstance(file, str) or not _FILE_NAME.fullmatch(file):
        raise BundleError(f"the card does not name its weights file: {shown(file)} is no file name")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise BundleError(f"the card's sha256 of the weights is {shown(sha256)}, not 64 hex digits")
    if dtype not in _DTYPES:
        raise BundleError(f"the card's weights are {shown(dtype)}, not {', '.join(_DTYPES)}")


def _proportions(content: Any, name: str) -> None:
    """Check each value that is named as a proportion, in nested objects, too."""
    waiting = [(content, name)]
    while waiting:
        table, place = waiting.pop()
        for key, value in table.items():
            if isinstance(value, Mapping):
                waiting.append((value, f"{place}.{key}"))
            elif key in _PROPORTIONS and isinstance(value, int | float):
                _number(value, f"{place}.{key}", _PROPORTION)
            elif key.removesuffix("_95") in _PROPORTIONS and isinstance(value, list):
                _interval(value, f"{place}.{key}", _PROPORTION)


def _interval(value: Any, name: str, limits: tuple[float, float]) -> None:
    if not isinstance(value, list) or len(value) != 2:
        raise BundleError(f"the card's {name} is not an interval of two numbers")
    for end in value:
        if end is not None:
            _number(end, name, limits)


def _number(value: Any, name: str, limits: tuple[float, float]) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BundleError(f"the card's {name} is {shown(value)}, not a number")
    low, high = limits
    if not (math.isfinite(value) and low <= value <= high):
        raise BundleError(
            f"the card's {name} is {shown(value)}: it must lie between {low:g} and {high:g}"
        )


def _text(value: Any, name: str, longest: int) -> None:
    if not isinstance(value, str):
        raise BundleError(f"the card's {name} is {shown(value)}, not a text")
    if not value.isprintable() or len(value) > longest:
        raise BundleError(
            f"the card's {name} {shown(value)} is not printable on one line of at most "
            f"{longest} characters"
        )


def _object(value: Any, name: str) -> None:
    if not isinstance(value, Mapping):
        raise BundleError(f"the card's {name} is {shown(value)}, not an object")
