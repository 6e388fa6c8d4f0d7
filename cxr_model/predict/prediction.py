"""The calibrated findings of one image and their maps."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxr_model.findings import NO_FINDING
from cxr_model.predict.transform import Geometry


@dataclass(frozen=True, slots=True)
class Finding:
    """One label's answer: ``probability`` is calibrated, ``threshold`` is on the same scale."""

    label: str
    logit: float
    probability: float
    threshold: float

    @property
    def present(self) -> bool:
        """Whether the probability reaches the threshold."""
        return self.probability >= self.threshold


@dataclass(frozen=True, slots=True)
class Prediction:
    """All findings of one image, in the order of `LABELS`.

    ``maps`` has shape (14, h, w), float32: each cell's contribution W_c·F to the logit, so that
    ``maps[c].mean() + bias[c]`` is the logit of label c. ``geometry`` leads from that grid back to
    the pixels of the image.
    """

    findings: tuple[Finding, ...]
    maps: npt.NDArray[np.float32]
    geometry: Geometry

    def finding(self, label: str) -> Finding:
        """The finding of that label; raises KeyError for a name that is not one of `LABELS`."""
        for finding in self.findings:
            if finding.label == label:
                return finding
        raise KeyError(label)

    @property
    def present(self) -> tuple[Finding, ...]:
        """The findings at or above their threshold, most probable first."""
        positive = [finding for finding in self.findings if finding.present]
        return tuple(sorted(positive, key=lambda finding: -finding.probability))


def clinical_summary(prediction: Prediction) -> str:
    """One line for a table: ``Effusion (0.62); Mass (0.31)``, most probable first."""
    positive = [f"{finding.label} ({finding.probability:.2f})" for finding in prediction.present]
    return "; ".join(positive) or NO_FINDING
