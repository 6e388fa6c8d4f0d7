"""The state of a training on disk, so that a killed run goes on where it was."""

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cxr_model.bundle import write_atomically
from cxr_model.errors import TrainingError

CHECKPOINT_FILE = "checkpoint.pt"

_DAMAGE = (OSError, RuntimeError, ValueError, TypeError, EOFError, pickle.UnpicklingError)


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """All that the next step depends on, and the log so far."""

    fingerprint: str
    step: int
    student: Mapping[str, Tensor]
    average: Mapping[str, Tensor]
    optimiser: Mapping[str, Any]
    scaler: Mapping[str, Any]
    best: Mapping[str, Tensor] | None
    best_auc: float
    best_epoch: int
    log: list[dict[str, float]]

    def save(self, folder: Path) -> None:
        """Write to `folder`, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        content = {name: getattr(self, name) for name in self.__slots__}
        torch.save(content, buffer)
        write_atomically(folder / CHECKPOINT_FILE, buffer.getvalue())


def load_checkpoint(folder: Path, fingerprint: str) -> Checkpoint | None:
    """Read the checkpoint of `folder`; None when there is none.

    Only tensors and plain values are unpickled. Raises TrainingError when the file is damaged or
    was written by a run with other settings or data.
    """
    path = folder / CHECKPOINT_FILE
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        checkpoint = Checkpoint(**content)
    except _DAMAGE as error:
        raise TrainingError(f"{path} is damaged ({error}); delete it to start anew") from error
    if checkpoint.fingerprint != fingerprint:
        raise TrainingError(
            f"{path} belongs to a training with other settings or data; "
            "delete it or choose another work folder"
        )
    return checkpoint
