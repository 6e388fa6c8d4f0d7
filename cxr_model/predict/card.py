"""The card of a bundle: identity, input, labels, calibration, thresholds, provenance, metrics."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from cxr_model.errors import BundleError, CalibrationError
from cxr_model.files.bundle_files import FORMAT as FORMAT
from cxr_model.files.bundle_files import malformed, parse_card
from cxr_model.files.card_claims import agrees as agrees
from cxr_model.files.card_claims import calibration_words, is_calibrated
from cxr_model.files.card_values import check_card, check_grids
from cxr_model.files.strict_json import parse_json
from cxr_model.findings import LABELS
from cxr_model.predict.curves import calibrators_from_card
from cxr_model.predict.transform import InputSpec

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
        text = json.dumps(self._to_json(), indent=2, ensure_ascii=False, allow_nan=False)
        return f"{text}\n".encode()

    def _to_json(self) -> Json:
        return {
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
                **({"trim": True} if self.input.trim else {}),
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
        content = parse_card(data)
        with malformed():
            card = cls._from_json(content)
        card._check_tables()
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
                trim=bool(spec.get("trim", False)),
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

    @property
    def calibrated(self) -> bool:
        """True if the probabilities agree with the outcomes of patients whom no fit has seen.

        This holds if the interval of every slope on the card agrees with 1. A card without a slope
        is not calibrated.
        """
        return is_calibrated(self.calibration)

    def calibration_words(self) -> str:
        """Return ``calibrated`` or ``not calibrated``, with the slopes that say so, in ASCII."""
        return calibration_words(self.calibration)

    def check(self) -> None:
        """Raise BundleError, in one line, if the card could not be read again once written."""
        try:
            content = parse_json(self.to_bytes())
        except ValueError as error:
            raise BundleError(f"the card cannot be written as JSON: {error}") from error
        check_card(content)
        self._check_tables()

    def _check_tables(self) -> None:
        check_grids(self.map_baselines, self.input.map_size)
        try:
            calibrators_from_card(self.calibrators)
        except CalibrationError as error:
            raise BundleError(f"the card's calibrators cannot be used: {error}") from error


def timestamp(now: datetime) -> str:
    """Return `now` in UTC as a card has it in `created`."""
    return now.astimezone(UTC).isoformat(timespec="seconds")


def _weights_to_json(weights: Weights | None) -> Json | None:
    if weights is None:
        return None
    return {"file": weights.file, "sha256": weights.sha256, "dtype": weights.dtype}
