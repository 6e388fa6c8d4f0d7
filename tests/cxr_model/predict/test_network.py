"""The network is torchvision's DenseNet-121, and its maps are Grad-CAM."""

import pytest
import torch
from torchvision.models import densenet121

from cxr_model.findings import LABELS
from cxr_model.predict.network import DenseNet121, contributions
from tests.builders.made_models import NARROW, random_network


@pytest.fixture(scope="module")
def network() -> DenseNet121:
    torch.manual_seed(0)
    return DenseNet121().eval()


def test_the_state_dict_is_torchvisions(network: DenseNet121) -> None:
    reference = densenet121(weights=None, num_classes=14).state_dict()
    ours = network.state_dict()
    assert list(ours) == list(reference)
    assert all(ours[key].shape == reference[key].shape for key in reference)


def test_the_logits_are_torchvisions(network: DenseNet121) -> None:
    reference = densenet121(weights=None, num_classes=14).eval()
    reference.load_state_dict(network.state_dict())
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(network(images).logits, reference(images))


def test_features_are_rectified_and_one_cell_per_stride(network: DenseNet121) -> None:
    with torch.inference_mode():
        features = network(torch.randn(1, 3, 3 * 32, 2 * 32)).features
    assert features.shape == (1, 1024, 3, 2)
    assert features.min() >= 0


def test_contributions_add_up_to_the_logits(network: DenseNet121) -> None:
    with torch.inference_mode():
        output = network(torch.randn(2, 3, 96, 96))
        maps = contributions(output.features, network.classifier.weight)
    assert maps.shape == (2, 14, 3, 3)
    logits = maps.mean(dim=(2, 3)) + network.classifier.bias
    torch.testing.assert_close(logits, output.logits, atol=1e-5, rtol=1e-5)


def test_maps_are_grad_cam_for_every_label() -> None:
    network = random_network()
    x = torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        output = network(x)
    maps = contributions(output.features, network.classifier.weight).detach()
    assert maps.shape == (2, len(LABELS), 3, 2)
    features = output.features.clone().requires_grad_()
    logits = network.classifier(features.mean(dim=(2, 3)))
    for c in range(len(LABELS)):
        (gradient,) = torch.autograd.grad(logits[:, c].sum(), features, retain_graph=True)
        weights = gradient.mean(dim=(2, 3), keepdim=True)
        theirs = torch.relu((weights * features).sum(dim=1)).detach() * 6
        ours = torch.relu(maps[:, c])
        assert float((ours - theirs).abs().max()) <= 1e-4 * float(theirs.abs().max())


def test_gradients_reach_the_first_convolution() -> None:
    network = DenseNet121(channels=1, blocks=NARROW).train()
    network(torch.randn(2, 1, 32, 32)).logits.sum().backward()
    gradient = network.features.get_parameter("conv0.weight").grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_a_network_knows_its_input_channels() -> None:
    assert random_network(channels=1).channels == 1
    assert random_network().channels == 3
