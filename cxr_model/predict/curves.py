"""From a network's logit to a calibrated probability: one strictly increasing curve per label.

Every curve here is strictly increasing, so that calibration never changes which of two images is
the more suspicious one, and with it no AUC. Each is a frozen value with a JSON form.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from cxr_model.errors import CalibrationError

Floats = npt.NDArray[np.float64]

#: Probabilities are kept this far from 0 and 1 before their logarithm is taken.
SMALLEST = 1e-12


class Method(StrEnum):
    """The ways a label can be calibrated."""

    IDENTITY = "identity"
    PLATT = "platt"
    BETA = "beta"
    ISOTONIC = "isotonic"


def sigmoid(logits: npt.ArrayLike) -> Floats:
    """1 / (1 + exp(-x)) in float64, without overflow."""
    x = np.asarray(logits, dtype=np.float64)
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, small) / (1.0 + small))


def logit(probabilities: npt.ArrayLike) -> Floats:
    """ln(p / (1 - p)) in float64; 0 and 1 are taken as `SMALLEST` away from themselves."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), SMALLEST, 1.0 - SMALLEST)
    return np.asarray(np.log(p) - np.log1p(-p))


def softplus(x: npt.ArrayLike) -> Floats:
    """ln(1 + exp(x)) in float64, without overflow: minus the logarithm of 1 - sigmoid(x)."""
    return np.asarray(np.logaddexp(0.0, np.asarray(x, dtype=np.float64)))


class Calibrator(Protocol):
    """A strictly increasing curve from a logit to a calibrated logit."""

    @property
    def method(self) -> Method:
        """Which family the curve is of."""
        ...

    def apply(self, logits: npt.ArrayLike) -> Floats:
        """Calibrated logits, of the shape given."""
        ...

    def shifted(self, offset: float) -> "Calibrator":
        """The same curve with `offset` added to every calibrated logit."""
        ...

    def to_json(self) -> dict[str, Any]:
        """``{"method": …}`` and the parameters, as JSON has them."""
        ...


@dataclass(frozen=True, slots=True)
class Platt:
    """slope * logit + intercept (Platt, "Probabilistic outputs for SVMs", 1999)."""

    slope: float
    intercept: float
    method: Method = Method.PLATT

    def __post_init__(self) -> None:
        """Refuse a curve that does not rise; raises CalibrationError."""
        _require(math.isfinite(self.intercept), "a Platt intercept must be a finite number")
        _require(math.isfinite(self.slope) and self.slope > 0, "a Platt slope must be positive")

    def apply(self, logits: npt.ArrayLike) -> Floats:
        """Calibrated logits, of the shape given."""
        return self.slope * np.asarray(logits, dtype=np.float64) + self.intercept

    def shifted(self, offset: float) -> "Platt":
        """The same slope, the intercept moved by `offset`."""
        return Platt(self.slope, self.intercept + offset)

    def to_json(self) -> dict[str, Any]:
        """Method, slope and intercept."""
        return {"method": self.method.value, "slope": self.slope, "intercept": self.intercept}


@dataclass(frozen=True, slots=True)
class Identity:
    """The network's own probability, unchanged."""

    method: Method = Method.IDENTITY

    def apply(self, logits: npt.ArrayLike) -> Floats:
        """The logits as they are, in float64."""
        return np.asarray(logits, dtype=np.float64)

    def shifted(self, offset: float) -> Platt:
        """A Platt curve of slope 1."""
        return Platt(1.0, offset)

    def to_json(self) -> dict[str, Any]:
        """The method alone."""
        return {"method": self.method.value}


@dataclass(frozen=True, slots=True)
class Beta:
    """a ln p - b ln(1 - p) + c (Kull, Silva Filho and Flach, "Beta calibration", AISTATS 2017)."""

    a: float
    b: float
    c: float
    method: Method = Method.BETA

    def __post_init__(self) -> None:
        """Refuse a curve that does not rise; raises CalibrationError."""
        finite = all(math.isfinite(value) for value in (self.a, self.b, self.c))
        # Both must be above zero: with b = 0 high probabilities, with a = 0 low ones become equal.
        _require(finite and min(self.a, self.b) > 0, "beta parameters a and b must be positive")

    def apply(self, logits: npt.ArrayLike) -> Floats:
        """Calibrated logits, of the shape given."""
        x = np.asarray(logits, dtype=np.float64)
        return self.b * softplus(x) - self.a * softplus(-x) + self.c

    def shifted(self, offset: float) -> "Beta":
        """The same shape, c moved by `offset`."""
        return Beta(self.a, self.b, self.c + offset)

    def to_json(self) -> dict[str, Any]:
        """Method, a, b and c."""
        return {"method": self.method.value, "a": self.a, "b": self.b, "c": self.c}


@dataclass(frozen=True, slots=True)
class Isotonic:
    """Straight lines between knots on the logit scale, going on with slope 1 beyond the ends.

    The steps of an isotonic regression are joined at their centres (Oron and Flournoy, "Centered
    isotonic regression", 2017), so that no two different scores become one and no AUC changes.
    """

    logits: tuple[float, ...]
    calibrated: tuple[float, ...]
    method: Method = Method.ISOTONIC

    def __post_init__(self) -> None:
        """Refuse knots that do not rise; raises CalibrationError."""
        pairs = (self.logits, self.calibrated)
        _require(len(self.logits) == len(self.calibrated) > 0, "isotonic knots come in pairs")
        for values in pairs:
            steps = np.diff(np.asarray(values))
            rising = np.isfinite(values).all() and (steps > 0).all()
            _require(bool(rising), "isotonic knots must rise strictly")

    def apply(self, logits: npt.ArrayLike) -> Floats:
        """Calibrated logits, of the shape given."""
        x = np.asarray(logits, dtype=np.float64)
        inside = np.interp(x, self.logits, self.calibrated)
        below = np.minimum(x - self.logits[0], 0.0)
        above = np.maximum(x - self.logits[-1], 0.0)
        return np.asarray(inside + below + above)

    def shifted(self, offset: float) -> "Isotonic":
        """Every knot moved by `offset`."""
        return Isotonic(self.logits, tuple(value + offset for value in self.calibrated))

    def to_json(self) -> dict[str, Any]:
        """Method and knots."""
        return {
            "method": self.method.value,
            "logits": list(self.logits),
            "calibrated": list(self.calibrated),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read the knots back."""
        return cls(
            tuple(float(value) for value in content["logits"]),
            tuple(float(value) for value in content["calibrated"]),
        )


def calibrator_from_json(content: Mapping[str, Any]) -> Calibrator:
    """Read one label's calibrator.

    Raises CalibrationError for an unknown method and for parameters that are missing, not numbers
    or do not make a rising curve.
    """
    try:
        return _from_json(content)
    except (KeyError, TypeError, ValueError) as error:
        raise CalibrationError(f"malformed calibrator {dict(content)!r}: {error}") from error


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
    """Read the curves of a card. Raises CalibrationError for one that is malformed."""
    return {label: calibrator_from_json(curve) for label, curve in content.items()}
