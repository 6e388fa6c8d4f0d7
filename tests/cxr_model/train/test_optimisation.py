"""Learning rate, loss, mixup, weight decay and weight average of the training loop."""

import itertools
import math
from pathlib import Path

import pytest
import torch

from cxr_model.data.films import NO_CLASS, Batch, Film
from cxr_model.errors import TrainingError
from cxr_model.train.optimisation import (
    Average,
    Mix,
    SoftScale,
    batch_loss,
    draw_mix,
    learning_rate_at,
    make_optimiser,
    mixed_loss,
    positive_weights,
    soft_logit_loss,
    start_at_prevalence,
)
from tests.builders.made_models import random_network

FILMS = [Film(Path("x"), (1.0,) + (0.0,) * 13)] * 4 + [Film(Path("x"), (0.0,) * 14)] * 14

NO_SOFT = torch.full((2, 14), math.nan)


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    rates = [learning_rate_at(step, 100, 1.0, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert all(rate > later for rate, later in itertools.pairwise(rates[10:]))
    assert rates[-1] < 1e-3


def test_an_untrained_network_predicts_the_prevalence() -> None:
    network = random_network()
    start_at_prevalence(network, FILMS, balance=0.0)
    probabilities = torch.sigmoid(network.classifier.bias.detach())
    assert float(probabilities[0]) == pytest.approx(5 / 20)
    assert float(probabilities[13]) == pytest.approx(1 / 20)


def test_balance_weights_the_rare() -> None:
    assert torch.equal(positive_weights(FILMS, 0.0), torch.ones(14))
    weights = positive_weights(FILMS, 1.0)
    assert float(weights[0]) == pytest.approx(3.0)
    assert float(weights[13]) == pytest.approx(19.0)


def test_the_loss_ignores_labels_of_films_that_have_none() -> None:
    targets = torch.tensor([[1.0] * 14, [1.0] * 14])
    batch = Batch(
        torch.zeros(2, 3, 32, 32),
        targets,
        torch.tensor([True, False]),
        torch.tensor([NO_CLASS, 1]),
        NO_SOFT,
    )
    logits = torch.tensor([[0.0] * 14, [-9.0] * 14])
    alone = batch_loss((logits, None), batch, torch.ones(14), 1.0)
    assert float(alone) == pytest.approx(math.log(2))
    classes = torch.tensor([[9.0, -9.0], [0.0, 0.0]])
    both = batch_loss((logits, classes), batch, torch.ones(14), 0.5)
    assert float(both) == pytest.approx(1.5 * math.log(2))


def test_a_batch_without_labels_has_no_label_loss() -> None:
    batch = Batch(
        torch.zeros(1, 3, 32, 32),
        torch.zeros(1, 14),
        torch.tensor([False]),
        torch.tensor([0]),
        NO_SOFT[:1],
    )
    outputs = (torch.full((1, 14), 5.0), torch.tensor([[20.0, -20.0]]))
    assert float(batch_loss(outputs, batch, torch.ones(14), 1.0)) == pytest.approx(0.0, abs=1e-6)


def test_blended_films_share_the_loss_of_both() -> None:
    batch = Batch(
        torch.stack([torch.zeros(3, 4, 4), torch.ones(3, 4, 4)]),
        torch.tensor([[0.0] * 14, [1.0] * 14]),
        torch.tensor([True, True]),
        torch.tensor([NO_CLASS, NO_CLASS]),
        NO_SOFT,
    )
    mix = Mix(0.25, torch.tensor([1, 0]))
    assert torch.equal(mix.images(batch.images)[:, 0, 0, 0], torch.tensor([0.75, 0.25]))
    logits = torch.tensor([[2.0] * 14, [-1.0] * 14])
    expected = [
        0.25 * math.log1p(math.exp(2.0)) + 0.75 * math.log1p(math.exp(-2.0)),
        0.25 * math.log1p(math.exp(1.0)) + 0.75 * math.log1p(math.exp(-1.0)),
    ]
    loss = mixed_loss((logits, None), batch, mix, torch.ones(14), 1.0)
    assert float(loss) == pytest.approx(sum(expected) / 2, rel=1e-6)


def test_soft_logits_are_matched_on_the_scale_of_each_label() -> None:
    soft = torch.tensor([[-6.0] * 14, [-4.0] * 14])
    films = [Film(Path("x"), (0.0,) * 14, soft=tuple(row)) for row in soft.tolist()]
    scale = SoftScale.of([*films, Film(Path("x"), (0.0,) * 14)])
    assert float(scale.mean[0]) == pytest.approx(-5.0)
    assert float(scale.std[0]) == pytest.approx(math.sqrt(2))
    assert float(soft_logit_loss(soft, soft, scale)) == 0.0
    off = soft_logit_loss(soft + math.sqrt(2), soft, scale)
    assert float(off) == pytest.approx(0.5)
    logits = torch.cat([soft, torch.zeros(1, 14)])
    with_unknown = torch.cat([soft - math.sqrt(2), torch.full((1, 14), math.nan)])
    assert float(soft_logit_loss(logits, with_unknown, scale)) == pytest.approx(0.5)


def test_films_without_soft_targets_have_no_soft_loss() -> None:
    scale = SoftScale(torch.zeros(14), torch.ones(14))
    logits = torch.ones(2, 14, requires_grad=True)
    loss = soft_logit_loss(logits, NO_SOFT, scale)
    torch.autograd.backward(loss)
    assert float(loss.detach()) == 0.0
    assert logits.grad is not None
    assert float(logits.grad.abs().max()) == 0.0


def test_soft_targets_of_other_films_are_refused() -> None:
    with pytest.raises(TrainingError, match="fewer than two of the training films"):
        SoftScale.of(FILMS)


def test_a_mix_follows_from_its_seed() -> None:
    first, again, other = (draw_mix(8, 0.4, (1, step)) for step in (3, 3, 4))
    assert first.share == again.share != other.share
    assert torch.equal(first.partners, again.partners)
    assert sorted(first.partners.tolist()) == list(range(8))
    assert 0 <= first.share <= 1


def test_only_kernels_decay() -> None:
    network = random_network()
    kernels, vectors = make_optimiser(network, 1e-3, 0.05).param_groups
    assert (kernels["weight_decay"], vectors["weight_decay"]) == (0.05, 0.0)
    assert all(parameter.ndim > 1 for parameter in kernels["params"])
    assert len(kernels["params"]) + len(vectors["params"]) == len(list(network.parameters()))


def test_the_average_follows_the_network() -> None:
    network = random_network()
    average = Average(network, 0.9)
    start = network.classifier.bias.detach().clone()
    with torch.no_grad():
        network.classifier.bias.add_(1.0)
    average.update(network, step=1000)
    torch.testing.assert_close(average.state["classifier.bias"], start + 0.1)
    average.update(network, step=1)
    moved = 0.1 + (1 - 2 / 11) * 0.9
    torch.testing.assert_close(average.state["classifier.bias"], start + moved)
