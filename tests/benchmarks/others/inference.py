"""Inference: the predictor with all 14 maps, against the bare network and a matrix product."""

import numpy as np
import torch

from cxr_model.engine.choice import open_predictor
from cxr_model.predict.bundle import STARTER, Bundle
from cxr_model.predict.network import DenseNet121
from tests.benchmarks.timing import in_turn, seconds, show

RUNS = 15
DENSENET121_MULTIPLY_ADDS_AT_224 = 2.834e9
MATRIX = 2048


def run() -> None:
    """Print milliseconds per film at batch 1, and the share of the matrix-product rate."""
    bundle = Bundle.load(STARTER)
    size = bundle.card.input.size
    bare = DenseNet121(channels=bundle.card.input.channels).eval()
    square = torch.zeros(1, bundle.card.input.channels, size, size)
    predictor = open_predictor(bundle)
    image = np.tile(np.linspace(0, 255, 1024, dtype=np.uint8), (1024, 1))
    a = torch.rand(MATRIX, MATRIX)

    def forward() -> float:
        with torch.inference_mode():
            return 1e3 * seconds(lambda: bare(square))

    def product() -> float:
        return 1e3 * seconds(lambda: a @ a)

    values = in_turn(
        RUNS,
        network=forward,
        predictor=lambda: 1e3 * seconds(lambda: predictor.predict([image])),
        product=product,
    )
    print(f"one 1024 x 1024 film at input {size}, {torch.get_num_threads()} threads")
    show(values, "ms", baseline="network")
    rate = 2 * MATRIX**3 / (np.median(values["product"]) / 1e3)
    work = 2 * DENSENET121_MULTIPLY_ADDS_AT_224 * (size / 224) ** 2
    reached = work / (np.median(values["predictor"]) / 1e3)
    print(f"matrix product {rate / 1e9:.0f} GFLOP/s; predictor at {reached / rate:.0%} of it")
