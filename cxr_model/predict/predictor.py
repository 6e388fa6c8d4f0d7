"""Runs a bundle over images and returns calibrated findings and maps."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from cxr_model.errors import BundleError, ModelOutputError
from cxr_model.files.card_values import MOST_OUTPUT
from cxr_model.predict.bundle import Bundle
from cxr_model.predict.card import Card
from cxr_model.predict.curves import calibrated_probabilities, calibrators_from_card
from cxr_model.predict.prediction import Finding, Prediction
from cxr_model.predict.transform import Geometry, NetworkInput, network_input
from cxr_model.reference_film import REFERENCE_FILM, reference_film

#: Larger batches are no faster on a CPU and take more memory.
BATCH = 8

Image = npt.NDArray[np.uint8]


class Outputs(NamedTuple):
    """`logits` (n, 14), and `maps` (n, 14, h, w) of contributions whose mean plus bias is a logit.

    The positive part of a map is Grad-CAM times h * w (Selvaraju et al., "Grad-CAM", ICCV 2017:
    with a classifier on pooled features it equals Zhou's class activation map).
    """

    logits: npt.NDArray[np.float64]
    maps: npt.NDArray[np.float32]


class Engine(Protocol):
    """Runs the network of one bundle; several threads may call it at once."""

    @property
    def name(self) -> str:
        """Library, version and place of the computation, for people."""

    def run(self, squares: Image) -> Outputs:
        """Return the outputs for grey squares, uint8 (n, size, size), n at least 1."""


class Predictor:
    """Turns the outputs of a bundle's engine into calibrated findings with their maps."""

    def __init__(self, bundle: Bundle, engine: Engine, *, batch: int = BATCH) -> None:
        """Use `engine`, which runs the network of `bundle`, on at most `batch` images at once.

        Raises CalibrationError if the card's calibrators are malformed, ValueError if `batch` is
        below 1.
        """
        if batch < 1:
            raise ValueError("batch must be at least 1")
        self.bundle = bundle
        self.engine = engine
        self._batch = batch
        self._calibrators = calibrators_from_card(bundle.card.calibrators)
        self._baseline = _baseline(bundle.card)

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        """Return a prediction per image, in order.

        Each image is uint8 (rows, cols), displayed with 0 black and 255 white; sizes may differ.
        Raises ImageError for any other array, ModelOutputError if an output is not a finite
        number: then no image of the call has a result.
        """
        spec = self.bundle.card.input
        return self.predict_inputs([network_input(image, spec) for image in images])

    def predict_inputs(self, inputs: Sequence[NetworkInput]) -> list[Prediction]:
        """Return a prediction per input of this bundle's network, in order.

        Raises ModelOutputError as `predict`.
        """
        predictions: list[Prediction] = []
        for start in range(0, len(inputs), self._batch):
            try:
                predictions.extend(self._predict(inputs[start : start + self._batch]))
            except ModelOutputError as error:
                raise ModelOutputError(start + error.image, str(error)) from error
        return predictions

    def check_reference(self) -> float | None:
        """Run the reference film; return the largest difference of a logit to the card's record.

        Returns None for a card without a record, as of version 0.1.0: the outputs are then only
        known to be finite. Raises BundleError if the outputs are those of another network
        or not finite.
        """
        card = self.bundle.card
        recorded = card.reference
        try:
            (prediction,) = self.predict([reference_film()])
        except ModelOutputError as error:
            raise BundleError(
                f"{card.name} {card.version} cannot be used: for the reference film {error}; fetch "
                "or train the bundle again"
            ) from error
        if not recorded:
            return None
        if recorded["film"] != REFERENCE_FILM:
            raise BundleError(
                f"the card's reference film is {recorded['film']!r}, and this software draws "
                f"{REFERENCE_FILM!r}: use the software that made the bundle, or a newer one"
            )
        tolerance = float(recorded["tolerance"])
        pairs = zip(prediction.findings, recorded["outputs"], strict=True)
        differences = {f.label: abs(f.logit - float(value)) for f, value in pairs}
        label, worst = max(differences.items(), key=lambda item: item[1])
        if not worst <= tolerance:
            raise BundleError(
                f"{card.name} {card.version} gives other outputs here than where it was made: for "
                f"the reference film the logit of {label} differs by {worst:.2g}, more than "
                f"{tolerance:g}; no film is analysed with it: fetch the bundle again, or set "
                "another model.engine"
            )
        return worst

    def _predict(self, inputs: Sequence[NetworkInput]) -> Iterator[Prediction]:
        logits, maps = self.engine.run(np.stack([item.square for item in inputs]))
        labels = self.bundle.card.labels
        probabilities = calibrated_probabilities(self._calibrators, labels, logits)
        _require_plausible(labels, logits, probabilities, maps)
        for row, item in enumerate(inputs):
            yield self._prediction(logits[row], probabilities[row], maps[row], item.geometry)

    def _prediction(
        self,
        logits: npt.NDArray[np.float64],
        probabilities: npt.NDArray[np.float64],
        maps: npt.NDArray[np.float32],
        geometry: Geometry,
    ) -> Prediction:
        card = self.bundle.card
        findings = tuple(
            Finding(label, float(logits[i]), float(probabilities[i]), card.thresholds[label])
            for i, label in enumerate(card.labels)
        )
        return Prediction(findings, maps, geometry, self._baseline)


def _baseline(card: Card) -> npt.NDArray[np.float32] | None:
    if not card.map_baselines:
        return None
    return np.asarray([card.map_baselines[label] for label in card.labels], dtype=np.float32)


def _require_plausible(
    labels: Sequence[str],
    logits: npt.NDArray[np.float64],
    probabilities: npt.NDArray[np.float64],
    maps: npt.NDArray[np.float32],
) -> None:
    """Raise ModelOutputError unless every output is a finite number that a network can mean."""
    # Comparisons with NaN are false, so that NaN is not plausible.
    plausible = (np.abs(logits) <= MOST_OUTPUT) & (probabilities >= 0) & (probabilities <= 1)
    plausible &= np.isfinite(maps).all(axis=(2, 3))
    if plausible.all():
        return
    row, column = (int(index) for index in np.argwhere(~plausible)[0])
    raise ModelOutputError(
        row,
        f"the model's output for {labels[column]} is not a result (logit "
        f"{logits[row, column]:g}, probability {probabilities[row, column]:g})",
    )
