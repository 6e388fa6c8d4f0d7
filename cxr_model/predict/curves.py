"""Calibration curves: from a network's logit to a calibrated probability, one curve per label.

Every curve is strictly increasing, so calibration changes neither the order of images nor an AUC.
A curve is a frozen value with a JSON form.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from cxr_model.errors import CalibrationError
from cxr_model.predict.choices import Method

Floats = npt.NDArray[np.float64]

#: Distance from 0 and 1 to which probabilities are clipped before a logarithm.
SMALLEST = 1e-12

#: Greatest parameter of a curve. With logits up to 100,000 no probability is then NaN.
LARGEST = 1e6

# Distance of the knots that continue a scaled curve beyond its ends; no network's logit is farther.
_FAR = 1e3

# Knots this close would make a slope infinite.
_CLOSEST = 1e-300


def sigmoid(logits: npt.ArrayLike) -> Floats:
    """Return 1 / (1 + exp(-x)) in float64, without overflow."""
    x = np.asarray(logits, dtype=np.float64)
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, small) / (1.0 + small))


def logit(probabilities: npt.ArrayLike) -> Floats:
    """Return ln(p / (1 - p)) in float64; p is clipped to `SMALLEST` from 0 and 1."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), SMALLEST, 1.0 - SMALLEST)
    return np.asarray(np.log(p) - np.log1p(-p))


def softplus(x: npt.ArrayLike) -> Floats:
    """Return ln(1 + exp(x)) in float64, without overflow; this is -ln(1 - sigmoid(x))."""
    return np.asarray(np.logaddexp(0.0, np.asarray(x, dtype=np.float64)))


class Calibrator(Protocol):
    """A strictly increasing curve from a logit to a calibrated logit."""

    @property
    def method(self) -> Method:
        """Family of the curve."""
        ...

    def apply(self, logits: npt.ArrayLike) -> Floats:
        """Return calibrated logits, of the same shape."""
        ...

    def shifted(self, offset: float) -> "Calibrator":
        """Return the curve with `offset` added to every calibrated logit."""
        ...

    def rescaled(self, slope: float, offset: float) -> "Calibrator":
        """Return the curve with every calibrated logit times `slope`, plus `offset`.

        Raises CalibrationError unless the slope is positive.
        """
        ...

    def to_json(self) -> dict[str, Any]:
        """Return ``{"method": …}`` with the parameters."""
        ...


@dataclass(frozen=True, slots=True)
class Platt:
    """Platt scaling, slope * logit + intercept ("Probabilistic outputs for SVMs", 1999)."""

    slope: float
    intercept: float
    method: Method = Method.PLATT

    def __post_init__(self) -> None:
        """Raise CalibrationError unless the curve rises."""
        _require(abs(self.intercept) <= LARGEST, "a Platt intercept must be a finite number")
        _require(0 < self.slope <= LARGEST, "a Platt slope must be positive")

    def apply(self, logits: npt.ArrayLike) -> Floats:
        """Return calibrated logits, of the same shape."""
        return self.slope * np.asarray(logits, dtype=np.float64) + self.intercept

    def shifted(self, offset: float) -> "Platt":
        """Return the same slope with `offset` added to the intercept."""
        return Platt(self.slope, self.intercept + offset)

    def rescaled(self, slope: float, offset: float) -> "Platt":
        """Return Platt's curve of the scaled slope and intercept."""
        return Platt(slope * self.slope, slope * self.intercept + offset)

    def to_json(self) -> dict[str, Any]:
        """Return method, slope and intercept."""
        return {"method": self.method.value, "slope": self.slope, "intercept": self.intercept}


@dataclass(frozen=True, slots=True)
class Identity:
    """The network's own probability, unchanged."""

    method: Method = Method.IDENTITY

    def apply(self, logits: npt.ArrayLike) -> Floats:
        """Return the logits unchanged, in float64."""
        return np.asarray(logits, dtype=np.float64)

    def shifted(self, offset: float) -> Platt:
        """Return a Platt curve of slope 1."""
        return Platt(1.0, offset)

    def rescaled(self, slope: float, offset: float) -> Platt:
        """Return Platt's curve of these two parameters."""
        return Platt(slope, offset)

    def to_json(self) -> dict[str, Any]:
        """Return the method."""
        return {"method": self.method.value}


@dataclass(frozen=True, slots=True)
class Beta:
    """Beta calibration, a ln p - b ln(1 - p) + c (Kull, Silva Filho and Flach, AISTATS 2017)."""

    a: float
    b: float
    c: float
    method: Method = Method.BETA

    def __post_init__(self) -> None:
        """Raise CalibrationError unless the curve rises."""
        finite = all(abs(value) <= LARGEST for value in (self.a, self.b, self.c))
        # b = 0 would make high probabilities equal, a = 0 low ones.
        _require(finite and min(self.a, self.b) > 0, "beta parameters a and b must be positive")

    def apply(self, logits: npt.ArrayLike) -> Floats:
        """Return calibrated logits, of the same shape."""
        x = np.asarray(logits, dtype=np.float64)
        return self.b * softplus(x) - self.a * softplus(-x) + self.c

    def shifted(self, offset: float) -> "Beta":
        """Return the same a and b with `offset` added to c."""
        return Beta(self.a, self.b, self.c + offset)

    def rescaled(self, slope: float, offset: float) -> "Beta":
        """Return the beta curve with all parameters scaled and `offset` added to c."""
        return Beta(slope * self.a, slope * self.b, slope * self.c + offset)

    def to_json(self) -> dict[str, Any]:
        """Return method, a, b and c."""
        return {"method": self.method.value, "a": self.a, "b": self.b, "c": self.c}


@dataclass(frozen=True, slots=True)
class Isotonic:
    """Centred isotonic regression: lines between knots on the logit scale, slope 1 beyond the ends.

    The steps of an isotonic regression are joined at their centres (Oron and Flournoy, "Centered
    isotonic regression", 2017), so different scores stay different and no AUC changes.
    """

    logits: tuple[float, ...]
    calibrated: tuple[float, ...]
    method: Method = Method.ISOTONIC

    def __post_init__(self) -> None:
        """Raise CalibrationError unless the knots rise strictly."""
        pairs = (self.logits, self.calibrated)
        _require(len(self.logits) == len(self.calibrated) > 0, "isotonic knots come in pairs")
        for values in pairs:
            steps = np.diff(np.asarray(values))
            rising = (np.abs(values) <= LARGEST).all() and (steps > _CLOSEST).all()
            _require(bool(rising), "isotonic knots must rise strictly")

    def apply(self, logits: npt.ArrayLike) -> Floats:
        """Return calibrated logits, of the same shape."""
        x = np.asarray(logits, dtype=np.float64)
        inside = np.interp(x, self.logits, self.calibrated)
        below = np.minimum(x - self.logits[0], 0.0)
        above = np.maximum(x - self.logits[-1], 0.0)
        return np.asarray(inside + below + above)

    def shifted(self, offset: float) -> "Isotonic":
        """Return the curve with every knot moved by `offset`."""
        return Isotonic(self.logits, tuple(value + offset for value in self.calibrated))

    def rescaled(self, slope: float, offset: float) -> "Isotonic":
        """Return the curve with scaled knots; two far knots scale it beyond its ends, too."""
        far = (self.logits[0] - _FAR, *self.logits, self.logits[-1] + _FAR)
        scaled = tuple((slope * self.apply(far) + offset).tolist())
        return Isotonic(far, scaled)

    def to_json(self) -> dict[str, Any]:
        """Return method and knots."""
        return {
            "method": self.method.value,
            "logits": list(self.logits),
            "calibrated": list(self.calibrated),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read the output of `to_json`."""
        return cls(
            tuple(float(value) for value in content["logits"]),
            tuple(float(value) for value in content["calibrated"]),
        )


def calibrator_from_json(content: Mapping[str, Any]) -> Calibrator:
    """Read the calibrator of one label.

    Raises CalibrationError for an unknown method, a missing parameter, a parameter that is not a
    number, and a curve that does not rise.
    """
    try:
        return _from_json(content)
    except (KeyError, TypeError, ValueError) as error:
        raise CalibrationError(f"malformed calibrator: {str(error)[:200]}") from error


def _from_json(content: Mapping[str, Any]) -> Calibrator:
    match Method(content["method"]):
        case Method.IDENTITY:
            return Identity()
        case Method.PLATT:
            return Platt(float(content["slope"]), float(content["intercept"]))
        case Method.BETA:
            return Beta(float(content["a"]), float(content["b"]), float(content["c"]))
        case Method.ISOTONIC:
            return Isotonic.from_json(content)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise CalibrationError(message)


def calibrators_from_card(content: Mapping[str, Mapping[str, Any]]) -> dict[str, Calibrator]:
    """Read the curves of a card. Raises CalibrationError for a malformed curve."""
    return {label: calibrator_from_json(curve) for label, curve in content.items()}


def calibrated_probabilities(
    calibrators: Mapping[str, Calibrator], labels: Sequence[str], logits: Floats
) -> Floats:
    """Return the calibrated probabilities of logits (n, labels), of the same shape."""
    columns = [calibrators[label].apply(logits[:, i]) for i, label in enumerate(labels)]
    return sigmoid(np.stack(columns, axis=1))
