"""Runs a bundle's network with torch, on the CPU or a GPU."""

from threading import Lock

import numpy as np
import torch

from cxr_model.errors import DeviceError
from cxr_model.predict.bundle import Bundle
from cxr_model.predict.network import contributions
from cxr_model.predict.predictor import Image, Outputs


class TorchEngine:
    """The network of a bundle in torch, in float32."""

    def __init__(self, bundle: Bundle, device: str = "cpu", threads: int | None = None) -> None:
        """Move the network to `device`, a name that torch knows.

        `threads` sets torch's thread count for the whole process; None leaves it unchanged.
        Raises DeviceError if the device is unavailable, ValueError for no thread.
        """
        if threads is not None and threads < 1:
            raise ValueError("threads must be at least 1")
        self._device = _device(device)
        if threads is not None:
            torch.set_num_threads(threads)
        network = bundle.network().to(self._device)
        self._network = network.to(memory_format=torch.channels_last)
        spec = bundle.card.input
        shape = (1, spec.channels, 1, 1)
        self._mean, self._std = (
            torch.tensor(values, device=self._device).reshape(shape)
            for values in (spec.mean, spec.std)
        )
        place = f"{torch.get_num_threads()} threads" if self._device.type == "cpu" else device
        self.name = f"torch {torch.__version__}, {place}"
        self._lock = Lock()

    def run(self, squares: Image) -> Outputs:
        """Return the outputs for squares, uint8 (n, size, size)."""
        with self._lock, torch.inference_mode():
            grey = torch.from_numpy(squares).to(self._device)[:, None].float() / 255
            images = (grey - self._mean) / self._std
            output = self._network(images.contiguous(memory_format=torch.channels_last))
            maps = contributions(output.features, self._network.label_weight)
            logits = output.logits.double().cpu().numpy()
            return Outputs(logits, np.asarray(maps.float().cpu().numpy()))


def has_cuda() -> bool:
    """Return True if torch can use an NVIDIA GPU here."""
    return torch.cuda.is_available()


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DeviceError(f"no device {name!r} here ({reason}); use 'auto' or 'cpu'") from error
    return device
