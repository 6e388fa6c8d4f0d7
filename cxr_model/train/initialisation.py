"""First weights of a training: ImageNet's or random ones."""

from torch.hub import load_state_dict_from_url
from torchvision.models import DenseNet121_Weights

from cxr_model.errors import TrainingError
from cxr_model.files.weights import DENSENET_121, Blocks
from cxr_model.predict.network import DenseNet121
from cxr_model.train.config import Initialisation

_OLD_NAMES = {f".{kind}.{n}.": f".{kind}{n}." for kind in ("norm", "conv") for n in (1, 2)}


def imagenet_network() -> DenseNet121:
    """Return a DenseNet-121 with torchvision's ImageNet features and a new classifier.

    The weights are downloaded to torch's cache once. Raises TrainingError if that fails.
    """
    try:
        state = load_state_dict_from_url(DenseNet121_Weights.IMAGENET1K_V1.url, check_hash=True)
    except OSError as error:
        raise TrainingError(
            f"the ImageNet weights cannot be downloaded ({error}); start from scratch or a bundle"
        ) from error
    network = DenseNet121()
    new = network.state_dict()
    kept = {_new_key(k): v for k, v in state.items() if not k.startswith("classifier.")}
    # The classifier is new; old checkpoints lack the counters of batch norm.
    added = {
        k: v for k, v in new.items() if k.startswith("classifier.") or k.endswith("batches_tracked")
    }
    network.load_state_dict(added | kept, strict=True)
    return network


def initial_network(init: Initialisation, blocks: Blocks = DENSENET_121) -> DenseNet121:
    """Return an untrained network; `blocks` apply to random weights only."""
    if init is Initialisation.IMAGENET:
        return imagenet_network()
    return DenseNet121(blocks=blocks)


def _new_key(key: str) -> str:
    for old, new in _OLD_NAMES.items():
        key = key.replace(old, new)
    return key
