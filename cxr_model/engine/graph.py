"""Builds the ONNX graph of a bundle's network from its weights, without torch.

The graph takes grey squares, uint8 (n, 1, size, size), and returns `logits` (n, 14) and `maps`
(n, 14, h, w). It computes what `predict.network.DenseNet121` and `contributions` compute, with
three rearrangements that are exact but for rounding: batch norm and normalisation are folded (see
`folding`); a transition averages its cells before its 1x1 convolution, which then has a quarter of
the work; and the maps are computed first, so that a logit is the mean of its map plus the bias.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_model.engine.folding import affine, convolution, first_layer
from cxr_model.predict.bundle import Bundle

#: Changes with every change of the graph; cached graphs of another version are not used.
GRAPH_VERSION = 1

INPUT, LOGITS, MAPS = "squares", "logits", "maps"
_OPSET, _IR_VERSION = 17, 9


def build_graph(bundle: Bundle) -> bytes:
    """Return the graph as a serialised ONNX model. It takes any number of squares at once."""
    graph = _Graph()
    tensors, spec = bundle.tensors(), bundle.card.input
    first = first_layer(tensors, spec)
    x = graph.add("Cast", [INPUT], to=graph.FLOAT)
    x = graph.convolve(x, first.kernel, stride=2, padding=3)
    x = graph.add("Relu", [graph.add("Add", [x, graph.constant(first.shift[None])])])
    x = graph.add("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for block, layers in enumerate(bundle.blocks, 1):
        for layer in range(1, layers + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            y = graph.normalise(x, *affine(tensors, f"{name}.norm1"))
            y = graph.convolve(y, *convolution(tensors, f"{name}.conv1", f"{name}.norm2"))
            y = graph.add("Relu", [y])
            y = graph.convolve(y, tensors[f"{name}.conv2.weight"], padding=1)
            x = graph.add("Concat", [x, y], axis=1)
        if block < len(bundle.blocks):
            name = f"features.transition{block}"
            x = graph.normalise(x, *affine(tensors, f"{name}.norm"))
            x = graph.add("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])
            x = graph.convolve(x, tensors[f"{name}.conv.weight"])
    x = graph.normalise(x, *affine(tensors, "features.norm5"))
    labels = len(bundle.card.labels)
    head = tensors["classifier.weight"][:labels, :, None, None]
    maps = graph.convolve(x, head, output=MAPS)
    sums = graph.add("Flatten", [graph.add("GlobalAveragePool", [maps])])
    bias = graph.constant(tensors["classifier.bias"][:labels])
    graph.add("Add", [sums, bias], output=LOGITS)
    return graph.model(spec.size, labels, spec.map_size)


class _Graph:
    """A graph that grows node by node; `onnx` is imported only when one is built."""

    def __init__(self) -> None:
        import onnx

        self._onnx = onnx
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self.FLOAT = onnx.TensorProto.FLOAT

    def add(self, kind: str, inputs: Sequence[str], *, output: str = "", **options: Any) -> str:
        """Add a node and return the name of its output."""
        name = output or f"{kind}{len(self._nodes)}"
        node = self._onnx.helper.make_node(kind, list(inputs), [name], name=name, **options)
        self._nodes.append(node)
        return name

    def constant(self, values: npt.NDArray[np.float32]) -> str:
        """Add a constant and return its name."""
        name = f"constant{len(self._constants)}"
        array = np.ascontiguousarray(values, dtype=np.float32)
        self._constants.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def convolve(
        self,
        x: str,
        kernel: npt.NDArray[np.float32],
        bias: npt.NDArray[np.float32] | None = None,
        *,
        stride: int = 1,
        padding: int = 0,
        output: str = "",
    ) -> str:
        """Add a convolution."""
        inputs = [x, self.constant(kernel)]
        if bias is not None:
            inputs.append(self.constant(bias))
        size = list(kernel.shape[2:])
        options = {"kernel_shape": size, "strides": [stride] * 2, "pads": [padding] * 4}
        return self.add("Conv", inputs, output=output, **options)

    def normalise(
        self, x: str, scale: npt.NDArray[np.float32], shift: npt.NDArray[np.float32]
    ) -> str:
        """Add an affine map of each feature and a ReLU."""
        # As batch norm with mean 0 and variance 1, which the engines compute in one pass.
        zero, one = np.zeros_like(scale), np.ones_like(scale)
        constants = [self.constant(values) for values in (scale, shift, zero, one)]
        return self.add("Relu", [self.add("BatchNormalization", [x, *constants], epsilon=0.0)])

    def model(self, size: int, labels: int, cells: int) -> bytes:
        """Return the serialised model of the nodes added."""
        onnx = self._onnx
        describe = onnx.helper.make_tensor_value_info
        graph = onnx.helper.make_graph(
            self._nodes,
            "cxrd",
            [describe(INPUT, onnx.TensorProto.UINT8, ["n", 1, size, size])],
            [
                describe(LOGITS, self.FLOAT, ["n", labels]),
                describe(MAPS, self.FLOAT, ["n", labels, cells, cells]),
            ],
            self._constants,
        )
        opset = onnx.helper.make_opsetid("", _OPSET)
        model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)
        return bytes(model.SerializeToString())
