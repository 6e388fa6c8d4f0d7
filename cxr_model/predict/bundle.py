"""A bundle, the model on disk: a folder with ``card.json`` and ``weights.safetensors``."""

import hashlib
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from cxr_model.errors import BundleError
from cxr_model.files.bundle_files import CARD_FILE as CARD_FILE
from cxr_model.files.bundle_files import STARTER as STARTER
from cxr_model.files.bundle_files import WEIGHTS_FILE as WEIGHTS_FILE
from cxr_model.files.bundle_files import named, read_card, read_weights_file
from cxr_model.files.weights import DENSENET_121, Blocks, Tensors, read_weights
from cxr_model.predict.card import Card, Weights
from cxr_model.predict.transform import InputSpec, network_input, normalise
from cxr_model.reference_film import REFERENCE_FILM, reference_film

if TYPE_CHECKING:
    from torch import Tensor

    from cxr_model.predict.network import DenseNet121

#: Largest difference of a logit for the reference film. Processors and versions of libraries
#: differ by about 1e-4, a GPU that rounds to TF32 by about 1e-2; another network by about 1.
REFERENCE_TOLERANCE = 0.02
_RELATIVE_TOLERANCE = 1e-3

_DTYPES = ("float16", "float32")


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """Verified weights with their card. `sha256` is that of the card's bytes, which hold theirs.

    The bytes are kept as they were read, so that a saved copy has the same `sha256`. Only
    `build` and `network` need torch.
    """

    card: Card
    sha256: str
    blocks: Blocks
    _card: bytes
    _weights: bytes

    @classmethod
    def build(cls, network: "DenseNet121", card: Card, *, dtype: str = "float16") -> Self:
        """Join a network on the CPU to its card and round the network in place to `dtype`.

        After rounding, the network in memory gives the same outputs as the one that is saved. Its
        outputs for the reference film are recorded in the card. Raises BundleError if card and
        network do not fit, or if an output is not a finite number.
        """
        from safetensors.torch import save as save_tensors

        card.check()
        if network.channels != card.input.channels:
            raise BundleError(
                f"the network takes {network.channels} channels, the card says "
                f"{card.input.channels}"
            )
        data = save_tensors(_stored(network, dtype))
        read_weights(data, card.input.channels, network.blocks)
        round_weights(network, dtype)
        weights = Weights(WEIGHTS_FILE, hashlib.sha256(data).hexdigest(), dtype)
        reference = _reference(network.eval(), card.input)
        return cls._joined(
            replace(card, weights=weights, reference=reference), network.blocks, data
        )

    @classmethod
    def load(cls, path: Path, *, blocks: Blocks = DENSENET_121) -> Self:
        """Read and verify the bundle in folder `path`.

        Raises BundleError, in one line, if the folder or a file is missing, too large, not a
        regular file or a link out of the folder, if the weights are not those of the card or not
        of `blocks`, and for a card with another format or a value out of its range. The network
        is not run: `Predictor.check_reference` runs it.
        """
        card_bytes = read_card(path)
        with named(path):
            card = Card.from_bytes(card_bytes)
            if card.weights is None:
                raise BundleError("the card does not name its weights file")
            data = read_weights_file(path, card.weights.file, card.weights.sha256)
            read_weights(data, card.input.channels, blocks)
        return cls(card, hashlib.sha256(card_bytes).hexdigest(), blocks, card_bytes, data)

    def tensors(self) -> Tensors:
        """Return the weights and statistics of the network by torchvision's names, in float32."""
        return read_weights(self._weights, self.card.input.channels, self.blocks)

    @property
    def label_bias(self) -> npt.NDArray[np.float32]:
        """Classifier bias of the labels, (14,)."""
        return self.tensors()["classifier.bias"][: len(self.card.labels)]

    def network(self) -> "DenseNet121":
        """Return a new torch network with these weights: float32, on the CPU, in eval mode."""
        from safetensors.torch import load as load_tensors

        from cxr_model.predict.network import DenseNet121

        tensors = load_tensors(self._weights)
        unused = len(tensors["classifier.bias"]) - len(self.card.labels)
        network = DenseNet121(self.card.input.channels, unused, self.blocks)
        network.load_state_dict(tensors, strict=True)
        return network.eval()

    def save(self, path: Path) -> None:
        """Write the bundle to folder `path`: each file atomically, the card last."""
        path.mkdir(parents=True, exist_ok=True)
        write_atomically(path / WEIGHTS_FILE, self._weights)
        write_atomically(path / CARD_FILE, self._card)

    def with_card(self, card: Card) -> "Bundle":
        """Return the same weights with another card (new calibrators, thresholds or metrics).

        The outputs for the reference film stay those of this bundle. A bundle without them gets
        them, and so does a card with another input; that needs torch.
        """
        card.check()
        reference = self.card.reference if card.input == self.card.input else {}
        complete = replace(
            card,
            weights=self.card.weights,
            reference=reference or _reference(self.network(), card.input),
        )
        return Bundle._joined(complete, self.blocks, self._weights)

    @classmethod
    def _joined(cls, card: Card, blocks: Blocks, weights: bytes) -> Self:
        card.check()
        data = card.to_bytes()
        return cls(card, hashlib.sha256(data).hexdigest(), blocks, data, weights)


def _reference(network: "DenseNet121", spec: InputSpec) -> dict[str, Any]:
    """Return the record of the reference film for a card: its name, the logits, the tolerance."""
    import torch

    film = normalise(network_input(reference_film(), spec).square, spec)
    with torch.inference_mode():
        outputs = network(torch.from_numpy(film)[None]).logits[0].tolist()
    if not all(math.isfinite(value) for value in outputs):
        raise BundleError("the network's outputs for the reference film are not finite numbers")
    return {
        "film": REFERENCE_FILM,
        "outputs": [round(value, 6) for value in outputs],
        "tolerance": max(REFERENCE_TOLERANCE, _RELATIVE_TOLERANCE * max(map(abs, outputs))),
    }


def round_weights(network: "DenseNet121", dtype: str = "float16") -> None:
    """Round a network in place to the precision of a bundle of `dtype`."""
    network.load_state_dict(_stored(network, dtype))


def _stored(network: "DenseNet121", dtype: str) -> "dict[str, Tensor]":
    """Return the state dict for storage: kernels in `dtype`, vectors in float32.

    Vectors stay float32 because running variances of batch norm exceed the range of float16.
    """
    import torch

    if dtype not in _DTYPES:
        raise BundleError(f"weights are stored as {' or '.join(_DTYPES)}, not {dtype!r}")
    stored = torch.float16 if dtype == "float16" else torch.float32
    return {
        key: (value.to(stored) if value.ndim > 1 else value).cpu().contiguous()
        for key, value in network.state_dict().items()
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
