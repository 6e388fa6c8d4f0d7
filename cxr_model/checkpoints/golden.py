"""Compares the logits of an imported network with golden logits of the original."""

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.numpy import load

from cxr_model.checkpoints.importers import TORCHXRAYVISION_LABELS
from cxr_model.checkpoints.unpickling import LARGEST_CHECKPOINT
from cxr_model.errors import BundleError, CheckpointError, first_line
from cxr_model.files.archive import check_archive
from cxr_model.files.card_values import SIZES
from cxr_model.files.regular_file import read_regular
from cxr_model.files.tensor_file import check_header
from cxr_model.findings import LABELS
from cxr_model.predict.bundle import Bundle

#: Largest difference of a logit between hardware and library versions.
TOLERANCE = 1e-4

_NAMES = ("input", "logits")
# 40 films of three channels of 224 pixels.
_MOST_VALUES = 6_000_000


def check_golden(bundle: Bundle, path: Path, *, tolerance: float = TOLERANCE) -> float:
    """Run the network on a golden input and return the largest difference to the golden logits.

    The file is ``.npz`` or ``.safetensors`` with the original network's ``input`` (n, channels,
    rows, cols) and its ``logits`` before any sigmoid: (n, 14) in NIH order, or (n, 18) in
    torchxrayvision's. Raises CheckpointError for any other file and if a logit differs by more
    than `tolerance`.
    """
    inputs, expected = _read(path)
    channels = bundle.card.input.channels
    if inputs.ndim != 4 or inputs.shape[1] != channels or min(inputs.shape) < 1:
        raise CheckpointError(f"{path}: input has shape {inputs.shape}, not (n, {channels}, …)")
    if min(inputs.shape[2:]) < SIZES[0]:
        raise CheckpointError(f"{path}: input is smaller than {SIZES[0]} pixels")
    expected = _in_nih_order(path, expected)
    if len(expected) != len(inputs):
        raise CheckpointError(f"{path}: {len(expected)} rows of logits for {len(inputs)} inputs")
    with torch.inference_mode():
        network = bundle.network()
        found = network(torch.from_numpy(inputs)).logits.double().numpy()
    # A NaN counts as an infinite difference.
    differences = np.nan_to_num(np.abs(found - expected), nan=np.inf)
    worst = float(differences.max())
    if not worst <= tolerance:
        label = LABELS[int(differences.max(axis=0).argmax())]
        raise CheckpointError(
            f"the imported network is not the one of {path}: the logit of {label} differs by "
            f"{worst:.2g}, more than {tolerance:g}"
        )
    return worst


def _read(path: Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    data = read_regular(path, LARGEST_CHECKPOINT, CheckpointError)
    try:
        if path.suffix == ".safetensors":
            check_header(data)
            content = load(data)
        else:
            check_archive(path, data, CheckpointError)
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                content = {name: archive[name] for name in _NAMES}
        inputs, logits = (_real(path, content[name]) for name in _NAMES)
    except KeyError as error:
        raise CheckpointError(f"{path}: golden outputs are called input and logits") from error
    except BundleError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    except (OSError, ValueError, TypeError, AttributeError, MemoryError, EOFError) as error:
        reason = first_line(error)
        raise CheckpointError(f"{path} cannot be read as golden outputs: {reason[:200]}") from error
    except (SafetensorError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    return inputs.astype(np.float32), logits.astype(np.float64)


def _real(path: Path, values: Any) -> npt.NDArray[Any]:
    if values.dtype.kind not in "fiu" or values.size > _MOST_VALUES:
        raise CheckpointError(
            f"{path}: golden outputs are {values.dtype} {values.shape}, not real numbers, at most "
            f"{_MOST_VALUES:,} of them"
        )
    array: npt.NDArray[Any] = values
    return array


def _in_nih_order(path: Path, logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    outputs = logits.shape[1] if logits.ndim == 2 else 0
    if outputs == len(LABELS):
        return logits
    if outputs == len(TORCHXRAYVISION_LABELS):
        return logits[:, [TORCHXRAYVISION_LABELS.index(label) for label in LABELS]]
    raise CheckpointError(f"{path}: logits have shape {logits.shape}, not (n, 14) or (n, 18)")
