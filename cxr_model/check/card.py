"""The card of a picture check: thresholds, the data that trained it, figures on other films."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from cxr_model.errors import BundleError
from cxr_model.files.strict_json import parse_json

FORMAT = "cxrd-picture-check/1"

#: Hexadecimal digits of a sha256.
_DIGITS = 64


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Least probabilities for a decision, each between 0 and 1.

    `frontal` accepts a picture as a frontal chest film. `mirrored` says that it is mirrored. The
    `…_certain` ones are for a picture that decides without its header.
    """

    frontal: float
    turned_certain: float
    mirrored: float
    mirrored_certain: float
    inverted_certain: float


@dataclass(frozen=True, slots=True)
class CheckCard:
    """The card. `training` and `metrics` are kept exactly as read."""

    name: str
    version: str
    created: str
    sha256: str
    thresholds: Thresholds
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """Return the card as UTF-8 JSON in a fixed layout."""
        content = {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "created": self.created,
            "sha256": self.sha256,
            "thresholds": {f.name: getattr(self.thresholds, f.name) for f in fields(Thresholds)},
            "training": dict(self.training),
            "metrics": dict(self.metrics),
        }
        return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a card. Raises BundleError with one line about the first fault."""
        try:
            content = parse_json(data)
        except ValueError as error:
            raise BundleError(f"the card is not JSON: {error}") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise BundleError(f"the card is not one of a picture check of format {FORMAT!r}")
        try:
            limits = _table(content, "thresholds")
            card = cls(
                name=_text(content, "name"),
                version=_text(content, "version"),
                created=_text(content, "created"),
                sha256=_text(content, "sha256"),
                thresholds=Thresholds(
                    **{f.name: _share(limits, f.name) for f in fields(Thresholds)}
                ),
                training=_table(content, "training"),
                metrics=_table(content, "metrics"),
            )
        except KeyError as error:
            raise BundleError(f"the card has no {error}") from error
        if len(card.sha256) != _DIGITS:
            raise BundleError("the card's sha256 is not one of the weights")
        return card


def _text(content: Mapping[str, Any], key: str) -> str:
    value = content[key]
    if not isinstance(value, str) or not value.isprintable():
        raise BundleError(f"the card's {key} is not one line of text")
    return value


def _table(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = content[key]
    if not isinstance(value, dict):
        raise BundleError(f"the card's {key} is not a table")
    return value


def _share(table: Mapping[str, Any], key: str) -> float:
    value = table.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BundleError(f"the card has no threshold {key}")
    if not (math.isfinite(value) and 0.0 <= value <= 1.0):
        raise BundleError(f"the card's threshold {key} is not between 0 and 1")
    return float(value)
