"""Runs a bundle's network with torch, on the CPU or a GPU."""

from collections.abc import Callable
from threading import Lock

import torch
from torch import Tensor

from cxr_model.engine.folded_network import FoldedNetwork
from cxr_model.errors import DeviceError, first_line
from cxr_model.predict.bundle import Bundle
from cxr_model.predict.network import contributions
from cxr_model.predict.predictor import Image, Outputs

#: Batches up to this size are recorded as a CUDA graph: the launch of their kernels takes longer
#: than the kernels.
_LARGEST_GRAPH = 8

_Forward = Callable[[Tensor], tuple[Tensor, Tensor]]


class TorchEngine:
    """The network of a bundle in torch, in float32."""

    def __init__(self, bundle: Bundle, device: str = "cpu", threads: int | None = None) -> None:
        """Move the network to `device`, a name that torch knows.

        `threads` sets torch's thread count for the whole process; None leaves it unchanged.
        Raises DeviceError if the device is unavailable, ValueError for no thread.
        """
        if threads is not None and threads < 1:
            raise ValueError("threads must be at least 1")
        place = _device(device)
        if threads is not None:
            torch.set_num_threads(threads)
        self._forward: _Forward
        if place.type == "cuda":
            where = f"{device} ({torch.cuda.get_device_name(place)})"
            self._forward = _CudaForward(FoldedNetwork(bundle).to(place), place)
        else:
            where = f"{torch.get_num_threads()} threads" if place.type == "cpu" else device
            self._forward = _EagerForward(bundle, place)
        self.name = f"torch {torch.__version__}, {where}"
        self._lock = Lock()

    def run(self, squares: Image) -> Outputs:
        """Return the outputs for squares, uint8 (n, size, size)."""
        with self._lock, torch.no_grad():
            logits, maps = self._forward(torch.from_numpy(squares)[:, None])
            return Outputs(logits.double().cpu().numpy(), maps.cpu().numpy())


class _EagerForward:
    """The network as it was trained, layer by layer."""

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        network = bundle.network().to(device)
        self._network = network.to(memory_format=torch.channels_last)
        self._device = device
        spec = bundle.card.input
        self._mean, self._std = (
            torch.tensor(values, device=device).reshape(1, spec.channels, 1, 1)
            for values in (spec.mean, spec.std)
        )

    def __call__(self, squares: Tensor) -> tuple[Tensor, Tensor]:
        images = (squares.to(self._device).float() / 255 - self._mean) / self._std
        output = self._network(images.contiguous(memory_format=torch.channels_last))
        return output.logits, contributions(output.features, self._network.label_weight)


class _CudaForward:
    """The folded network on a GPU. Small batches are padded to a power of two and recorded."""

    def __init__(self, network: FoldedNetwork, device: torch.device) -> None:
        self._network, self._device = network, device
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor, tuple[Tensor, Tensor]]] = {}

    def __call__(self, squares: Tensor) -> tuple[Tensor, Tensor]:
        number = len(squares)
        padded = 1 << (number - 1).bit_length()
        # TF32 would round logits to three digits.
        with (
            torch.cuda.device(self._device),
            torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False),
        ):
            if padded > _LARGEST_GRAPH:
                logits, maps = self._network(squares.to(self._device))
                return logits, maps
            if padded not in self._graphs:
                self._graphs[padded] = self._record(torch.zeros(padded, *squares.shape[1:]))
            graph, inputs, (logits, maps) = self._graphs[padded]
            inputs[:number].copy_(squares)
            graph.replay()
            return logits[:number], maps[:number]

    def _record(
        self, squares: Tensor
    ) -> tuple[torch.cuda.CUDAGraph, Tensor, tuple[Tensor, Tensor]]:
        """Record a run of the network on a copy of `squares`; a replay overwrites its outputs."""
        inputs = squares.to(self._device, torch.uint8)
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            # The first runs choose the algorithms of the convolutions.
            for _ in range(3):
                self._network(inputs)
        torch.cuda.current_stream(self._device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = self._network(inputs)
        return graph, inputs, outputs


def has_cuda() -> bool:
    """Return True if torch can use an NVIDIA GPU here."""
    return torch.cuda.is_available()


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = first_line(error)
        raise DeviceError(f"no device {name!r} here ({reason}); use 'auto' or 'cpu'") from error
    return device
