"""Settings of a training run; all of them are written to the card."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from cxr_model.calibrate.goal import MAX_FALSE_CALLS, Aim, Goal
from cxr_model.data.augmentation_settings import Augmentation
from cxr_model.errors import CalibrationError, TrainingError
from cxr_model.predict.choices import Device, Prevalence

# Settings that do not affect a step, so they may change between a run and its resumption.
_AFTER_THE_STEPS = (
    "name",
    "version",
    "description",
    "soft_targets_from",
    "stop_after",
    "prevalence",
    "max_false_calls",
    "specificity",
)


class Initialisation(StrEnum):
    """First weights that are not those of a bundle."""

    SCRATCH = "scratch"
    IMAGENET = "imagenet"


class Precision(StrEnum):
    """Number format of the forward pass; AUTO is mixed on a GPU and single on a CPU.

    BFLOAT16 is mixed precision too. It is faster on CPUs with AVX-512 BF16 or AMX only.
    """

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class SoftLoss(StrEnum):
    """Use of the soft targets: mixed into the labels, or matched as logits beside them."""

    PROBABILITY = "probability"
    LOGIT = "logit"


@dataclass(frozen=True, slots=True)
class Option:
    """Help text of a setting, and its name on the command line if that differs."""

    help: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """Settings of one training stage; the command line takes its options from here.

    `teachers` work on the picture that the student sees, also on films without labels (Beyer et
    al., "Knowledge distillation: a good teacher is patient and consistent", CVPR 2022). `soft_loss`
    LOGIT is Ba & Caruana, "Do deep nets really need to be deep?", NIPS 2014. `mixup` is that of
    Zhang et al., "mixup", ICLR 2018. With `balance` 0 the probabilities are unbiased.

    Validation and the bundle use the average of the weights (`ema_decay`). Without `patience` the
    last epoch is kept. `stop_after` may change between a run and its resumption. `split_seed`
    keeps the split while another `seed` changes the order of the films and their augmentation.
    """

    images: Annotated[Path, Option("Folder of the films: PNG, JPEG or another picture format.")]
    labels: Annotated[
        Path,
        Option(
            "Label table: NIH's Data_Entry_2017*.csv (or its folder), or a CSV with the columns "
            "file, patient_id, labels (NIH names joined by |) and the optional image, view, sex, "
            "age, split, source."
        ),
    ]
    out: Annotated[Path, Option("Folder for the bundle.")]
    original_sizes: Annotated[
        Path | None,
        Option(
            "CSV of the sizes before the films were squeezed to squares: image, original_width, "
            "original_height. The films are trained on in these proportions."
        ),
    ] = None
    work: Annotated[
        Path | None,
        Option(
            "Folder for checkpoint, log.csv and curves.png; default: OUT.training. A stopped run "
            "continues from there when it is started again with the same settings."
        ),
    ] = None
    name: Annotated[str, Option("The model's name, shown in every report.")] = "cxrd-model"
    version: Annotated[str, Option("The model's version.")] = "1"
    description: Annotated[str, Option("Notes about the data, for readers of the card.")] = ""
    init: Annotated[
        Path | Initialisation,
        Option("First weights: scratch, imagenet, or the folder of a bundle."),
    ] = Initialisation.SCRATCH
    size: Annotated[int, Option("Side of the network's input in pixels.")] = 224
    trim: Annotated[bool, Option("Cut black margins off the films, in training and in use.")] = True
    epochs: Annotated[int, Option("Passes over the films.")] = 20
    batch_size: Annotated[int, Option("Films per step.")] = 32
    learning_rate: Annotated[float, Option("Highest learning rate.")] = 1e-3
    weight_decay: Annotated[float, Option("Weight decay of AdamW.")] = 0.05
    warmup: Annotated[float, Option("Share of the steps in which the learning rate rises.")] = 0.05
    ema_decay: Annotated[float, Option("Decay of the moving average of the weights.")] = 0.999
    balance: Annotated[
        float, Option("Weigh positives by (negatives / positives) ** balance; 0: equal weights.")
    ] = 0.0
    min_side: Annotated[int, Option("Leave smaller films (pixels) out of the training.")] = 0
    evaluation_min_side: Annotated[
        int, Option("Use patients with a smaller film (pixels) for training only.")
    ] = 0
    validation_fraction: Annotated[
        float, Option("Share of patients for selection and calibration.", "--validation")
    ] = 0.15
    held_out_fraction: Annotated[
        float, Option("Share of patients for the final metrics.", "--held-out")
    ] = 0.20
    training_only: Annotated[
        tuple[str, ...],
        Option(
            "Source of films that do not resemble the target; repeat for more. Its patients are "
            "never used for selection, calibration or metrics."
        ),
    ] = ()
    training_only_share: Annotated[
        float, Option("Share of the training-only films in an epoch, drawn anew each epoch.")
    ] = 1.0
    soft_targets: Annotated[
        Path | None, Option("CSV of a teacher's probabilities: image, prob_<label>…")
    ] = None
    soft_targets_from: Annotated[
        str, Option("The models behind the soft targets, for readers of the card.")
    ] = ""
    soft_weight: Annotated[float, Option("Share of the soft targets in a target.")] = 0.5
    soft_loss: Annotated[
        SoftLoss,
        Option(
            "probability: soft targets are mixed into the labels; logit: their logits, "
            "standardised per label, are matched beside the labels."
        ),
    ] = SoftLoss.PROBABILITY
    pretrain_images: Annotated[
        Path | None,
        Option("Folder with a sub-folder of films per class, for a second head during training."),
    ] = None
    pretrain_weight: Annotated[float, Option("Weight of the second head's loss.")] = 1.0
    pretrain_share: Annotated[
        float, Option("Largest share of an epoch's films that are for the second head.")
    ] = 0.5
    teachers: Annotated[
        tuple[Path, ...],
        Option("Bundle that teaches on every picture; repeat for an ensemble.", "--teacher"),
    ] = ()
    teacher_weight: Annotated[float, Option("Share of the teachers in the loss.")] = 0.7
    mixup: Annotated[
        float, Option("Blend pairs of films by Beta(mixup, mixup); 0: no blending.")
    ] = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)
    patience: Annotated[
        int | None,
        Option("Stop after this many epochs without a better AUC, and keep the best epoch."),
    ] = None
    stop_after: Annotated[int | None, Option("Stop after this many epochs of the schedule.")] = None
    prevalence: Annotated[
        str,
        Option(
            "Prevalence that the probabilities hold for: nih (the whole label table of "
            "ChestX-ray14), sample (that of the validation patients), or a CSV: label, prevalence."
        ),
    ] = Prevalence.NIH.value
    max_false_calls: Annotated[
        float,
        Option("Choose thresholds for at most these false calls per film without findings."),
    ] = MAX_FALSE_CALLS
    specificity: Annotated[
        float | None,
        Option("Choose each threshold for this specificity instead, finding by finding."),
    ] = None
    seed: Annotated[
        int, Option("Seed of the split, the first weights and the order of the films.")
    ] = 0
    split_seed: Annotated[int | None, Option("Seed of the split; default: --seed.")] = None
    workers: Annotated[int, Option("Processes that read films.")] = 0
    threads: Annotated[int | None, Option("CPU threads; default: chosen by torch.")] = None
    device: Annotated[Device, Option("auto uses a GPU if there is one.")] = Device.AUTO
    precision: Annotated[
        Precision,
        Option("auto: mixed on a GPU, single on a CPU; bfloat16: mixed (CPUs with AVX-512 BF16)."),
    ] = Precision.AUTO
    checkpoint_seconds: Annotated[float, Option("Seconds between two checkpoints.")] = 300.0

    def __post_init__(self) -> None:
        """Raise TrainingError for settings that cannot train."""
        for name in ("epochs", "batch_size", "size"):
            value = getattr(self, name)
            if value < 1:
                raise TrainingError(f"{name} must be at least 1, not {value}")
        shares = (self.validation_fraction, self.held_out_fraction)
        if min(shares) < 0 or sum(shares) >= 1:
            raise TrainingError("validation and held-out fractions must leave patients to train on")
        self.goal()
        if not 0 <= self.pretrain_share < 1:
            raise TrainingError("pretrain_share must be below 1: labelled films must be trained on")
        for name in ("soft_weight", "teacher_weight", "training_only_share"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise TrainingError(f"{name} must lie between 0 and 1, not {share}")
        if self.mixup < 0:
            raise TrainingError(f"mixup must not be negative, but is {self.mixup}")

    def goal(self) -> Goal:
        """Return the goal of the thresholds. Raises TrainingError if no rate can reach it."""
        try:
            if self.specificity is not None:
                return Goal(Aim.SPECIFICITY, self.specificity)
            return Goal(Aim.MAX_FALSE_CALLS, self.max_false_calls)
        except CalibrationError as error:
            raise TrainingError(str(error)) from error

    @property
    def work_folder(self) -> Path:
        """Folder of the checkpoint and the log."""
        return self.work or self.out.with_name(self.out.name + ".training")

    def settings(self) -> dict[str, Any]:
        """Return every setting that shapes the model, as JSON; folders by name, without path."""
        values = asdict(self)
        for name in ("out", "work", "workers", "threads", "device", "checkpoint_seconds"):
            del values[name]
        values["prevalence"] = Path(self.prevalence).name
        values["teachers"] = [teacher.name for teacher in self.teachers]
        values["training_only"] = list(self.training_only)
        return {
            name: value.name if isinstance(value, Path) else value for name, value in values.items()
        }

    @property
    def fingerprint(self) -> str:
        """sha256 of the settings that a run and its resumption must share."""
        settings = self.settings()
        for name in _AFTER_THE_STEPS:
            del settings[name]
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
