"""The weights a training starts from: ImageNet's, another bundle's, or none."""

from torch.hub import load_state_dict_from_url
from torchvision.models import DenseNet121_Weights

from cxr_model.errors import TrainingError
from cxr_model.predict.network import DenseNet121
from cxr_model.train.config import Initialisation

_OLD_NAMES = {f".{kind}.{n}.": f".{kind}{n}." for kind in ("norm", "conv") for n in (1, 2)}


def imagenet_network() -> DenseNet121:
    """DenseNet-121 with torchvision's ImageNet features and a fresh classifier.

    The weights are downloaded into torch's cache the first time. Raises TrainingError offline.
    """
    try:
        state = load_state_dict_from_url(DenseNet121_Weights.IMAGENET1K_V1.url, check_hash=True)
    except OSError as error:
        raise TrainingError(
            f"the ImageNet weights cannot be downloaded ({error}); start from scratch or a bundle"
        ) from error
    network = DenseNet121()
    fresh = {k: v for k, v in network.state_dict().items() if k.startswith("classifier.")}
    kept = {_new_key(k): v for k, v in state.items() if not k.startswith("classifier.")}
    # Checkpoints from before batch norm counted its batches lack the counters.
    counters = {k: v for k, v in network.state_dict().items() if k.endswith("num_batches_tracked")}
    network.load_state_dict(counters | kept | fresh, strict=True)
    return network


def initial_network(init: Initialisation) -> DenseNet121:
    """A network that has not seen a film yet."""
    return imagenet_network() if init is Initialisation.IMAGENET else DenseNet121()


def _new_key(key: str) -> str:
    for old, new in _OLD_NAMES.items():
        key = key.replace(old, new)
    return key
