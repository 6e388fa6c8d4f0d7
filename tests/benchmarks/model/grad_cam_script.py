"""A plain script: torchvision's densenet121 with our weights, and pytorch-grad-cam.

It reads a film with pydicom, applies its window, runs Grad-CAM for each of the 14 findings, and
writes an overlay of the network's input for each finding at or above our threshold.

`python -m tests.benchmarks.model.grad_cam_script THREADS` prints `ready`, then answers each line of
JSON, {"films": [PATH, …], "out": FOLDER, "at_once": BOOL}, when it is done. `at_once` asks for one
call with 14 copies of the film in place of 14 calls.
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pydicom
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torchvision.models import densenet121

from cxr_model.findings import LABELS
from cxr_model.predict.bundle import STARTER, Bundle
from cxr_model.predict.card import Card
from cxr_model.predict.curves import calibrated_probabilities, calibrators_from_card


def main() -> None:
    try:
        from pytorch_grad_cam import GradCAM
    except ImportError:
        print("pytorch-grad-cam is not installed (pip install --no-deps grad-cam ttach)")
        return
    torch.set_num_threads(int(sys.argv[1]))
    card = Bundle.load(STARTER).card
    model = densenet121(num_classes=len(LABELS))
    weights = load_file(STARTER / "weights.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        weights[name] = weights[name][: len(LABELS)]
    model.load_state_dict(weights)
    model.float().eval()
    with GradCAM(model=model, target_layers=[model.features[-1]]) as cam:
        print("ready", flush=True)
        for line in sys.stdin:
            asked = json.loads(line)
            for film in map(Path, asked["films"]):
                _explain(cam, model, card, film, Path(asked["out"]), asked["at_once"])
            print("done", flush=True)


def _explain(
    cam: object,
    model: torch.nn.Module,
    card: Card,
    film: Path,
    out: Path,
    at_once: bool,
) -> None:
    from pytorch_grad_cam.utils.image import show_cam_on_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    grey = _square(film, card.input.size)
    mean, std = (
        torch.tensor(values, dtype=torch.float32).reshape(1, 3, 1, 1)
        for values in (card.input.mean, card.input.std)
    )
    image = (torch.from_numpy(grey)[None, None].repeat(1, 3, 1, 1) - mean) / std
    with torch.no_grad():
        logits = model(image).double().numpy()
    curves = calibrators_from_card(card.calibrators)
    probabilities = calibrated_probabilities(curves, card.labels, logits)[0]
    targets = [ClassifierOutputTarget(number) for number in range(len(LABELS))]
    assert callable(cam)
    if at_once:
        maps = cam(input_tensor=image.repeat(len(LABELS), 1, 1, 1), targets=targets)
    else:
        maps = [cam(input_tensor=image, targets=[target])[0] for target in targets]
    for label, probability, one in zip(LABELS, probabilities, maps, strict=True):
        if probability >= card.thresholds[label]:
            overlay = show_cam_on_image(np.dstack([grey] * 3), one)
            cv2.imwrite(str(out / f"{film.name}.{label}.png"), overlay)


def _square(path: Path, size: int) -> NDArray[np.float32]:
    """Return a film as the network's input, (size, size), 0 black and 1 white."""
    film = pydicom.dcmread(path)
    centre, width = float(film.WindowCenter), float(film.WindowWidth)
    values = film.pixel_array.astype(np.float32)
    shown = np.clip((values - centre + 0.5) / (width - 1) + 0.5, 0, 1)
    return np.asarray(cv2.resize(shown, (size, size), interpolation=cv2.INTER_AREA), np.float32)


if __name__ == "__main__":
    main()
