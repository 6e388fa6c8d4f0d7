"""Every engine gives the logits and maps that torch gives, layer by layer as it was trained."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cxr_model.engine.choice import open_engine
from cxr_model.engine.folded_network import FoldedNetwork
from cxr_model.engine.torch_engine import TorchEngine
from cxr_model.files.weights import DENSENET_121, tensor_shapes
from cxr_model.findings import LABELS
from cxr_model.predict.bundle import STARTER, Bundle
from cxr_model.predict.choices import EngineName
from cxr_model.predict.curves import calibrated_probabilities, calibrators_from_card
from cxr_model.predict.network import DenseNet121, contributions
from cxr_model.predict.predictor import Outputs
from cxr_model.predict.transform import InputSpec, network_input
from tests.builders.images.films import chest_values
from tests.builders.made_models import NARROW, as_channels, made_card, random_network

TOLERANCE = 1e-4
ENGINES = (EngineName.ONNX_RUNTIME, EngineName.OPENVINO, EngineName.TORCH)
QUICK = EngineName.ONNX_RUNTIME
OTHERS = [
    pytest.param(engine, marks=pytest.mark.slow)
    for engine in (EngineName.OPENVINO, EngineName.TORCH, "folded")
]
"""Engines whose tests run in `make test-full`; "folded" is the network of a GPU, on the CPU."""


def as_trained(bundle: Bundle, squares: NDArray[np.uint8]) -> Outputs:
    """Return what the torch network gives for the normalised channels, film by film."""
    network = bundle.network()
    with torch.inference_mode():
        found = [network(as_channels(square, bundle.card.input)[None]) for square in squares]
        maps = [contributions(one.features, network.label_weight).numpy() for one in found]
    logits = np.concatenate([one.logits.numpy() for one in found])
    return Outputs(logits.astype(np.float64), np.concatenate(maps))


def assert_same(bundle: Bundle, found: Outputs, expected: Outputs) -> float:
    """Compare logits, maps and Present or Absent; return the largest difference of a logit."""
    np.testing.assert_allclose(found.logits, expected.logits, rtol=0, atol=TOLERANCE)
    scale = max(1.0, float(np.abs(expected.maps).max()))
    np.testing.assert_allclose(found.maps, expected.maps, rtol=0, atol=TOLERANCE * scale)
    card = bundle.card
    curves = calibrators_from_card(card.calibrators)
    thresholds = np.asarray([card.thresholds[label] for label in LABELS])
    present, wanted = (
        calibrated_probabilities(curves, LABELS, one.logits) >= thresholds
        for one in (found, expected)
    )
    np.testing.assert_array_equal(present, wanted)
    return float(np.abs(found.logits - expected.logits).max())


def squares_of(size: int, count: int = 5) -> NDArray[np.uint8]:
    """Return drawn squares: noise, soft shapes, black and white."""
    rng = np.random.default_rng(size)
    drawn = rng.integers(0, 256, (count, size, size), dtype=np.uint8)
    drawn[1] = cv2.GaussianBlur(drawn[1], (0, 0), 3)
    drawn[2], drawn[3] = 0, 255
    return drawn


def run_of(bundle: Bundle, engine: str) -> Callable[[NDArray[np.uint8]], Outputs]:
    """Return the run of an engine on the CPU."""
    skip_without(engine)
    if engine != "folded":
        return open_engine(bundle, engine=engine, device="cpu", threads=2).run
    folded = FoldedNetwork(bundle)

    def run(squares: NDArray[np.uint8]) -> Outputs:
        with torch.inference_mode():
            logits, maps = folded(torch.from_numpy(squares)[:, None])
        return Outputs(logits.double().numpy(), maps.numpy())

    return run


def skip_without(engine: str) -> None:
    if engine == EngineName.OPENVINO:
        pytest.importorskip("openvino", reason="OpenVINO is not installed")


@pytest.mark.slow
@pytest.mark.parametrize("engine", [QUICK, *OTHERS])
def test_the_starter_gives_the_same_on_drawn_films(engine: str) -> None:
    skip_without(engine)
    bundle = Bundle.load(STARTER)
    films = [chest_values(300, 240) >> 4, chest_values(200, 230) >> 4]
    squares = np.stack(
        [network_input(film.astype(np.uint8), bundle.card.input).square for film in films]
    )
    found = run_of(bundle, engine)(squares)
    assert_same(bundle, found, as_trained(bundle, squares))
    sums = found.maps.mean(axis=(2, 3)) + bundle.label_bias
    np.testing.assert_allclose(sums, found.logits, atol=1e-5)


INPUTS = [
    InputSpec(64),
    InputSpec(95),
    InputSpec(33, mean=(0.5,), std=(1 / 2048,)),
    InputSpec(70, mean=(0.1, 0.5, 0.9), std=(0.2, 1.5, 0.5)),
]


@pytest.mark.parametrize("spec", INPUTS, ids=lambda spec: f"{spec.channels}x{spec.size}")
@pytest.mark.parametrize("engine", [QUICK, *OTHERS])
def test_every_input_is_folded(engine: str, spec: InputSpec) -> None:
    skip_without(engine)
    network = statistics_of(random_network(spec.channels, blocks=(1, 2, 1, 1)))
    # A network trained on inputs of any scale has weights that fit it.
    network.features.get_parameter("conv0.weight").data *= min(spec.std)
    bundle = Bundle.build(network, made_card(input=spec), dtype="float32")
    squares = squares_of(spec.size)
    found = run_of(bundle, engine)(squares)
    assert_same(bundle, found, as_trained(bundle, squares))
    assert np.ptp(found.logits, axis=0).max() > 1e-2


def statistics_of(network: DenseNet121) -> DenseNet121:
    """Give every batch norm statistics that differ from 0 and 1, as those of a training do."""
    rng = torch.Generator().manual_seed(1)
    for name, values in network.state_dict().items():
        if name.endswith(("running_mean", "norm0.bias", "norm1.bias", "norm2.bias")):
            values.copy_(torch.randn(values.shape, generator=rng) * 0.3)
        elif name.endswith("running_var"):
            values.copy_(torch.rand(values.shape, generator=rng) * 2 + 0.2)
    return network


def test_further_outputs_of_a_classifier_are_left_out() -> None:
    torch.manual_seed(3)
    network = DenseNet121(1, unused=4, blocks=NARROW).eval()
    bundle = Bundle.build(network, made_card(input=InputSpec(64, (0.5,), (0.25,))))
    squares = squares_of(64)
    found = open_engine(bundle, engine="onnxruntime", device="cpu").run(squares)
    assert found.logits.shape == (5, 14)
    assert_same(bundle, found, as_trained(bundle, squares))


@pytest.mark.parametrize(
    ("engine", "threads"),
    [
        (QUICK, 2),
        pytest.param(QUICK, 1, marks=pytest.mark.slow),
        pytest.param(QUICK, 3, marks=pytest.mark.slow),
        pytest.param(EngineName.OPENVINO, 2, marks=pytest.mark.slow),
        pytest.param(EngineName.OPENVINO, 3, marks=pytest.mark.slow),
    ],
)
def test_a_batch_gives_the_films_results_in_order(engine: EngineName, threads: int) -> None:
    skip_without(engine)
    bundle = Bundle.build(random_network(), made_card())
    opened = open_engine(bundle, engine=engine, threads=threads)
    squares = squares_of(64, 8)
    expected = as_trained(bundle, squares)
    for count in (1, 2, 3, 8):
        found = opened.run(squares[:count])
        assert found.logits.shape == (count, 14)
        assert_same(bundle, found, Outputs(expected.logits[:count], expected.maps[:count]))


@pytest.mark.parametrize("engine", [QUICK, *OTHERS[:2]])
def test_several_threads_may_run_an_engine(engine: str) -> None:
    skip_without(engine)
    bundle = Bundle.build(random_network(), made_card())
    opened = open_engine(bundle, engine=engine, device="cpu", threads=2)
    squares = squares_of(64, 6)
    expected = as_trained(bundle, squares)
    found: dict[int, Outputs] = {}

    def run(first: int) -> None:
        found[first] = opened.run(squares[first : first + 3])

    callers = [Thread(target=run, args=(first,)) for first in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for first, outputs in found.items():
        part = slice(first, first + 3)
        assert_same(bundle, outputs, Outputs(expected.logits[part], expected.maps[part]))
    assert len(found) == 4


@pytest.mark.slow
def test_results_stay_when_the_engine_runs_again() -> None:
    bundle = Bundle.build(random_network(), made_card())
    for engine in ENGINES:
        skip_without(engine)
        opened = open_engine(bundle, engine=engine, device="cpu", threads=1)
        squares = squares_of(64)
        first = opened.run(squares[:1])
        kept = Outputs(first.logits.copy(), first.maps.copy())
        opened.run(squares[1:2])
        np.testing.assert_array_equal(first.logits, kept.logits)
        np.testing.assert_array_equal(first.maps, kept.maps)


def test_the_expected_tensors_are_those_of_torchvision() -> None:
    state = DenseNet121(3, unused=4).state_dict()
    assert dict(tensor_shapes(3, 18, DENSENET_121)) == {
        name: tuple(tensor.shape) for name, tensor in state.items()
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_real_films_give_the_same(real_data: Path) -> None:
    bundle = Bundle.load(STARTER)
    paths = [
        path
        for folder in ("nih/images256", "nih/full", "frontal_external", "paediatric")
        for path in sorted((real_data / folder).rglob("*.[pj]*g"))
    ]
    # Every 48th film: all of them take half an hour.
    paths = paths[::48]
    assert len(paths) > 100
    names = [EngineName.ONNX_RUNTIME, "folded"]
    if find_spec("openvino"):
        names.append(EngineName.OPENVINO)
    runs, expected = {name: run_of(bundle, name) for name in names}, TorchEngine(bundle)
    worst = dict.fromkeys(names, 0.0)
    for start in range(0, len(paths), 32):
        squares = read_squares(bundle, paths[start : start + 32])
        wanted = expected.run(squares)
        for name, run in runs.items():
            worst[name] = max(worst[name], assert_same(bundle, run(squares), wanted))
    print(f"{len(paths)} films, largest logit difference {worst}")


def read_squares(bundle: Bundle, paths: Sequence[Path]) -> NDArray[np.uint8]:
    squares = []
    for path in paths:
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        squares.append(network_input(np.asarray(image, np.uint8), bundle.card.input).square)
    return np.stack(squares)
