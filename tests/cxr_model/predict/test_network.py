import pytest
import torch
from torchvision.models import densenet121

from cxr_model.predict.network import DenseNet121, contributions


@pytest.fixture(scope="module")
def network() -> DenseNet121:
    torch.manual_seed(0)
    return DenseNet121().eval()


def test_state_dict_is_torchvisions(network: DenseNet121) -> None:
    reference = densenet121(weights=None, num_classes=14).state_dict()
    ours = network.state_dict()
    assert list(ours) == list(reference)
    assert all(ours[key].shape == reference[key].shape for key in reference)


def test_logits_are_torchvisions(network: DenseNet121) -> None:
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


def test_gradients_reach_the_first_convolution() -> None:
    network = DenseNet121(channels=1).train()
    network(torch.randn(2, 1, 32, 32)).logits.sum().backward()
    gradient = network.features.get_parameter("conv0.weight").grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_one_channel_network_says_so() -> None:
    assert DenseNet121(channels=1).channels == 1
    assert DenseNet121().channels == 3
