"""The mirror network in NumPy: odd under mirroring, read back as written, checked when read."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from cxr_model.check.description import SIDE
from cxr_model.check.mirror_network import GRID, LAYERS, MirrorNetwork
from cxr_model.errors import BundleError

CHANNELS = (1, 3, 4, 4, 5, 5, 6, 6)


@pytest.fixture
def network() -> MirrorNetwork:
    rng = np.random.default_rng(0)

    def kernel(*shape: int) -> NDArray[np.float32]:
        values = rng.normal(0.0, 0.4, shape)
        return values.astype(np.float16).astype(np.float32)

    pairs = list(itertools.pairwise(CHANNELS))
    return MirrorNetwork(
        (*(kernel(9 * inputs, outputs) for inputs, outputs in pairs), kernel(CHANNELS[-1], 2)),
        (*(kernel(outputs) for _, outputs in pairs), kernel(2)),
        kernel(GRID * GRID * 2),
    )


@pytest.fixture
def grey() -> NDArray[np.float32]:
    return np.random.default_rng(1).uniform(-1, 1, (SIDE, SIDE)).astype(np.float32)


def test_the_mirror_image_has_the_opposite_score(
    network: MirrorNetwork, grey: NDArray[np.float32]
) -> None:
    score = network.score(grey)
    assert abs(score) > 0.01
    assert network.score(np.fliplr(grey)) == pytest.approx(-score, rel=1e-4)
    symmetric = np.asarray((grey + np.fliplr(grey)) / 2, dtype=np.float32)
    assert network.score(symmetric) == pytest.approx(0.0, abs=1e-4)


def test_stored_weights_give_the_same_score(
    network: MirrorNetwork, grey: NDArray[np.float32]
) -> None:
    again = MirrorNetwork.from_tensors(network.to_tensors())
    assert again.score(grey) == network.score(grey)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("final", np.zeros(7, dtype=np.float16), "no mirror.final of shape"),
        ("first.bias", np.zeros((3, 3), dtype=np.float32), "no mirror.first.bias"),
        ("first.bias", np.zeros(5000, dtype=np.float32), "no mirror.first.bias"),
        ("last.kernel", np.zeros((6, 2), dtype=np.int32), "no mirror.last.kernel"),
        ("second.kernel", np.full((27, 4), np.nan), "second.kernel are not all finite"),
        ("third_more.bias", np.zeros(6, dtype=np.float32), "third_more.kernel of shape"),
    ],
)
def test_odd_weights_are_refused(
    network: MirrorNetwork, name: str, value: NDArray[np.generic], reason: str
) -> None:
    tensors = network.to_tensors() | {f"mirror.{name}": value}
    with pytest.raises(BundleError, match=reason):
        MirrorNetwork.from_tensors(tensors)


def test_a_layer_that_adds_its_input_keeps_the_channels(network: MirrorNetwork) -> None:
    tensors = network.to_tensors()
    tensors["mirror.fourth_more.bias"] = np.zeros(7, dtype=np.float32)
    tensors["mirror.fourth_more.kernel"] = np.zeros((54, 7), dtype=np.float32)
    with pytest.raises(BundleError, match="7 channels instead of 6"):
        MirrorNetwork.from_tensors(tensors)


def test_every_layer_has_its_channels() -> None:
    assert len(CHANNELS) == len(LAYERS) + 1
