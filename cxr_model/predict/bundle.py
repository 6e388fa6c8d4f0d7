"""A bundle, the model on disk: a folder with ``card.json`` and ``weights.safetensors``."""

import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from cxr_model.errors import BundleError
from cxr_model.files.regular_file import MB, read_inside
from cxr_model.files.tensor_file import check_header
from cxr_model.predict.card import Card, Weights
from cxr_model.predict.network import DENSENET_121, Blocks, DenseNet121
from cxr_model.predict.transform import InputSpec, preprocess
from cxr_model.reference_film import REFERENCE_FILM, reference_film

CARD_FILE = "card.json"
WEIGHTS_FILE = "weights.safetensors"

LARGEST_CARD = 4 * MB
#: DenseNet-121 has 28 MB in float32.
LARGEST_WEIGHTS = 64 * MB

# Outputs of a classifier: published ones have 14 or 18, ImageNet's 1,000.
_MOST_OUTPUTS = 1_000

#: Largest difference of a logit for the reference film. Processors and versions of libraries
#: differ by about 1e-4, a GPU that rounds to TF32 by about 1e-2; another network by about 1.
REFERENCE_TOLERANCE = 0.02
_RELATIVE_TOLERANCE = 1e-3

#: The model that comes with the package.
STARTER = Path(__file__).resolve().parents[1] / "starter"

_DTYPES = {"float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A network with its card. `sha256` is that of the card's bytes, which hold the weights' own.

    The bytes are kept as they were read, so that a saved copy has the same `sha256`.
    """

    network: DenseNet121
    card: Card
    sha256: str
    _card: bytes
    _weights: bytes

    @classmethod
    def build(cls, network: DenseNet121, card: Card, *, dtype: str = "float16") -> Self:
        """Join a network on the CPU to its card and round the network in place to `dtype`.

        After rounding, the network in memory gives the same outputs as the one that is saved. Its
        outputs for the reference film are recorded in the card. Raises BundleError if card and
        network do not fit, or if an output is not a finite number.
        """
        card.check()
        data = save_tensors(_stored(network, dtype))
        weights = Weights(WEIGHTS_FILE, hashlib.sha256(data).hexdigest(), dtype)
        _fill(network, _tensors(data), card)
        return cls._joined(network, replace(card, weights=weights, reference={}), data)

    @classmethod
    def load(cls, path: Path, *, blocks: Blocks = DENSENET_121) -> Self:
        """Read and verify the bundle in folder `path`; the network is float32, in eval mode.

        Raises BundleError, in one line, if the folder or a file is missing, too large, not a
        regular file or a link out of the folder, if the weights are not those of the card or not
        of `blocks`, and for a card with another format or a value out of its range. The network
        is not run: `Predictor.check_reference` runs it.
        """
        if not path.is_dir():
            raise BundleError(f"no bundle at {path}: it is a folder with {CARD_FILE}")
        card_bytes = read_inside(path, CARD_FILE, LARGEST_CARD, BundleError)
        try:
            card = Card.from_bytes(card_bytes)
            data = _verified_weights(path, card)
            check_header(data)
            tensors = _tensors(data)
            unused = _outputs(tensors) - len(card.labels)
            network = DenseNet121(card.input.channels, max(0, unused), blocks)
            _fill(network, tensors, card)
        except BundleError as error:
            raise BundleError(f"{path}: {error}") from error
        sha256 = hashlib.sha256(card_bytes).hexdigest()
        return cls(network.eval(), card, sha256, card_bytes, data)

    def save(self, path: Path) -> None:
        """Write the bundle to folder `path`: each file atomically, the card last."""
        path.mkdir(parents=True, exist_ok=True)
        write_atomically(path / WEIGHTS_FILE, self._weights)
        write_atomically(path / CARD_FILE, self._card)

    def with_card(self, card: Card) -> "Bundle":
        """Return the same weights with another card (new calibrators, thresholds or metrics).

        The outputs for the reference film stay those of this bundle. A bundle without them gets
        them.
        """
        card.check()
        reference = self.card.reference if card.input == self.card.input else {}
        complete = replace(card, weights=self.card.weights, reference=reference)
        return Bundle._joined(self.network, complete, self._weights)

    @classmethod
    def _joined(cls, network: DenseNet121, card: Card, weights: bytes) -> Self:
        if not card.reference:
            card = replace(card, reference=_reference(network.eval(), card.input))
            card.check()
        data = card.to_bytes()
        return cls(network.eval(), card, hashlib.sha256(data).hexdigest(), data, weights)


@torch.inference_mode()
def _reference(network: DenseNet121, spec: InputSpec) -> dict[str, Any]:
    """Return the record of the reference film for a card: its name, the logits, the tolerance."""
    film, _ = preprocess(reference_film(), spec)
    outputs = network(film[None]).logits[0].tolist()
    if not all(math.isfinite(value) for value in outputs):
        raise BundleError("the network's outputs for the reference film are not finite numbers")
    return {
        "film": REFERENCE_FILM,
        "outputs": [round(value, 6) for value in outputs],
        "tolerance": max(REFERENCE_TOLERANCE, _RELATIVE_TOLERANCE * max(map(abs, outputs))),
    }


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
    if weights is None:
        raise BundleError("the card does not name its weights file")
    data = read_inside(path, weights.file, LARGEST_WEIGHTS, BundleError)
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
    except (SafetensorError, TypeError, ValueError, RuntimeError) as error:
        raise BundleError(f"the weights are not a DenseNet-121 of 14 labels: {error}") from error


def _outputs(tensors: Mapping[str, Tensor]) -> int:
    """Return the number of outputs. Raises BundleError before a network of many is made."""
    last = tensors.get("classifier.bias")
    outputs = 0 if last is None else last.numel()
    if outputs > _MOST_OUTPUTS:
        raise BundleError(f"the weights have {outputs:,} outputs, more than {_MOST_OUTPUTS:,}")
    return outputs


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
