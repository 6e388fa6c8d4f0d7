"""Teachers give their own probabilities for a student of any input size and scale."""

import numpy as np
import pytest
import torch

from cxr_model.predict.bundle import Bundle
from cxr_model.predict.transform import IMAGENET_MEAN, IMAGENET_STD, InputSpec
from cxr_model.train.optimisation import Teachers
from tests.builders.made_models import as_channels, random_bundle

CPU = torch.device("cpu")


def own_probabilities(bundle: Bundle, square: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        logits = bundle.network()(as_channels(square, bundle.card.input)[None]).logits
    return torch.sigmoid(logits)


def test_the_mean_of_two_teachers() -> None:
    one, other = random_bundle(seed=1), random_bundle(seed=2)
    spec = one.card.input
    square = np.random.default_rng(0).integers(0, 255, (spec.size, spec.size), dtype=np.uint8)
    teachers = Teachers([one, other], spec, CPU)
    expected = (own_probabilities(one, square) + own_probabilities(other, square)) / 2
    torch.testing.assert_close(teachers.probabilities(as_channels(square, spec)[None]), expected)


def test_a_teacher_gets_its_own_scale() -> None:
    teacher = random_bundle(seed=1)
    spec = teacher.card.input
    square = np.random.default_rng(0).integers(0, 255, (spec.size, spec.size), dtype=np.uint8)
    student = InputSpec(spec.size, mean=(0.5,), std=(1 / 2048,))
    taught = Teachers([teacher], student, CPU).probabilities(as_channels(square, student)[None])
    torch.testing.assert_close(taught, own_probabilities(teacher, square), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("factor", [0.5, 2])
def test_a_teacher_gets_its_own_size(factor: float) -> None:
    teacher = random_bundle(seed=1)
    size = round(teacher.card.input.size * factor)
    student = InputSpec(size, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    flat = np.full((size, size), 90, dtype=np.uint8)
    taught = Teachers([teacher], student, CPU).probabilities(as_channels(flat, student)[None])
    same = np.full((teacher.card.input.size,) * 2, 90, dtype=np.uint8)
    torch.testing.assert_close(taught, own_probabilities(teacher, same), rtol=1e-3, atol=1e-4)
