"""Training: the whole loop from PNG to averaged weights, against a matrix product, projected."""

import datetime
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch

from cxr_model.predict.choices import Device
from cxr_model.train.config import Precision, TrainingConfig
from cxr_model.train.training import train
from tests.benchmarks.model.engine_worker import MATRIX
from tests.benchmarks.timing import in_turn, seconds

FILMS, SIDE, SIZE, RUNS = 120, 1024, 224, 3
CHESTXRAY14_FILMS, EPOCHS = 112_120, 10
DENSENET121_MULTIPLY_ADDS_AT_224 = 2.834e9
# Forward, and backward to inputs and to weights.
PASSES = 3


def run() -> None:
    """Print films per second, the share of the matrix-product rate, and the time for NIH's set."""
    with tempfile.TemporaryDirectory() as folder:
        _films(Path(folder))
        sides = {
            "float32": lambda: _films_per_second(Path(folder), Device.CPU, Precision.FLOAT32),
            "bfloat16": lambda: _films_per_second(Path(folder), Device.CPU, Precision.BFLOAT16),
            "product float32": lambda: _product_rate("cpu", torch.float32),
            "product bfloat16": lambda: _product_rate("cpu", torch.bfloat16),
        }
        if torch.cuda.is_available():
            sides["cuda"] = lambda: _films_per_second(Path(folder), Device.CUDA, Precision.AUTO)
            sides["product cuda"] = lambda: _product_rate("cuda", torch.float16)
        values = {name: float(np.median(series)) for name, series in in_turn(RUNS, **sides).items()}
    print(
        f"{FILMS} PNG films of {SIDE} x {SIDE} at input {SIZE}, {torch.get_num_threads()} threads"
    )
    for name in [name for name in values if f"product {name}" in values]:
        _show(name, values[name], values[f"product {name}"])
    if "cuda" not in values:
        print("cuda         not measured: no GPU here")


def _show(name: str, films: float, product: float) -> None:
    work = PASSES * 2 * DENSENET121_MULTIPLY_ADDS_AT_224 * (SIZE / 224) ** 2
    hours = CHESTXRAY14_FILMS * EPOCHS / films / 3600
    print(
        f"{name:<12} {films:8.1f} films/s, {films * work / product:.0%} of the matrix product's "
        f"{product / 1e9:.0f} GFLOP/s; {CHESTXRAY14_FILMS} films x {EPOCHS} epochs: {hours:.1f} h"
    )


def _films(folder: Path) -> None:
    rng = np.random.default_rng(0)
    rows = ["file,patient_id,labels"]
    for number in range(FILMS):
        coarse = rng.integers(0, 255, (64, 64), dtype=np.uint8)
        film = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number}.png"), film)
        rows.append(f"{number}.png,{number // 2},{'Effusion' if number % 4 == 0 else ''}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")


def _films_per_second(folder: Path, device: Device, precision: Precision) -> float:
    with tempfile.TemporaryDirectory() as out:
        config = TrainingConfig(
            images=folder,
            labels=folder / "labels.csv",
            out=Path(out) / "bundle",
            size=SIZE,
            epochs=1,
            batch_size=16,
            validation_fraction=0.1,
            held_out_fraction=0.1,
            mixup=0.2,
            device=device,
            precision=precision,
            workers=1,
        )
        bundle = train(config, now=lambda: datetime.datetime.now(datetime.UTC), progress=False)
    (stage,) = bundle.card.provenance["stages"]
    return float(stage["log"][0]["images_per_second"])


def _product_rate(device: str, dtype: torch.dtype) -> float:
    a = torch.rand(MATRIX, MATRIX, device=device).to(dtype)

    def product() -> None:
        (a @ a)[0, 0].item()

    return 2 * MATRIX**3 / seconds(product)
