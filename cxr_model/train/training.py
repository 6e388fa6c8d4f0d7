"""Trains one stage: from images and labels to a calibrated, measured bundle."""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from cxr_model.calibrate.goal import FEW_FILMS_WITHOUT_FINDINGS, Aim
from cxr_model.calibrate.prevalence import target_prevalence
from cxr_model.data.chestxray14 import LabelTable, Record, load_labels, load_soft_targets
from cxr_model.data.films import Film, class_films, films_with_soft_logits, labelled_films
from cxr_model.data.image_file import shortest_side
from cxr_model.data.patients import PatientSet, recorded_sets
from cxr_model.data.split import Split, patient_split, positives
from cxr_model.errors import DataError, PatientOverlapError, TrainingError
from cxr_model.evaluate.score_films import held_out_films
from cxr_model.files.reliability_file import write_reliability
from cxr_model.files.weights import DENSENET_121, Blocks
from cxr_model.predict.bundle import Bundle
from cxr_model.predict.network import DenseNet121
from cxr_model.predict.transform import InputSpec
from cxr_model.train.config import Initialisation, SoftLoss, TrainingConfig
from cxr_model.train.initialisation import initial_network
from cxr_model.train.loop import Trainer
from cxr_model.train.make_bundle import make_bundle
from cxr_model.train.optimisation import start_at_prevalence

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Data:
    """The data of a run, read from disk before the first step.

    `fitted` are the training films with labels, the training-only ones last; `films` are those and
    the pre-training films; `soft` is the number of films with soft targets, `training_only` that of
    the films of training-only sources.
    """

    table: LabelTable
    split: Split
    fitted: tuple[Record, ...]
    films: tuple[Film, ...]
    classes: tuple[str, ...]
    soft: int
    training_only: int


def train(
    config: TrainingConfig,
    *,
    now: Callable[[], datetime],
    progress: bool = True,
    blocks: Blocks = DENSENET_121,
) -> Bundle:
    """Train one stage, calibrate it, measure it and write the bundle to `config.out`.

    The films are split by patient. The network is fitted on the training patients; the epoch, the
    calibrators, the thresholds and the heatmap scales come from the validation patients; the
    metrics on the card are those of the held-out patients, which no other step uses. A killed run
    continues from its last checkpoint when it is started again with the same settings. `blocks`
    is the architecture of the network and of the bundles that it starts or learns from.

    Raises DataError for unusable images or labels, PatientOverlapError if a patient is in two
    parts or a bundle of `config` was trained on a held-out patient, TrainingError for unusable
    settings or an unusable checkpoint, CalibrationError for an unusable table of prevalences, and
    BundleError if a path of `config` is not a bundle.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    # An unusable table of prevalences is refused before the training, not after it.
    target_prevalence(config.prevalence)
    data = _read_data(config)
    start = None
    if not isinstance(config.init, Initialisation):
        start = Bundle.load(config.init, blocks=blocks)
    teachers = [Bundle.load(folder, blocks=blocks) for folder in config.teachers]
    for ancestor in _ancestors(start, teachers):
        _check_lineage(ancestor, data)
    network, spec = _first_network(config, start, data, blocks)
    trainer = Trainer(
        network,
        spec,
        data.films,
        len(data.classes),
        data.split.validation,
        config,
        _run_fingerprint(config, start, teachers, data),
        training_only=data.training_only,
        teachers=teachers,
        progress=progress,
    )
    trained = trainer.run()
    provenance = _provenance(config, start, teachers, data, trainer)
    bundle, reliability = make_bundle(trained, spec, data.split, config, provenance, now())
    bundle.save(config.out)
    write_reliability(config.out, bundle.sha256, reliability)
    return bundle


def _ancestors(start: Bundle | None, teachers: Sequence[Bundle]) -> list[Bundle]:
    return [*([start] if start else []), *teachers]


def _read_data(config: TrainingConfig) -> _Data:
    table = load_labels(config.images, config.labels, config.original_sizes)
    _check_sources(table.records, config.training_only)
    if table.missing:
        logger.warning("%d rows of the label table skipped: image missing", table.missing)
    sides = _shortest_sides(table.records, config)
    split = patient_split(
        table.records,
        validation=config.validation_fraction,
        held_out=config.held_out_fraction,
        seed=_split_seed(config),
        eligible=lambda record: sides.get(record.path, 0) >= config.evaluation_min_side,
        training_only=config.training_only,
    )
    large = [r for r in split.train if sides.get(r.path, 0) >= config.min_side]
    if not large:
        raise TrainingError(f"no training film has {config.min_side} pixels a side")
    fitted = tuple(sorted(large, key=lambda record: record.source in config.training_only))
    soft = load_soft_targets(config.soft_targets) if config.soft_targets else {}
    _check_goal(config, split)
    if config.soft_loss is SoftLoss.LOGIT:
        films = films_with_soft_logits(fitted, soft)
    else:
        films = labelled_films(fitted, soft, config.soft_weight)
    others, classes = class_films(config.pretrain_images) if config.pretrain_images else ([], ())
    with_soft_targets = sum(record.image in soft for record in fitted)
    reduced = sum(record.source in config.training_only for record in fitted)
    return _Data(table, split, fitted, (*films, *others), classes, with_soft_targets, reduced)


def _check_sources(records: Sequence[Record], training_only: Sequence[str]) -> None:
    """Raise DataError if no film is of a training-only source: the name is mistyped."""
    known = sorted({record.source for record in records if record.source})
    for source in training_only:
        if source not in known:
            raise DataError(
                f"no film is of the training-only source {source!r}; the label table has "
                f"{', '.join(known) or 'no column source'}"
            )


def _check_goal(config: TrainingConfig, split: Split) -> None:
    """Raise TrainingError if the validation films cannot show the goal of the thresholds."""
    if config.goal().aim is not Aim.MAX_FALSE_CALLS:
        return
    empty = sum(not any(record.labels) for record in split.validation)
    if empty == 0:
        raise TrainingError(
            "no validation film is without findings, so thresholds cannot be chosen by false "
            "calls: add such films, or give --specificity"
        )
    if empty < FEW_FILMS_WITHOUT_FINDINGS:
        logger.warning(
            "thresholds will rest on %d validation films without findings: a larger --validation "
            "share makes them steadier",
            empty,
        )


def _split_seed(config: TrainingConfig) -> int:
    return config.seed if config.split_seed is None else config.split_seed


def _shortest_sides(records: Sequence[Record], config: TrainingConfig) -> dict[Path, int]:
    if not (config.min_side or config.evaluation_min_side):
        return {}
    return {record.path: shortest_side(record.path) for record in records}


def _first_network(
    config: TrainingConfig, start: Bundle | None, data: _Data, blocks: Blocks
) -> tuple[DenseNet121, InputSpec]:
    torch.manual_seed(config.seed)
    if start is not None:
        spec = start.card.input
        return start.network(), InputSpec(config.size, spec.mean, spec.std, config.trim)
    network = initial_network(Initialisation(str(config.init)), blocks)
    start_at_prevalence(network, data.films, config.balance)
    return network, InputSpec(config.size, trim=config.trim)


def _check_lineage(ancestor: Bundle, data: _Data) -> None:
    """Raise PatientOverlapError if `ancestor` was trained on a patient who is now held out."""
    before: Mapping[str, Any] = ancestor.card.provenance.get("split", {})
    same_patients = before.get("patients_sha256") == _patients_digest(data.table.records)
    if same_patients and not _has_held_out(ancestor, before, data):
        raise PatientOverlapError(
            f"{ancestor.card.name} was trained on these patients with another split, so it has "
            "seen some that would be held out now: use its split seed and fractions"
        )
    for seen in recorded_sets(ancestor.card.provenance):
        held_out = (record.patient_id for record in data.split.held_out)
        seen.refuse(held_out, ancestor.card.name)


def _has_held_out(ancestor: Bundle, before: Mapping[str, Any], data: _Data) -> bool:
    """Return True if each patient who is now held out was held out for `ancestor`, too."""
    if before.get("fingerprint") == data.split.fingerprint:
        return True
    unseen = held_out_films(ancestor, data.table.records)
    now = {record.patient_id for record in data.split.held_out}
    return unseen is not None and now <= {record.patient_id for record in unseen}


def _run_fingerprint(
    config: TrainingConfig, start: Bundle | None, teachers: Sequence[Bundle], data: _Data
) -> str:
    parts = (
        config.fingerprint,
        data.split.fingerprint,
        start.sha256 if start else "",
        *(teacher.sha256 for teacher in teachers),
        str(len(data.films)),
    )
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def _fitted_on(split: Split, ancestors: Sequence[Bundle]) -> list[dict[str, Any]]:
    """Return the patient sets of this training and of its ancestors, without duplicates."""
    seen = {record.patient_id for record in (*split.train, *split.validation)}
    # The salt depends on the split, so that the same training gives the same card.
    salt = hashlib.sha256(split.fingerprint.encode()).digest()[:16]
    sets = [PatientSet.of(seen, salt).to_json()]
    for ancestor in ancestors:
        sets += ancestor.card.provenance.get("fitted_on", [])
    return [patients for place, patients in enumerate(sets) if patients not in sets[:place]]


def _patients_digest(records: Sequence[Record]) -> str:
    patients = sorted({record.patient_id for record in records})
    return hashlib.sha256("\n".join(patients).encode()).hexdigest()


def _provenance(
    config: TrainingConfig,
    start: Bundle | None,
    teachers: Sequence[Bundle],
    data: _Data,
    trainer: Trainer,
) -> dict[str, Any]:
    split = data.split
    sides = {"train": split.train, "validation": split.validation, "held_out": split.held_out}
    earlier = list(start.card.provenance.get("stages", [])) if start else []
    stage = {
        "started_from": start.card.name if start else str(config.init),
        "settings": config.settings(),
        "films": len(data.fitted),
        "patients": len({record.patient_id for record in data.fitted}),
        "films_with_soft_targets": data.soft,
        "films_of_training_only_sources": data.training_only,
        "teachers_sha256": [teacher.sha256 for teacher in teachers],
        "pretraining_films": len(data.films) - len(data.fitted),
        "pretraining_classes": list(data.classes),
        "log": [{key: round(value, 6) for key, value in row.items()} for row in trainer.log],
    }
    return {
        "trained_with": "cxrd model train",
        "description": config.description,
        "split": {
            "rule": "by patient; no patient is on two sides",
            "seed": _split_seed(config),
            "patients": {k: len({r.patient_id for r in films}) for k, films in sides.items()},
            "films": {k: len(films) for k, films in sides.items()},
            "positives": {k: positives(films) for k, films in sides.items()},
            "fingerprint": split.fingerprint,
            "patients_sha256": _patients_digest(data.table.records),
        },
        "training_only": list(config.training_only),
        "teachers": _teachers(config, earlier),
        "fitted_on": _fitted_on(split, _ancestors(start, teachers)),
        "stages": [*earlier, stage],
    }


def _teachers(config: TrainingConfig, earlier: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the models that taught this stage or an earlier one."""
    stages = [*(stage.get("settings", {}) for stage in earlier), config.settings()]
    named = [stage.get("soft_targets_from") or stage.get("soft_targets") for stage in stages]
    bundles = [name for stage in stages for name in stage.get("teachers", ())]
    return list(dict.fromkeys(name for name in (*named, *bundles) if name))
