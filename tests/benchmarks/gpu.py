"""A GPU: images/s of the torch engine by batch size, beside the roofline of the machine.

Needs torch, torchvision, NumPy, OpenCV and safetensors only, and about two minutes:
``python -m tests.benchmarks gpu``, or ``python -m tests.benchmarks.gpu`` on a bare machine.
"""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxr_model.engine.folded_network import FoldedNetwork
from cxr_model.engine.torch_engine import TorchEngine
from cxr_model.files.weights import GROWTH_RATE
from cxr_model.predict.bundle import STARTER, Bundle

BATCHES = (1, 8, 32, 128, 256, 512)
SECONDS = 0.6
"""Least time of each measurement."""
RUNS = 5
MATRIX = 8192
COPIED = 1 << 30
"""Bytes of the copy that measures the bandwidth of the memory."""


def run() -> None:
    """Print the rates, the bounds and the differences, and all of them as one line of JSON."""
    if not torch.cuda.is_available():
        print("no GPU here: nothing is measured")
        return
    bundle = Bundle.load(STARTER)
    size = bundle.card.input.size
    squares = _films(max(BATCHES), size)
    found: dict[str, Any] = {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "size": size,
        "copy GB/s": _copy_rate() / 1e9,
    }
    convolved, plain, numbers = _work(bundle)
    found["multiply-adds"] = {"unfolded": plain, "folded": convolved}
    print(json.dumps(found))
    expected = TorchEngine(bundle, "cpu").run(squares[:32]).logits
    engine = TorchEngine(bundle, "cuda")
    difference = float(np.abs(engine.run(squares[:32]).logits - expected).max())
    alone = float(np.abs(engine.run(squares[:1]).logits - expected[:1]).max())
    print(f"largest logit difference to the CPU: {difference:.2g}, batch 1 {alone:.2g}")
    found |= {"difference": difference, "difference of batch 1": alone}
    found["engine"] = {
        batch: _rate(batch, partial(engine.run, squares[:batch])) for batch in BATCHES
    }
    _show("engine, from NumPy to NumPy", found["engine"])
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        found[name] = _precision(bundle, dtype, squares, expected, found["copy GB/s"], numbers)
        _show(f"network alone, {name}", found[name]["images/s"])
        print(
            "  " + json.dumps({key: found[name][key] for key in found[name] if key != "images/s"})
        )
    print(json.dumps(found))


def _precision(
    bundle: Bundle,
    dtype: torch.dtype,
    squares: NDArray[np.uint8],
    expected: NDArray[np.float64],
    copy_rate: float,
    numbers: tuple[int, int],
) -> dict[str, Any]:
    network = FoldedNetwork(bundle).to("cuda", dtype)
    images = torch.from_numpy(squares)[:, None].cuda()
    rates = {}
    with (
        torch.no_grad(),
        torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False),
    ):
        logits = network(images[:32])[0].double().cpu().numpy()
        difference = float(np.abs(logits - expected).max())
        for batch in BATCHES:
            rates[batch] = _rate(batch, partial(network, images[:batch]))
    product = _product_rate(dtype)
    folded, plain, _ = _work(bundle)
    moved, weights = (count * dtype.itemsize for count in numbers)
    best = max(rates, key=lambda batch: rates[batch])
    bounds = {
        "by arithmetic, folded": product / folded,
        "by arithmetic, unfolded": product / plain,
        "by memory, batch 1": copy_rate * 1e9 / (moved + weights),
        "by memory, best batch": copy_rate * 1e9 / (moved + weights / best),
    }
    roof = min(bounds["by arithmetic, folded"], bounds["by memory, best batch"])
    return {
        "images/s": rates,
        "logit difference": difference,
        "product multiply-adds/s": product,
        "bounds images/s": bounds,
        "best batch": best,
        "share of the roofline": rates[best] / roof,
    }


def _films(count: int, size: int) -> NDArray[np.uint8]:
    """Return drawn squares with soft structures, uint8 (count, size, size)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] / size
    films = []
    for _ in range(count):
        a, b, c = rng.uniform(2, 9, 3)
        films.append(128 + 60 * np.sin(a * x + b) * np.cos(c * y) + rng.normal(0, 8, (size, size)))
    return np.asarray(np.clip(films, 0, 255), dtype=np.uint8)


def _rate(batch: int, action: Callable[[], object]) -> float:
    """Return the median images per second of several measurements."""
    for _ in range(3):
        action()
    torch.cuda.synchronize()
    rates = []
    for _ in range(RUNS):
        started, done = time.perf_counter(), 0
        while time.perf_counter() - started < SECONDS / RUNS:
            action()
            done += batch
            if done % (8 * batch) == 0:
                torch.cuda.synchronize()
        torch.cuda.synchronize()
        rates.append(done / (time.perf_counter() - started))
    return statistics.median(rates)


def _product_rate(dtype: torch.dtype) -> float:
    """Return the multiply-adds per second of a matrix product without TF32."""
    a, b = (torch.rand(MATRIX, MATRIX, device="cuda").to(dtype) for _ in range(2))
    return MATRIX**3 * _rate(1, lambda: a @ b)


def _copy_rate() -> float:
    """Return the bytes per second that a copy reads and writes."""
    a: Tensor = torch.zeros(COPIED, dtype=torch.uint8, device="cuda")
    b = torch.empty_like(a)
    return 2 * COPIED * _rate(1, lambda: b.copy_(a))


def _work(bundle: Bundle) -> tuple[int, int, tuple[int, int]]:
    """Return the multiply-adds of an image, folded and unfolded, and the numbers that move.

    Moving numbers are those that each convolution reads and writes once, for an image, and the
    weights, for a batch.
    """
    folded = plain = moved = weights = 0
    for inputs, outputs, kernel, cells, channels, growth in _convolutions(bundle):
        work = inputs * outputs * kernel * cells
        folded += work
        plain += work * channels * growth
        moved += (inputs + outputs) * cells
        weights += inputs * outputs * kernel
    return folded, plain, (moved, weights)


def _convolutions(bundle: Bundle) -> Iterator[tuple[int, int, int, int, int, int]]:
    """Yield inputs, outputs, cells of the kernel and of the result, and the work unfolded.

    The last two are the factors that the unfolded network has by its channels and its order.
    """
    tensors = bundle.tensors()
    channels, side = bundle.card.input.channels, -(-bundle.card.input.size // 2)
    first = tensors["features.conv0.weight"].shape[0]
    yield 1, first, 49, side**2, channels, 1
    side = -(-side // 2)
    features = first
    for block, layers in enumerate(bundle.blocks, 1):
        for layer in range(1, layers + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            inner = tensors[f"{name}.conv1.weight"].shape[0]
            yield features, inner, 1, side**2, 1, 1
            yield inner, GROWTH_RATE, 9, side**2, 1, 1
            features += GROWTH_RATE
        if block < len(bundle.blocks):
            side //= 2
            yield features, features // 2, 1, side**2, 1, 4
            features //= 2
    yield features, len(bundle.card.labels), 1, side**2, 1, 1


def _show(name: str, rates: dict[int, float]) -> None:
    best = max(rates, key=lambda batch: rates[batch])
    shown = ", ".join(f"batch {batch}: {rate:,.0f}" for batch, rate in rates.items())
    print(f"{name}, images/s: {shown}; best at {best}", flush=True)


if __name__ == "__main__":
    run()
