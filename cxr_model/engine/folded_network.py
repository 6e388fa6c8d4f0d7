"""A bundle's network in torch for a GPU, with the steps around its convolutions folded."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxr_model.engine.folding import Array, affine, convolution, first_layer
from cxr_model.files.weights import GROWTH_RATE
from cxr_model.predict.bundle import Bundle


class FoldedNetwork(nn.Module):
    """The steps of `graph.build_graph` in torch.

    A dense block writes its features into one tensor, so that no layer copies those before it. All
    numbers are buffers: they follow the network to a device and to another precision.
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        tensors = bundle.tensors()
        self._blocks = bundle.blocks
        first = first_layer(tensors, bundle.card.input)
        self._keep("first.kernel", first.kernel)
        self._keep("first.shift", first.shift[None])
        norms = ["features.norm5"]
        for block, layers in enumerate(bundle.blocks, 1):
            for layer in range(1, layers + 1):
                name = f"features.denseblock{block}.denselayer{layer}"
                norms.append(f"{name}.norm1")
                kernel, bias = convolution(tensors, f"{name}.conv1", f"{name}.norm2")
                self._keep(f"{name}.conv1", kernel)
                self._keep(f"{name}.bias1", bias)
                self._keep(f"{name}.conv2", tensors[f"{name}.conv2.weight"])
            if block < len(bundle.blocks):
                name = f"features.transition{block}"
                norms.append(f"{name}.norm")
                self._keep(f"{name}.conv", tensors[f"{name}.conv.weight"])
        for norm in norms:
            scale, shift = affine(tensors, norm)
            self._keep(f"{norm}.scale", scale[:, None, None])
            self._keep(f"{norm}.shift", shift[:, None, None])
        labels = len(bundle.card.labels)
        self._keep("head.kernel", tensors["classifier.weight"][:labels, :, None, None])
        self._keep("head.bias", tensors["classifier.bias"][:labels])

    def forward(self, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Map grey squares, uint8 (n, 1, size, size), to logits (n, 14) and maps (n, 14, h, w)."""
        kernel = self._kept("first.kernel")
        x = functional.conv2d(squares.to(kernel.dtype), kernel, stride=2, padding=3)
        x = functional.relu_(x + self._kept("first.shift"))
        x = functional.max_pool2d(x, 3, stride=2, padding=1)
        for block, layers in enumerate(self._blocks, 1):
            x = self._dense_block(x, block, layers)
            if block < len(self._blocks):
                name = f"features.transition{block}"
                x = functional.avg_pool2d(self._normalised(x, f"{name}.norm"), 2)
                x = functional.conv2d(x, self._kept(f"{name}.conv"))
        x = self._normalised(x, "features.norm5")
        maps = functional.conv2d(x, self._kept("head.kernel"))
        return maps.mean(dim=(2, 3)) + self._kept("head.bias"), maps

    def _dense_block(self, x: Tensor, block: int, layers: int) -> Tensor:
        features, shape = x.shape[1], list(x.shape)
        shape[1] += layers * GROWTH_RATE
        whole = torch.empty(
            shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last
        )
        whole[:, :features] = x
        for layer in range(1, layers + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            y = self._normalised(whole[:, :features], f"{name}.norm1")
            y = functional.conv2d(y, self._kept(f"{name}.conv1"), self._kept(f"{name}.bias1"))
            y = functional.conv2d(functional.relu_(y), self._kept(f"{name}.conv2"), padding=1)
            whole[:, features : features + GROWTH_RATE] = y
            features += GROWTH_RATE
        return whole

    def _normalised(self, x: Tensor, norm: str) -> Tensor:
        return functional.relu_(
            torch.addcmul(self._kept(f"{norm}.shift"), x, self._kept(f"{norm}.scale"))
        )

    def _keep(self, name: str, values: Array) -> None:
        tensor = torch.from_numpy(values)
        if tensor.ndim == 4:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        self.register_buffer(name.replace(".", "_"), tensor)

    def _kept(self, name: str) -> Tensor:
        return self.get_buffer(name.replace(".", "_"))
