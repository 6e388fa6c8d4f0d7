"""A bundle at work: images in, calibrated findings and maps out."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from cxr_model.errors import DeviceError
from cxr_model.predict.bundle import Bundle
from cxr_model.predict.curves import calibrators_from_card, sigmoid
from cxr_model.predict.heatmap import class_activation_maps
from cxr_model.predict.prediction import Finding, Prediction
from cxr_model.predict.transform import Geometry, preprocess

#: More images at once are no faster on a CPU and only take memory.
BATCH = 8

Image = npt.NDArray[np.uint8]


class Predictor:
    """Runs a bundle's network; made once per process, it takes over the bundle's network."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: str = "auto",
        threads: int | None = None,
        batch: int = BATCH,
    ) -> None:
        """Move the network to `device`: ``auto`` is a GPU where there is one, else the CPU.

        `threads` sets torch's thread count for this whole process; None leaves it as it is.
        Raises DeviceError when the device is not there, CalibrationError when the card's
        calibrators cannot be read, ValueError when `threads` or `batch` is below 1.
        """
        if batch < 1 or (threads is not None and threads < 1):
            raise ValueError("threads and batch must be at least 1")
        self.bundle = bundle
        self.device = _device(device)
        self._batch = batch
        self._calibrators = calibrators_from_card(bundle.card.calibrators)
        if threads is not None:
            torch.set_num_threads(threads)
        self._network = bundle.network.eval().to(self.device)
        self._network.to(memory_format=torch.channels_last)

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        """One prediction per image, in order.

        Each image is uint8 (rows, cols), 0 black to 255 white as it should be seen; sizes may
        differ. Raises ImageError for an array that is not such an image.
        """
        return [
            prediction
            for start in range(0, len(images), self._batch)
            for prediction in self._predict(images[start : start + self._batch])
        ]

    def _predict(self, images: Sequence[Image]) -> Iterator[Prediction]:
        inputs = [preprocess(image, self.bundle.card.input) for image in images]
        logits, maps = self._forward(torch.stack([tensor for tensor, _ in inputs]))
        probabilities = self._calibrated(logits)
        for row, (_, geometry) in enumerate(inputs):
            yield self._prediction(logits[row], probabilities[row], maps[row], geometry)

    @torch.inference_mode()
    def _forward(
        self, batch: torch.Tensor
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
        moved = batch.to(self.device).contiguous(memory_format=torch.channels_last)
        output = self._network(moved)
        maps = class_activation_maps(output.features, self._network.label_weight)
        return output.logits.double().cpu().numpy(), maps.float().cpu().numpy()

    def _calibrated(self, logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        columns = [
            self._calibrators[label].apply(logits[:, i])
            for i, label in enumerate(self.bundle.card.labels)
        ]
        return sigmoid(np.stack(columns, axis=1))

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
        return Prediction(findings, maps, geometry)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DeviceError(f"no device {name!r} here ({reason}); use 'auto' or 'cpu'") from error
    return device
