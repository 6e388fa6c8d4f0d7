"""What a training run is asked to do; the whole of it goes into the card."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from cxr_model.data.augmentation import Augmentation
from cxr_model.errors import TrainingError


class Initialisation(StrEnum):
    """Where the first weights come from, when not from a bundle."""

    SCRATCH = "scratch"
    IMAGENET = "imagenet"


class Device(StrEnum):
    """Where the training runs; AUTO takes a GPU when there is one."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Precision(StrEnum):
    """What the forward pass computes in; AUTO is mixed on a GPU and single on a CPU.

    BFLOAT16 is mixed too: faster on CPUs that compute in it (AVX-512 BF16, AMX), slower on others.
    """

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """Settings of one training stage.

    Paths: `images` and `labels` are read by `chestxray14.load_labels`; the bundle is written to
    `out`, checkpoints and the CSV log to `work` (default: a folder beside `out`). `init` is a
    bundle's folder or an `Initialisation`. `description` is what a reader of the card should know
    of the data.

    `min_side` leaves smaller training films out of this stage; patients with a film smaller than
    `evaluation_min_side` pixels a side only ever train. `soft_targets` is a CSV of a teacher's
    probabilities, mixed in with `soft_weight`. `pretrain_images` is a folder with one sub-folder
    per class: a second head learns those classes from the same features and is then dropped; they
    make up at most `pretrain_share` of an epoch.

    `teachers` are bundles whose mean probability of the very picture the student sees makes up
    `teacher_weight` of the loss, also for films without labels (Beyer et al., "Knowledge
    distillation: a good teacher is patient and consistent", CVPR 2022). `mixup` above 0 blends
    pairs of films by a share drawn from Beta(mixup, mixup) (Zhang et al., "mixup", ICLR 2018).

    `balance` weights positives by (negatives / positives) ** balance: 0 leaves the probabilities
    unbiased. `ema_decay` averages the weights over steps; validation and the bundle use the
    average. `patience` stops after that many epochs without a better validation AUC, and the best
    epoch is kept; without it the last epoch is. `stop_after` ends after that many epochs of the
    schedule of `epochs`, also when it is given to a run that is resumed. `specificity` sets the
    thresholds on the validation patients. `split_seed` keeps the split as it is while `seed` gives
    the films another order and other changes; without it the split follows `seed`.
    """

    images: Path
    labels: Path
    out: Path
    work: Path | None = None
    name: str = "cxrd-model"
    version: str = "1"
    description: str = ""
    init: Path | Initialisation = Initialisation.SCRATCH
    size: int = 224
    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    ema_decay: float = 0.999
    balance: float = 0.0
    min_side: int = 0
    evaluation_min_side: int = 0
    validation_fraction: float = 0.15
    held_out_fraction: float = 0.20
    soft_targets: Path | None = None
    soft_weight: float = 0.5
    pretrain_images: Path | None = None
    pretrain_weight: float = 1.0
    pretrain_share: float = 0.5
    teachers: tuple[Path, ...] = ()
    teacher_weight: float = 0.7
    mixup: float = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)
    patience: int | None = None
    stop_after: int | None = None
    specificity: float = 0.85
    seed: int = 0
    split_seed: int | None = None
    workers: int = 0
    threads: int | None = None
    device: Device = Device.AUTO
    precision: Precision = Precision.AUTO
    checkpoint_seconds: float = 300.0

    def __post_init__(self) -> None:
        """Refuse settings that cannot train; raises TrainingError."""
        positive = {"epochs": self.epochs, "batch_size": self.batch_size, "size": self.size}
        for name, value in positive.items():
            if value < 1:
                raise TrainingError(f"{name} must be at least 1, not {value}")
        shares = (self.validation_fraction, self.held_out_fraction)
        if min(shares) < 0 or sum(shares) >= 1:
            raise TrainingError("validation and held-out fractions must leave patients to train on")
        if not 0 < self.specificity < 1:
            raise TrainingError(f"specificity must lie between 0 and 1, not {self.specificity}")
        if not 0 <= self.pretrain_share < 1:
            raise TrainingError("pretrain_share must be below 1: labelled films must be trained on")
        weights = {"soft_weight": self.soft_weight, "teacher_weight": self.teacher_weight}
        for name, share in weights.items():
            if not 0 <= share <= 1:
                raise TrainingError(f"{name} must lie between 0 and 1, not {share}")
        if self.mixup < 0:
            raise TrainingError(f"mixup must not be negative, but is {self.mixup}")

    @property
    def work_folder(self) -> Path:
        """Where checkpoints and the log are kept."""
        return self.work or self.out.with_name(self.out.name + ".training")

    def settings(self) -> dict[str, Any]:
        """Every setting that shapes the model, as JSON; folders by name, not by place."""
        values = asdict(self)
        for elsewhere in ("out", "work", "workers", "threads", "device", "checkpoint_seconds"):
            del values[elsewhere]
        values["teachers"] = [teacher.name for teacher in self.teachers]
        return {
            name: value.name if isinstance(value, Path) else value for name, value in values.items()
        }

    @property
    def fingerprint(self) -> str:
        """What a checkpoint must have in common with the run that resumes from it."""
        settings = self.settings()
        # These decide no step, so they may change between a run and its resumption.
        del settings["stop_after"], settings["description"]
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
