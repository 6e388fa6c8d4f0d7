"""The calibrated findings of one image and their maps."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxr_model.finding_text import odds_over_threshold, odds_text, probability_text
from cxr_model.findings import LABELS, NO_FINDING
from cxr_model.predict.transform import Geometry


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for one label; ``probability`` and ``threshold`` are calibrated."""

    label: str
    logit: float
    probability: float
    threshold: float

    @property
    def present(self) -> bool:
        """True if the probability reaches the threshold."""
        return self.probability >= self.threshold

    @property
    def odds_over_threshold(self) -> float:
        """The odds divided by those at the threshold; 1 at the threshold."""
        return odds_over_threshold(self.probability, self.threshold)


@dataclass(frozen=True, slots=True)
class Prediction:
    """All findings of one image, in the order of `LABELS`.

    ``maps`` (14, h, w) float32 holds each cell's contribution W_c·F to the logit: the logit of
    label c is ``maps[c].mean() + bias[c]``. ``geometry`` maps that grid back to the image's pixels.
    ``baseline`` (14, h, w) is the map of the mean film of the bundle's validation patients; None if
    the bundle has none.
    """

    findings: tuple[Finding, ...]
    maps: npt.NDArray[np.float32]
    geometry: Geometry
    baseline: npt.NDArray[np.float32] | None = None

    def heat(self, label: str, shape: tuple[int, int] | None = None) -> npt.NDArray[np.float32]:
        """Return the map to draw, float32 (rows, cols) on the image's pixels.

        `shape` are the rows and columns of a smaller picture of the image, if the map is drawn on
        one.

        It holds the contributions of `label` less those of the mean film, so that it is hot where
        this film differs, and not where every film has its heart. With the features linear in the
        head this is the difference of the logit from that of the mean film, by place (Lundberg and
        Lee, "A unified approach to interpreting model predictions", NeurIPS 2017, linear SHAP).
        """
        geometry = self.geometry
        if shape is not None:
            geometry = geometry.of_shape(*shape)
        return geometry.to_original(self.cells(label))

    def cells(self, label: str) -> npt.NDArray[np.float32]:
        """Return the map of `heat` on the cells of the network, float32 (h, w)."""
        index = LABELS.index(label)
        grid: npt.NDArray[np.float32] = self.maps[index]
        return grid if self.baseline is None else grid - self.baseline[index]

    def finding(self, label: str) -> Finding:
        """Return the finding of `label`. Raises KeyError if `label` is not in `LABELS`."""
        for finding in self.findings:
            if finding.label == label:
                return finding
        raise KeyError(label)

    @property
    def present(self) -> tuple[Finding, ...]:
        """Findings at or above their threshold, the one furthest above its threshold first."""
        positive = [finding for finding in self.findings if finding.present]
        return tuple(sorted(positive, key=lambda finding: -finding.odds_over_threshold))


def clinical_summary(prediction: Prediction) -> str:
    """Return a line for a table, the finding furthest above its threshold first.

    ``Effusion 0.62 (8.0 times the odds of its threshold 0.17); Mass 0.31 (…)``.
    """
    positive = [
        f"{finding.label} {probability_text(finding.probability)} "
        f"({odds_text(finding.probability, finding.threshold)})"
        for finding in prediction.present
    ]
    return "; ".join(positive) or NO_FINDING
