"""The card of a bundle: identity, input, labels, calibration, thresholds, provenance, metrics."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from cxr_model.errors import BundleError
from cxr_model.findings import LABELS
from cxr_model.predict.transform import InputSpec

FORMAT = "cxrd-bundle/1"

#: A JSON object. Calibrators, provenance and metrics are kept exactly as read.
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights file of a card: name, sha256 and data type of the kernels."""

    file: str
    sha256: str
    dtype: str


@dataclass(frozen=True, slots=True)
class Card:
    """The card of a bundle.

    `thresholds` holds a calibrated probability per label; `calibrators` a JSON object per label,
    read by `curves.calibrators_from_card`; `map_scales` the logit contribution per label that is
    drawn in the hottest colour. `Bundle.build` sets `weights`. `map_baselines` holds per label the
    map of the mean film, in rows of logit contributions; `calibration` (the agreement of
    calibrated probabilities with outcomes) and `reference` (the outputs for the reference film)
    are empty in a card without them, as in every card of version 0.1.0, and are then not written.
    """

    name: str
    version: str
    created: str
    intended_use: str
    input: InputSpec
    thresholds: Mapping[str, float]
    operating_point: Mapping[str, Any]
    calibrators: Mapping[str, Mapping[str, Any]]
    map_scales: Mapping[str, float]
    provenance: Mapping[str, Any]
    metrics: Mapping[str, Any]
    labels: tuple[str, ...] = LABELS
    weights: Weights | None = None
    map_baselines: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    reference: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the card as UTF-8 JSON in a fixed layout, so that its sha256 is stable."""
        content: Json = {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "created": self.created,
            "intended_use": self.intended_use,
            "labels": list(self.labels),
            "input": {
                "size": self.input.size,
                "mean": list(self.input.mean),
                "std": list(self.input.std),
            },
            "thresholds": dict(self.thresholds),
            "operating_point": dict(self.operating_point),
            "calibrators": {label: dict(value) for label, value in self.calibrators.items()},
            "map_scales": dict(self.map_scales),
            "provenance": dict(self.provenance),
            "metrics": dict(self.metrics),
            **self._optional_to_json(),
            "weights": _weights_to_json(self.weights),
        }
        return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()

    def _optional_to_json(self) -> Json:
        optional: dict[str, Mapping[str, Any]] = {
            "map_baselines": self.map_baselines,
            "calibration": self.calibration,
            "reference": self.reference,
        }
        return {key: dict(value) for key, value in optional.items() if value}

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a card. Raises BundleError with one line about the first fault."""
        try:
            content = json.loads(data)
        except ValueError as error:
            raise BundleError(f"the card is not JSON: {error}") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            found = content.get("format") if isinstance(content, dict) else None
            raise BundleError(f"this software reads bundles of format {FORMAT!r}, not {found!r}")
        try:
            card = cls._from_json(content)
        except KeyError as error:
            raise BundleError(f"the card has no {error}") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise BundleError(f"the card is malformed: {error}") from error
        card.check()
        return card

    @classmethod
    def _from_json(cls, content: Json) -> Self:
        spec, weights = content["input"], content["weights"]
        return cls(
            name=str(content["name"]),
            version=str(content["version"]),
            created=str(content["created"]),
            intended_use=str(content["intended_use"]),
            labels=tuple(content["labels"]),
            input=InputSpec(
                size=int(spec["size"]),
                mean=tuple(float(value) for value in spec["mean"]),
                std=tuple(float(value) for value in spec["std"]),
            ),
            thresholds={key: float(value) for key, value in content["thresholds"].items()},
            operating_point=dict(content["operating_point"]),
            calibrators={key: dict(value) for key, value in content["calibrators"].items()},
            map_scales={key: float(value) for key, value in content["map_scales"].items()},
            provenance=dict(content["provenance"]),
            metrics=dict(content["metrics"]),
            weights=Weights(str(weights["file"]), str(weights["sha256"]), str(weights["dtype"])),
            map_baselines=dict(content.get("map_baselines", {})),
            calibration=dict(content.get("calibration", {})),
            reference=dict(content.get("reference", {})),
        )

    def check(self) -> None:
        """Raise BundleError if a table of the card lacks a label or holds an impossible value."""
        if self.labels != LABELS:
            raise BundleError(
                "the card's labels are not the 14 of NIH ChestX-ray14 in NIH order: "
                f"{', '.join(map(str, self.labels))}"
            )
        tables: tuple[tuple[str, Mapping[str, Any]], ...] = (
            ("thresholds", self.thresholds),
            ("calibrators", self.calibrators),
            ("map_scales", self.map_scales),
            ("map_baselines", self.map_baselines or self.map_scales),
        )
        for name, table in tables:
            wrong = set(LABELS) ^ set(table)
            if wrong:
                raise BundleError(f"the card's {name} do not fit the labels: {sorted(wrong)}")
        for label in LABELS:
            if not 0.0 <= self.thresholds[label] <= 1.0:
                raise BundleError(f"the card's threshold of {label} is not a probability")
            scale = self.map_scales[label]
            if not (math.isfinite(scale) and scale > 0):
                raise BundleError(f"the card's map scale of {label} is not a positive number")
        _check_grids(self.map_baselines, self.input.map_size)


def _check_grids(baselines: Mapping[str, Any], size: int) -> None:
    """Raise BundleError unless each map is `size` rows of `size` finite numbers."""
    for label, rows in baselines.items():
        cells = [cell for row in rows for cell in row] if _is_grid(rows, size) else [math.nan]
        if not all(isinstance(cell, int | float) and math.isfinite(cell) for cell in cells):
            raise BundleError(
                f"the card's map baseline of {label} is not {size} rows of {size} numbers"
            )


def _is_grid(rows: Any, size: int) -> bool:
    return (
        isinstance(rows, list)
        and len(rows) == size
        and all(isinstance(row, list) and len(row) == size for row in rows)
    )


def timestamp(now: datetime) -> str:
    """Return `now` in UTC as a card has it in `created`."""
    return now.astimezone(UTC).isoformat(timespec="seconds")


def _weights_to_json(weights: Weights | None) -> Json | None:
    if weights is None:
        return None
    return {"file": weights.file, "sha256": weights.sha256, "dtype": weights.dtype}
