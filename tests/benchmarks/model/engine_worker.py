"""One engine, or a matrix product, in a process of its own.

`python -m tests.benchmarks.model.engine_worker KIND THREADS` prints `ready`, then answers lines of
JSON: {"batch": n, "runs": k} with the median milliseconds per image and those of CPU time, "count"
with the multiply-adds of an image. Engines are imported only here, so that no process holds the
threads of two of them.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_model.predict.bundle import STARTER, Bundle
from tests.benchmarks.timing import seconds

MATRIX = 2048
"""Side of the multiplied matrices: large enough for a library's best rate."""


class Kind(StrEnum):
    """The things that a worker measures. The first four are names of `model.engine`."""

    ONNX_RUNTIME = "onnxruntime"
    OPENVINO = "openvino"
    TORCH = "torch"
    AUTO = "auto"
    LOGITS_ONLY = "logits-only"
    NUMPY_PRODUCT = "numpy-product"
    TORCH_PRODUCT = "torch-product"


Action = Callable[[int], object]
"""Does the work of a batch of this size."""


def open_action(kind: Kind, threads: int) -> Action:
    """Return the work of a kind. Raises ImportError or ModelError if its library is absent."""
    if kind is Kind.NUMPY_PRODUCT:
        a = np.random.default_rng(0).random((MATRIX, MATRIX), dtype=np.float32)
        return lambda _batch: a @ a
    if kind is Kind.TORCH_PRODUCT:
        import torch

        torch.set_num_threads(threads)
        b = torch.rand(MATRIX, MATRIX)
        return lambda _batch: b @ b
    bundle = Bundle.load(STARTER)
    run = (
        _logits_only(bundle, threads)
        if kind is Kind.LOGITS_ONLY
        else _engine(bundle, kind, threads)
    )
    size = bundle.card.input.size
    squares = np.random.default_rng(0).integers(0, 256, (64, size, size), dtype=np.uint8)
    return lambda batch: run(squares[:batch])


def _engine(bundle: Bundle, kind: Kind, threads: int) -> Callable[[NDArray[np.uint8]], object]:
    from cxr_model.engine.choice import open_engine

    return open_engine(bundle, engine=kind.value, device="cpu", threads=threads).run


def _logits_only(bundle: Bundle, threads: int) -> Callable[[NDArray[np.uint8]], object]:
    """Return the graph without maps in ONNX Runtime, run as the engine runs its own."""
    from cxr_model.engine.onnx_runtime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(_without_maps(bundle), threads).run


def _without_maps(bundle: Bundle) -> bytes:
    """Return the bundle's graph with the classifier on pooled features, and maps of one cell."""
    import onnx

    from cxr_model.engine.graph import LOGITS, MAPS, build_graph

    model = onnx.load_from_string(build_graph(bundle))
    nodes = model.graph.node
    head = next(node for node in nodes if MAPS in node.output)
    pooled = onnx.helper.make_node("GlobalAveragePool", [head.input[0]], ["pooled"])
    head.input[0] = "pooled"
    nodes.insert(list(nodes).index(head), pooled)
    # The average of one cell is that cell, so the rest of the graph stays as it is.
    for output in model.graph.output:
        if output.name == MAPS:
            for dimension in output.type.tensor_type.shape.dim[2:]:
                dimension.dim_value = 1
    assert any(LOGITS in node.output for node in nodes)
    return bytes(model.SerializeToString())


def count_network(bundle: Bundle) -> dict[str, float]:
    """Return the multiply-adds of an image in the network as published, and in its maps."""
    import torch
    from torch import nn

    network, spec = bundle.network(), bundle.card.input
    counted = [0.0]

    def count(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        # Each output value is a sum over one filter.
        filters = module.get_parameter("weight")
        counted[0] += output.numel() * filters[0].numel()

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.inference_mode():
        output = network(torch.zeros(1, spec.channels, spec.size, spec.size))
    maps = output.features.numel() * network.label_weight.shape[0]
    return {"network": counted[0], "maps": float(maps)}


def count_graph(graph: bytes) -> float:
    """Return the multiply-adds of the convolutions of an ONNX graph for one image."""
    import onnx

    model = onnx.load_from_string(graph)
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    shapes = onnx.shape_inference.infer_shapes(model).graph
    sizes = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*shapes.value_info, *shapes.output)
    }
    filters = {tensor.name: list(tensor.dims) for tensor in shapes.initializer}
    return float(
        sum(
            _product(sizes[node.output[0]]) * _product(filters[node.input[1]][1:])
            for node in shapes.node
            if node.op_type == "Conv"
        )
    )


def _product(numbers: Iterable[int]) -> int:
    result = 1
    for one in numbers:
        result *= one
    return result


def _counts() -> dict[str, float]:
    from cxr_model.engine.graph import build_graph

    bundle = Bundle.load(STARTER)
    counts = {**count_network(bundle), "size": float(bundle.card.input.size)}
    try:
        counts["graph"] = count_graph(build_graph(bundle))
    except ImportError:
        counts["graph"] = 0.0
    return counts


def main() -> None:
    kind, threads = Kind(sys.argv[1]), int(sys.argv[2])
    try:
        action = open_action(kind, threads)
    except Exception as error:  # noqa: BLE001 - the caller prints why this side is left out
        print(f"{kind} cannot run here: {str(error).splitlines()[0]}", flush=True)
        return
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if asked == "count":
            print(json.dumps(_counts()), flush=True)
            continue
        batch = asked["batch"]
        action(batch)
        used = time.process_time()
        times = [seconds(lambda: action(batch)) for _ in range(asked["runs"])]  # noqa: B023
        used = (time.process_time() - used) / len(times)
        answer = [1e3 * one / batch for one in (statistics.median(times), used)]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
