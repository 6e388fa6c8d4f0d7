"""`train`: from images and labels to a calibrated, measured bundle."""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from cxr_model.data.chestxray14 import LabelTable, Record, load_labels, load_soft_targets
from cxr_model.data.films import Film, class_films, labelled_films
from cxr_model.data.image_file import shortest_side
from cxr_model.data.patients import PatientSet
from cxr_model.data.split import Split, patient_split, positives
from cxr_model.errors import PatientOverlapError, TrainingError
from cxr_model.predict.bundle import Bundle
from cxr_model.predict.network import DenseNet121
from cxr_model.predict.transform import InputSpec
from cxr_model.train.config import Device, Initialisation, Precision, TrainingConfig
from cxr_model.train.finishing import finish
from cxr_model.train.initialisation import initial_network
from cxr_model.train.loop import Trainer
from cxr_model.train.optimisation import start_at_prevalence

__all__ = ["Device", "Initialisation", "Precision", "TrainingConfig", "train"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Material:
    """All that is read from disk before the first step."""

    table: LabelTable
    split: Split
    fitted: tuple[Record, ...]
    films: tuple[Film, ...]
    classes: tuple[str, ...]
    soft: int


def train(config: TrainingConfig, *, now: Callable[[], datetime], progress: bool = True) -> Bundle:
    """Train one stage, calibrate it, measure it and write the bundle to `config.out`.

    The films are split by patient. The network is fitted on the training patients; the epoch, the
    calibrators, the thresholds and the heatmap scales come from the validation patients; the
    metrics in the card are those of the held-out patients, which nothing else has looked at. A run
    that was killed goes on from its last checkpoint when started again with the same settings.

    Raises DataError for unusable images or labels, PatientOverlapError when a patient is on two
    sides (or was trained on by the bundle this run starts from), TrainingError for settings or a
    checkpoint that cannot be used, and BundleError when `config.init` is not a bundle.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    material = _gather(config)
    start = Bundle.load(config.init) if isinstance(config.init, Path) else None
    teachers = [Bundle.load(folder) for folder in config.teachers]
    for ancestor in (*([start] if start else []), *teachers):
        _check_lineage(ancestor, material)
    network, spec = _start(config, start, material)
    trainer = Trainer(
        network,
        spec,
        material.films,
        len(material.classes),
        material.split.validation,
        config,
        _run_fingerprint(config, start, teachers, material),
        teachers=teachers,
        progress=progress,
    )
    trained = trainer.run()
    provenance = _provenance(config, start, teachers, material, trainer)
    bundle = finish(trained, spec, material.split, config, provenance, now())
    bundle.save(config.out)
    return bundle


def _gather(config: TrainingConfig) -> _Material:
    table = load_labels(config.images, config.labels)
    if table.missing:
        logger.warning("%d rows of the label table have no image and are left out", table.missing)
    sides = _shortest_sides(table.records, config)
    split = patient_split(
        table.records,
        validation=config.validation_fraction,
        held_out=config.held_out_fraction,
        seed=config.seed if config.split_seed is None else config.split_seed,
        eligible=lambda record: sides.get(record.path, 0) >= config.evaluation_min_side,
    )
    fitted = tuple(r for r in split.train if sides.get(r.path, 0) >= config.min_side)
    if not fitted:
        raise TrainingError(f"no training film has {config.min_side} pixels a side")
    soft = load_soft_targets(config.soft_targets) if config.soft_targets else {}
    films = labelled_films(fitted, soft, config.soft_weight)
    others, classes = class_films(config.pretrain_images) if config.pretrain_images else ([], ())
    taught = sum(record.image in soft for record in fitted)
    return _Material(table, split, fitted, (*films, *others), classes, taught)


def _shortest_sides(records: Sequence[Record], config: TrainingConfig) -> dict[Path, int]:
    if not (config.min_side or config.evaluation_min_side):
        return {}
    return {record.path: shortest_side(record.path) for record in records}


def _start(
    config: TrainingConfig, start: Bundle | None, material: _Material
) -> tuple[DenseNet121, InputSpec]:
    torch.manual_seed(config.seed)
    if start is not None:
        spec = start.card.input
        return start.network, InputSpec(config.size, spec.mean, spec.std)
    assert isinstance(config.init, Initialisation)  # noqa: S101  told apart from Path above
    network = initial_network(config.init)
    start_at_prevalence(network, material.films, config.balance)
    return network, InputSpec(config.size)


def _check_lineage(ancestor: Bundle, material: _Material) -> None:
    """No bundle this training learns from may have seen a patient who is now held out."""
    before: Mapping[str, Any] = ancestor.card.provenance.get("split", {})
    same_patients = before.get("patients_sha256") == _patients_digest(material.table.records)
    if same_patients and before.get("fingerprint") != material.split.fingerprint:
        raise PatientOverlapError(
            f"{ancestor.card.name} was trained on these patients with another split, so it has "
            "seen some that would be held out now: use its split seed and fractions"
        )
    for seen in ancestor.card.provenance.get("fitted_on", ()):
        held_out = (record.patient_id for record in material.split.held_out)
        PatientSet.from_json(seen).refuse(held_out, ancestor.card.name)


def _run_fingerprint(
    config: TrainingConfig, start: Bundle | None, teachers: Sequence[Bundle], material: _Material
) -> str:
    parts = (
        config.fingerprint,
        material.split.fingerprint,
        start.sha256 if start else "",
        *(teacher.sha256 for teacher in teachers),
        str(len(material.films)),
    )
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def _fitted_on(split: Split, ancestors: Sequence[Bundle]) -> list[dict[str, Any]]:
    """Whom this training and those it learnt from have seen, as digests, each set once."""
    seen = {record.patient_id for record in (*split.train, *split.validation)}
    # A salt of its own, and yet the same for the same training.
    salt = hashlib.sha256(split.fingerprint.encode()).digest()[:16]
    sets = [PatientSet.of(seen, salt).to_json()]
    for ancestor in ancestors:
        sets += ancestor.card.provenance.get("fitted_on", [])
    return [one for place, one in enumerate(sets) if one not in sets[:place]]


def _patients_digest(records: Sequence[Record]) -> str:
    patients = sorted({record.patient_id for record in records})
    return hashlib.sha256("\n".join(patients).encode()).hexdigest()


def _provenance(
    config: TrainingConfig,
    start: Bundle | None,
    teachers: Sequence[Bundle],
    material: _Material,
    trainer: Trainer,
) -> dict[str, Any]:
    split = material.split
    ancestors = [*([start] if start else []), *teachers]
    sides = {"train": split.train, "validation": split.validation, "held_out": split.held_out}
    earlier = list(start.card.provenance.get("stages", [])) if start else []
    stage = {
        "started_from": start.card.name if start else str(config.init),
        "settings": config.settings(),
        "films": len(material.fitted),
        "patients": len({record.patient_id for record in material.fitted}),
        "films_with_soft_targets": material.soft,
        "teachers_sha256": [teacher.sha256 for teacher in teachers],
        "pretraining_films": len(material.films) - len(material.fitted),
        "pretraining_classes": list(material.classes),
        "log": [{key: round(value, 6) for key, value in row.items()} for row in trainer.log],
    }
    return {
        "trained_with": "cxrd model train",
        "description": config.description,
        "split": {
            "rule": "by patient; no patient is on two sides",
            "seed": config.seed if config.split_seed is None else config.split_seed,
            "patients": {k: len({r.patient_id for r in films}) for k, films in sides.items()},
            "films": {k: len(films) for k, films in sides.items()},
            "positives": {k: positives(films) for k, films in sides.items()},
            "fingerprint": split.fingerprint,
            "patients_sha256": _patients_digest(material.table.records),
        },
        "fitted_on": _fitted_on(split, ancestors),
        "stages": [*earlier, stage],
    }
