"""A bundle, the model on disk: a folder with ``card.json`` and ``weights.safetensors``."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from cxr_model.errors import BundleError
from cxr_model.predict.card import Card, Weights
from cxr_model.predict.network import DENSENET_121, Blocks, DenseNet121

CARD_FILE = "card.json"
WEIGHTS_FILE = "weights.safetensors"

#: The model that comes with the package.
STARTER = Path(__file__).resolve().parents[1] / "starter"

_DTYPES = {"float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A network with its card. `sha256` is that of the card, which holds that of the weights."""

    network: DenseNet121
    card: Card
    sha256: str
    _weights: bytes

    @classmethod
    def build(cls, network: DenseNet121, card: Card, *, dtype: str = "float16") -> Self:
        """Join a network to its card and round the network in place to `dtype`.

        After rounding, the network in memory gives the same outputs as the one that is saved.
        Raises BundleError if card and network do not fit.
        """
        card.check()
        data = save_tensors(_stored(network, dtype))
        weights = Weights(WEIGHTS_FILE, hashlib.sha256(data).hexdigest(), dtype)
        complete = replace(card, weights=weights)
        _fill(network, _tensors(data), complete)
        return cls(network.eval(), complete, _digest(complete), data)

    @classmethod
    def load(cls, path: Path, *, blocks: Blocks = DENSENET_121) -> Self:
        """Read and verify the bundle in folder `path`; the network is float32, in eval mode.

        Raises BundleError if the folder or a file is missing, if the weights are not those of the
        card or not of `blocks`, and if the card has another format or label order.
        """
        if not path.is_dir():
            raise BundleError(f"no bundle at {path}: it is a folder with {CARD_FILE}")
        card_bytes = _read(path / CARD_FILE)
        try:
            card = Card.from_bytes(card_bytes)
            data = _verified_weights(path, card)
            tensors = _tensors(data)
            unused = _outputs(tensors) - len(card.labels)
            network = DenseNet121(card.input.channels, max(0, unused), blocks)
            _fill(network, tensors, card)
        except BundleError as error:
            raise BundleError(f"{path}: {error}") from error
        return cls(network.eval(), card, hashlib.sha256(card_bytes).hexdigest(), data)

    def save(self, path: Path) -> None:
        """Write the bundle to folder `path`: each file atomically, the card last."""
        path.mkdir(parents=True, exist_ok=True)
        write_atomically(path / WEIGHTS_FILE, self._weights)
        write_atomically(path / CARD_FILE, self.card.to_bytes())

    def with_card(self, card: Card) -> "Bundle":
        """Return the same weights with another card (new calibrators, thresholds or metrics)."""
        card.check()
        complete = replace(card, weights=self.card.weights)
        return Bundle(self.network, complete, _digest(complete), self._weights)


def round_weights(network: DenseNet121, dtype: str = "float16") -> None:
    """Round a network in place to the precision of a bundle of `dtype`."""
    network.load_state_dict(_stored(network, dtype))


def _stored(network: DenseNet121, dtype: str) -> dict[str, Tensor]:
    """Return the state dict for storage: kernels in `dtype`, vectors in float32.

    Vectors stay float32 because running variances of batch norm exceed the range of float16.
    """
    if dtype not in _DTYPES:
        raise BundleError(f"weights are stored as {' or '.join(_DTYPES)}, not {dtype!r}")
    state = network.state_dict()
    return {
        key: (value.to(_DTYPES[dtype]) if value.ndim > 1 else value).cpu().contiguous()
        for key, value in state.items()
    }


def write_atomically(path: Path, data: bytes) -> None:
    """Write to a temporary file beside `path`, fsync it, then rename it to `path`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _verified_weights(path: Path, card: Card) -> bytes:
    weights = card.weights
    if weights is None or Path(weights.file).name != weights.file:
        raise BundleError("the card does not name its weights file")
    data = _read(path / weights.file)
    found = hashlib.sha256(data).hexdigest()
    if found != weights.sha256:
        raise BundleError(
            f"{weights.file} is not the file this card was written for: sha256 is {found[:12]}…, "
            f"the card says {weights.sha256[:12]}…; fetch or train the bundle again"
        )
    return data


def _tensors(data: bytes) -> dict[str, Tensor]:
    try:
        return load_tensors(data)
    except SafetensorError as error:
        raise BundleError(f"the weights are not a DenseNet-121 of 14 labels: {error}") from error


def _outputs(tensors: Mapping[str, Tensor]) -> int:
    last = tensors.get("classifier.bias")
    return 0 if last is None else last.numel()


def _fill(network: DenseNet121, tensors: Mapping[str, Tensor], card: Card) -> None:
    if network.channels != card.input.channels:
        raise BundleError(
            f"the network takes {network.channels} channels, the card says {card.input.channels}"
        )
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise BundleError(f"the weights are not a DenseNet-121 of 14 labels: {reason}") from error
    if not all(bool(torch.isfinite(value).all()) for value in network.state_dict().values()):
        raise BundleError("the weights are not all finite numbers")


def _digest(card: Card) -> str:
    return hashlib.sha256(card.to_bytes()).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise BundleError(f"the bundle has no {path.name}: {path.parent} is incomplete") from error
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
