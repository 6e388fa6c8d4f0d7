"""The training loop, with checkpoints from which a killed run continues."""

import csv
import io
import logging
import math
import pickle
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from cxr_model.data.chestxray14 import Record
from cxr_model.data.films import (
    Batch,
    EpochDraws,
    EpochSampler,
    Film,
    FilmDataset,
    training_batches,
)
from cxr_model.errors import TrainingError
from cxr_model.evaluate.plots import training_curves
from cxr_model.evaluate.score_network import Scored, score
from cxr_model.predict.bundle import Bundle, write_atomically
from cxr_model.predict.choices import Device
from cxr_model.predict.network import DenseNet121
from cxr_model.predict.transform import InputSpec
from cxr_model.train.config import Precision, SoftLoss, TrainingConfig
from cxr_model.train.optimisation import (
    Average,
    SoftScale,
    Student,
    Teachers,
    draw_mix,
    learning_rate_at,
    make_optimiser,
    mixed_loss,
    positive_weights,
    soft_logit_loss,
)

CHECKPOINT_FILE = "checkpoint.pt"

LOG_FILE = "log.csv"
CURVES_FILE = "curves.png"
_CLIP = 5.0

# Errors of torch.load for a damaged file.
_DAMAGE = (OSError, RuntimeError, ValueError, TypeError, EOFError, pickle.UnpicklingError)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """The state that the next step depends on, and the log so far."""

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
        """Write to `folder`, atomically."""
        folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        content = {name: getattr(self, name) for name in self.__slots__}
        torch.save(content, buffer)
        write_atomically(folder / CHECKPOINT_FILE, buffer.getvalue())


def load_checkpoint(folder: Path, fingerprint: str) -> Checkpoint | None:
    """Read the checkpoint of `folder`; return None if there is no such file.

    Only tensors and plain values are unpickled. Raises TrainingError if the file is damaged or
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


class Trainer:
    """Trains a network on films; keeps the best average weights (with patience) or the last."""

    def __init__(
        self,
        network: DenseNet121,
        spec: InputSpec,
        films: Sequence[Film],
        classes: int,
        validation: Sequence[Record],
        config: TrainingConfig,
        fingerprint: str,
        *,
        training_only: int = 0,
        teachers: Sequence[Bundle] = (),
        progress: bool = True,
    ) -> None:
        self._config, self._spec, self._validation = config, spec, validation
        self._fingerprint, self._progress = fingerprint, progress
        self._draws = EpochDraws.of(
            films, config.pretrain_share, training_only, config.training_only_share
        )
        self._per_epoch = self._draws.count // config.batch_size
        if self._per_epoch == 0:
            raise TrainingError(f"{len(films)} films do not fill one batch of {config.batch_size}")
        self._steps = self._per_epoch * config.epochs
        self._device = torch.device(pick_device(config.device))
        torch.manual_seed(config.seed)
        student = Student(network, classes)
        self._student = student.to(self._device).to(memory_format=torch.channels_last)
        self._average = Average(network, config.ema_decay)
        self._optimiser = make_optimiser(student, config.learning_rate, config.weight_decay)
        self._teachers = Teachers(teachers, spec, self._device) if teachers else None
        self._mixed = mixed_precision(config.precision, self._device)
        scaled = self._mixed is torch.float16
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=scaled)
        self._weights = positive_weights(films, config.balance).to(self._device)
        self._soft_scale = None
        if config.soft_loss is SoftLoss.LOGIT:
            self._soft_scale = SoftScale.of(films).to(self._device)
        self._dataset = FilmDataset(films, spec, config.augmentation)
        self._step = 0
        self._best: Mapping[str, Tensor] | None = None
        self._best_auc, self._best_epoch = -math.inf, 0
        self._log: list[dict[str, float]] = []

    def run(self) -> DenseNet121:
        """Train to the end, from the checkpoint if there is one, and return the network."""
        self._resume()
        while self._step < self._last_step() and not self._stalled():
            epoch = self._step // self._per_epoch
            started, first = time.monotonic(), self._step
            loss = self._epoch(epoch)
            seconds = time.monotonic() - started
            self._close_epoch(epoch, loss, (self._step - first) * self._config.batch_size / seconds)
        chosen = self._best if self._config.patience is not None else None
        network = self._student.network
        network.load_state_dict(chosen or self._average.state)
        network.eval()
        return network

    @property
    def log(self) -> tuple[Mapping[str, float], ...]:
        """A row per epoch: losses, validation AUC, learning rate and images per second."""
        return tuple(self._log)

    def _last_step(self) -> int:
        epochs = self._config.stop_after
        return self._steps if epochs is None else min(self._steps, epochs * self._per_epoch)

    def _stalled(self) -> bool:
        patience = self._config.patience
        return patience is not None and len(self._log) - self._best_epoch > patience

    def _epoch(self, epoch: int) -> float:
        config = self._config
        start = self._step - epoch * self._per_epoch
        sampler = EpochSampler(self._draws, config.batch_size, config.seed, epoch, start)
        total, saved = 0.0, time.monotonic()
        bar = tqdm(
            training_batches(self._dataset, sampler, config.workers),
            desc=f"epoch {epoch + 1}/{config.epochs}",
            disable=not self._progress,
            mininterval=5,
        )
        for batch in bar:
            total += self._train_on(batch)
            # The last step is saved with the closed epoch; else a resumed run would not close it.
            within = self._step % self._per_epoch > 0
            if within and time.monotonic() - saved > config.checkpoint_seconds:
                self._save()
                saved = time.monotonic()
        return total / max(1, len(sampler))

    def _train_on(self, batch: Batch) -> float:
        config = self._config
        self._student.train()
        rate = learning_rate_at(self._step, self._steps, config.learning_rate, config.warmup)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        batch = Batch(*(part.to(self._device, non_blocking=True) for part in batch))
        loss = self._loss(batch)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} at step {self._step}: lower the learning rate"
            )
        self._optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(self._scaler.scale(loss))
        self._scaler.unscale_(self._optimiser)
        torch.nn.utils.clip_grad_norm_(self._student.parameters(), _CLIP)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._step += 1
        self._average.update(self._student.network, self._step)
        return value

    def _loss(self, batch: Batch) -> Tensor:
        config = self._config
        images, mix = batch.images, None
        if config.mixup > 0:
            mix = draw_mix(len(images), config.mixup, (config.seed, self._step))
            images = mix.images(images)
        images = images.contiguous(memory_format=torch.channels_last)
        taught = None
        with torch.autocast(self._device.type, dtype=self._mixed, enabled=self._mixed is not None):
            logits, classes = self._student(images)
            if self._teachers is not None:
                taught = self._teachers.probabilities(images)
        logits, classes = logits.float(), None if classes is None else classes.float()
        loss = mixed_loss((logits, classes), batch, mix, self._weights, config.pretrain_weight)
        if self._soft_scale is not None:
            scale = self._soft_scale

            def match_of(one: Batch) -> Tensor:
                return soft_logit_loss(logits, one.soft, scale)

            match = match_of(batch) if mix is None else mix.loss(match_of, batch)
            loss = (1 - config.soft_weight) * loss + config.soft_weight * match
        if taught is None:
            return loss
        follow = functional.binary_cross_entropy_with_logits(logits, taught)
        return (1 - config.teacher_weight) * loss + config.teacher_weight * follow

    def _close_epoch(self, epoch: int, loss: float, speed: float) -> None:
        scored = self._validate()
        auc = scored.mean_auc
        if auc > self._best_auc:
            self._best_auc, self._best_epoch = auc, epoch + 1
            self._best = {key: value.clone() for key, value in self._average.state.items()}
        rate = self._optimiser.param_groups[0]["lr"]
        row = {"epoch": epoch + 1, "step": self._step, "train_loss": loss, "learning_rate": rate}
        row |= {"validation_loss": scored.loss, "validation_auc": auc, "images_per_second": speed}
        self._log.append(row)
        logger.info(
            "epoch %d: loss %.4f, validation loss %.4f, validation AUC %.4f, %.1f images/s",
            *(epoch + 1, loss, scored.loss, auc, speed),
        )
        self._save()
        write_log(self._config.work_folder / LOG_FILE, self._log)
        training_curves(self._log, self._config.work_folder / CURVES_FILE)

    def _validate(self) -> Scored:
        network = self._student.network
        current = {key: value.clone() for key, value in network.state_dict().items()}
        network.load_state_dict(self._average.state)
        size, workers = self._config.batch_size, self._config.workers
        scored = score(network, self._validation, self._spec, batch_size=size, workers=workers)
        network.load_state_dict(current)
        return scored

    def _save(self) -> None:
        Checkpoint(
            fingerprint=self._fingerprint,
            step=self._step,
            student=self._student.state_dict(),
            average=self._average.state,
            optimiser=self._optimiser.state_dict(),
            scaler=self._scaler.state_dict(),
            best=self._best,
            best_auc=self._best_auc,
            best_epoch=self._best_epoch,
            log=self._log,
        ).save(self._config.work_folder)

    def _resume(self) -> None:
        checkpoint = load_checkpoint(self._config.work_folder, self._fingerprint)
        if checkpoint is None:
            return
        self._student.load_state_dict(checkpoint.student)
        for key, value in checkpoint.average.items():
            self._average.state[key].copy_(value)
        self._optimiser.load_state_dict(dict(checkpoint.optimiser))
        self._scaler.load_state_dict(dict(checkpoint.scaler))
        self._step, self._log = checkpoint.step, list(checkpoint.log)
        self._best, self._best_auc = checkpoint.best, checkpoint.best_auc
        self._best_epoch = checkpoint.best_epoch
        logger.info("resumed at step %d of %d", self._step, self._steps)


def pick_device(device: Device) -> str:
    """Return the name of the torch device. Raises TrainingError if there is no such GPU."""
    cuda = torch.cuda.is_available()
    if device == Device.CUDA and not cuda:
        raise TrainingError("no CUDA GPU is visible here; train with --device cpu")
    return "cuda" if cuda and device != Device.CPU else "cpu"


def mixed_precision(precision: Precision, device: torch.device) -> torch.dtype | None:
    """Return the half precision of a mixed forward pass, or None for single precision."""
    if precision is Precision.BFLOAT16:
        return torch.bfloat16
    return torch.float16 if precision is Precision.AUTO and device.type == "cuda" else None


def write_log(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write the log as CSV, a row per epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())
