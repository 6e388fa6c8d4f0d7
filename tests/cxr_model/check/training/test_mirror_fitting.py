"""A fitted mirror network gives in NumPy what it gave in torch, and learns which side is which."""

import numpy as np
import torch
from numpy.typing import NDArray

from cxr_model.check.description import SIDE
from cxr_model.check.training.mirror_fitting import MirrorSettings, fit_mirror

SMALL = MirrorSettings(channels=(4, 8, 8, 8, 8, 8, 8), reduced=4, passes=12, batch=16, dropped=0.0)


def films(number: int, seed: int) -> NDArray[np.float32]:
    """Return dark pictures with a bright square at the right, shape (number, 1, SIDE, SIDE)."""
    rng = np.random.default_rng(seed)
    shown = rng.uniform(-1.0, 0.0, (number, 1, SIDE, SIDE)).astype(np.float32)
    for film in shown:
        row, column = rng.integers(30, 50), rng.integers(60, 70)
        film[0, row : row + 16, column : column + 16] = 1.0
    return shown


def test_the_side_is_learnt() -> None:
    torch.set_num_threads(1)
    network = fit_mirror(films(32, 0), np.ones(32, dtype=np.float32), 0, SMALL)
    unseen = films(8, 1)[:, 0]
    assert all(network.score(film) < 0.0 < network.score(film[:, ::-1]) for film in unseen)
    again = fit_mirror(films(32, 0), np.ones(32, dtype=np.float32), 0, SMALL)
    assert again.score(unseen[0]) == network.score(unseen[0])
