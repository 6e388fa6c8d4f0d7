"""Training: from films and labels to a bundle, resumed, in stages and with teachers."""

import csv
import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from cxr_model.data import films
from cxr_model.data.chestxray14 import load_labels
from cxr_model.data.image_file import read_image
from cxr_model.errors import BundleError, DataError, PatientOverlapError, TrainingError
from cxr_model.evaluate.score_films import held_out_films
from cxr_model.files.reliability_file import read_reliability
from cxr_model.findings import LABELS
from cxr_model.predict.bundle import Bundle
from cxr_model.predict.choices import Device
from cxr_model.predict.network import DenseNet121
from cxr_model.train import initialisation
from cxr_model.train.config import Initialisation, Precision, SoftLoss, TrainingConfig
from cxr_model.train.loop import CHECKPOINT_FILE, CURVES_FILE, LOG_FILE
from cxr_model.train.training import train
from tests.builders.images.films_on_disk import make_film, simple_dataset, teacher_table
from tests.builders.made_models import NARROW, random_network

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    simple_dataset(folder)
    return folder


def config_for(dataset: Path, out: Path, **changes: Any) -> TrainingConfig:
    """Return settings for an epoch of two steps of 24 films of 32 pixels."""
    config = TrainingConfig(
        images=dataset,
        labels=dataset / "labels.csv",
        out=out,
        size=32,
        epochs=1,
        batch_size=24,
        device=Device.CPU,
        seed=5,
    )
    return replace(config, **changes)


def run(config: TrainingConfig) -> Bundle:
    return train(config, now=lambda: NOW, progress=False, blocks=NARROW)


def load(folder: Path) -> Bundle:
    return Bundle.load(folder, blocks=NARROW)


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingConfig:
    config = config_for(dataset, tmp_path_factory.mktemp("trained") / "bundle")
    run(config)
    return config


def test_the_card_has_the_provenance(trained: TrainingConfig) -> None:
    card = load(trained.out).card
    assert card.created == "2026-01-02T03:04:05+00:00"
    split = card.provenance["split"]
    assert split["patients"] == {"train": 26, "validation": 6, "held_out": 8}
    assert split["films"] == {"train": 52, "validation": 12, "held_out": 16}
    (stage,) = card.provenance["stages"]
    assert stage["settings"]["labels"] == "labels.csv"
    assert stage["log"][0]["step"] == 2
    assert str(trained.images.parent) not in card.to_bytes().decode()
    grids = np.asarray(list(card.map_baselines.values()))
    assert grids.shape == (14, card.input.map_size, card.input.map_size)
    np.testing.assert_array_equal(grids, grids[:, :, ::-1])


def test_the_metrics_are_those_of_the_held_out_patients(trained: TrainingConfig) -> None:
    metrics = load(trained.out).card.metrics
    held_out = metrics["held_out"]
    assert (held_out["images"], held_out["patients"]) == (16, 8)
    assert held_out["labels_in_mean"] == 2
    effusion = held_out["labels"]["Effusion"]
    assert effusion["auc_95"][0] <= effusion["auc"] <= effusion["auc_95"][1]
    assert held_out["labels"]["Hernia"]["auc"] is None


def test_the_reliability_is_that_of_the_held_out_patients(trained: TrainingConfig) -> None:
    held_out = load(trained.out).card.metrics["held_out"]
    found = read_reliability(trained.out, load(trained.out).sha256)
    assert found is not None
    assert (found.part, found.films, found.patients) == (
        "held_out",
        held_out["images"],
        held_out["patients"],
    )
    for label, bins in found.labels.items():
        assert sum(one.films for one in bins) in (0, found.films), label


def test_thresholds_keep_the_budget_on_validation_and_are_measured_on_held_out_patients(
    trained: TrainingConfig,
) -> None:
    card = load(trained.out).card
    record = card.operating_point
    assert (record["max_false_calls"], record["chosen_on"]) == (0.5, "validation patients")
    assert (record["films"], record["patients"]) == (12, 6)
    false_calls = record["false_calls"]
    assert false_calls["films_without_findings"] > 0
    assert false_calls["per_film_without_findings"] <= 0.5
    assert card.metrics["validation"]["false_calls"] == false_calls
    assert card.metrics["validation"]["labels"]["Mass"].items() >= record["labels"]["Mass"].items()
    held_out = card.metrics["held_out"]
    assert held_out["false_calls"]["films_without_findings"] > 0
    assert held_out["labels"]["Effusion"]["sensitivity_95"]


def test_a_specificity_replaces_the_budget(dataset: Path, tmp_path: Path) -> None:
    card = run(config_for(dataset, tmp_path / "out", specificity=0.9)).card
    assert card.operating_point["specificity"] == 0.9
    assert card.metrics["validation"]["labels"]["Effusion"]["specificity"] >= 0.9


def test_the_log_is_a_table(trained: TrainingConfig) -> None:
    with (trained.work_folder / LOG_FILE).open() as file:
        (row,) = csv.DictReader(file)
    assert row["epoch"] == "1"
    assert float(row["train_loss"]) > 0
    assert float(row["images_per_second"]) > 0


def test_the_curves_are_drawn(trained: TrainingConfig) -> None:
    height, width = read_image(trained.work_folder / CURVES_FILE).shape
    assert min(height, width) > 200


def test_the_same_seed_gives_the_same_weights(trained: TrainingConfig, tmp_path: Path) -> None:
    again = run(replace(trained, out=tmp_path / "again"))
    assert again.card.weights == load(trained.out).card.weights


def interrupted_after(count: int) -> Callable[[Path], npt.NDArray[np.uint8]]:
    """Return a `read_image` that raises KeyboardInterrupt after `count` films."""
    reads = itertools.count()

    def read(path: Path) -> npt.NDArray[np.uint8]:
        if next(reads) >= count:
            raise KeyboardInterrupt
        return read_image(path)

    return read


def test_a_killed_training_ends_like_one_that_was_not(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings: dict[str, Any] = {"epochs": 2, "patience": 5}
    whole = run(config_for(dataset, tmp_path / "whole", **settings))
    killed = config_for(dataset, tmp_path / "killed", checkpoint_seconds=0.0, **settings)
    with monkeypatch.context() as patch:
        # Three steps of 24 films and a validation of 12 films come before the fourth step.
        patch.setattr(films, "read_image", interrupted_after(3 * 24 + 12))
        with pytest.raises(KeyboardInterrupt):
            run(killed)
    assert not killed.out.exists()
    with caplog.at_level("INFO"):
        resumed = run(killed)
    assert "resumed at step 3 of 4" in caplog.text
    assert resumed.card.weights == whole.card.weights
    assert resumed.card.metrics == whole.card.metrics


def test_a_schedule_can_be_ended_early(dataset: Path, tmp_path: Path) -> None:
    config = config_for(dataset, tmp_path / "bundle", epochs=50, stop_after=1)
    (stage,) = run(config).card.provenance["stages"]
    assert len(stage["log"]) == 1
    assert stage["settings"]["stop_after"] == 1
    assert stage["log"][0]["learning_rate"] > 0.1 * config.learning_rate


def test_a_checkpoint_of_other_settings_is_refused(
    trained: TrainingConfig, dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="other settings or data"):
        run(replace(trained, learning_rate=1e-2))
    work = tmp_path / "work"
    work.mkdir()
    (work / CHECKPOINT_FILE).write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(TrainingError, match="damaged"):
        run(config_for(dataset, tmp_path / "out", work=work))


def test_a_stage_goes_on_from_a_bundle_with_teacher_and_other_films(
    trained: TrainingConfig, dataset: Path, tmp_path: Path
) -> None:
    images = [f"{patient:04d}_000.png" for patient in range(40)]
    rng = np.random.default_rng(0)
    for name in ("normal", "pneumonia"):
        for number in range(12):
            make_film(tmp_path / "others" / name / f"{number}.png", False, rng)
    bundle = run(
        replace(
            trained,
            out=tmp_path / "second",
            init=trained.out,
            size=64,
            soft_targets=teacher_table(tmp_path / "soft.csv", images, 0.1),
            pretrain_images=tmp_path / "others",
        )
    )
    first, second = bundle.card.provenance["stages"]
    assert (first["settings"]["size"], second["settings"]["size"]) == (32, 64)
    assert second["started_from"] == "cxrd-model"
    assert second["films_with_soft_targets"] == 26
    assert second["pretraining_classes"] == ["normal", "pneumonia"]
    assert bundle.card.input.size == 64
    assert set(bundle.network().state_dict()) == set(random_network().state_dict())


def test_a_bundle_that_has_seen_the_held_out_patients_is_refused(
    trained: TrainingConfig, tmp_path: Path
) -> None:
    with pytest.raises(PatientOverlapError, match="with another split"):
        run(replace(trained, out=tmp_path / "leak", init=trained.out, seed=6))


@pytest.mark.slow
def test_another_seed_can_keep_the_split(trained: TrainingConfig, tmp_path: Path) -> None:
    other = run(replace(trained, out=tmp_path / "other", seed=6, split_seed=trained.seed))
    first = load(trained.out).card
    assert other.card.provenance["split"] == first.provenance["split"]
    assert other.card.weights != first.weights


def with_sources(dataset: Path, folder: Path) -> Path:
    """Return a table of the films in which every fifth patient is of the source ``far``."""
    header, *rows = (dataset / "labels.csv").read_text().splitlines()
    sources = ("far" if int(row.split(",")[2]) % 5 == 4 else "near" for row in rows)
    lines = [f"{row},{source}" for row, source in zip(rows, sources, strict=True)]
    (folder / "sources.csv").write_text("\n".join([f"{header},source", *lines]) + "\n")
    return folder / "sources.csv"


def test_a_training_only_source_trains_at_its_share(
    dataset: Path, trained: TrainingConfig, tmp_path: Path
) -> None:
    before = load(trained.out).card.provenance
    bundle = run(
        replace(
            trained,
            labels=with_sources(dataset, tmp_path),
            out=tmp_path / "bundle",
            init=trained.out,
            batch_size=12,
            training_only=("far",),
            training_only_share=0.2,
        )
    )
    provenance = bundle.card.provenance
    assert provenance["training_only"] == ["far"]
    assert 0 < provenance["split"]["films"]["held_out"] < before["split"]["films"]["held_out"]
    stage = provenance["stages"][-1]
    far = stage["films_of_training_only_sources"]
    assert far == 16
    assert stage["log"][0]["step"] == (stage["films"] - far + round(0.2 * far)) // 12
    scored = held_out_films(bundle, load_labels(dataset, tmp_path / "sources.csv").records)
    assert scored is not None
    assert {record.source for record in scored} == {"near"}
    assert len(scored) == bundle.card.metrics["held_out"]["images"]


def test_a_mistyped_source_is_refused(dataset: Path, tmp_path: Path) -> None:
    labels = with_sources(dataset, tmp_path)
    config = config_for(dataset, tmp_path / "bundle", labels=labels, training_only=("fra",))
    with pytest.raises(DataError, match="'fra'; the label table has far, near"):
        run(config)


@pytest.mark.slow
def test_soft_logits_are_learnt_and_named(dataset: Path, tmp_path: Path) -> None:
    images = [f"{patient:04d}_000.png" for patient in range(40)]
    soft = teacher_table(tmp_path / "soft.csv", images, 0.9)
    changes = {"soft_targets": soft, "soft_targets_from": "a larger network", "ema_decay": 0.0}
    alone = run(config_for(dataset, tmp_path / "alone", ema_decay=0.0))
    taught = run(
        config_for(
            dataset, tmp_path / "taught", soft_loss=SoftLoss.LOGIT, soft_weight=1.0, **changes
        )
    )
    assert taught.card.provenance["teachers"] == ["a larger network"]
    change = taught.network().classifier.bias - alone.network().classifier.bias
    assert float(change.detach().mean()) > 0.001


@pytest.mark.slow
def test_a_student_follows_its_teachers(
    dataset: Path, trained: TrainingConfig, tmp_path: Path
) -> None:
    sure = load(trained.out)
    network = sure.network()
    with torch.no_grad():
        network.classifier.weight.zero_()
        network.classifier.bias.fill_(3.0)
    Bundle.build(network, sure.card).save(tmp_path / "sure")
    teachers = (tmp_path / "sure", trained.out)
    alone = run(config_for(dataset, tmp_path / "alone", ema_decay=0.0))
    taught = run(
        config_for(
            dataset, tmp_path / "taught", ema_decay=0.0, teachers=teachers, teacher_weight=1.0
        )
    )
    (stage,) = taught.card.provenance["stages"]
    assert stage["settings"]["teachers"] == ["sure", "bundle"]
    assert stage["teachers_sha256"] == [load(path).sha256 for path in teachers]
    # Each step moves a bias by about the learning rate, towards what it is taught.
    change = taught.network().classifier.bias - alone.network().classifier.bias
    assert float(change.detach().mean()) > 0.001


def test_a_teacher_that_has_seen_the_held_out_patients_is_refused(
    trained: TrainingConfig, tmp_path: Path
) -> None:
    with pytest.raises(PatientOverlapError, match="with another split"):
        run(replace(trained, out=tmp_path / "leak", teachers=(trained.out,), seed=6))


def test_a_patient_of_another_table_is_recognised(
    dataset: Path, trained: TrainingConfig, tmp_path: Path
) -> None:
    rows = (dataset / "labels.csv").read_text().splitlines()
    fewer = [row for row in rows if not row.split(",")[2].startswith("39")]
    (tmp_path / "labels.csv").write_text("\n".join(fewer) + "\n")
    other = replace(trained, labels=tmp_path / "labels.csv", out=tmp_path / "leak")
    for learnt in ({"init": trained.out}, {"teachers": (trained.out,)}):
        with pytest.raises(PatientOverlapError, match="cxrd-model was fitted on"):
            run(replace(other, **learnt))


@pytest.mark.slow
def test_blended_films_and_half_precision_train_too(dataset: Path, tmp_path: Path) -> None:
    config = config_for(
        dataset, tmp_path / "bundle", mixup=0.4, precision=Precision.BFLOAT16, stop_after=1
    )
    first = run(config)
    (stage,) = first.card.provenance["stages"]
    assert (stage["settings"]["mixup"], stage["settings"]["precision"]) == (0.4, "bfloat16")
    assert np.isfinite(stage["log"][0]["train_loss"])
    plain = run(config_for(dataset, tmp_path / "plain", stop_after=1))
    assert first.card.weights != plain.card.weights
    assert all(tensor.dtype != torch.bfloat16 for tensor in first.network().state_dict().values())


def test_small_films_only_train(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no patient is left for the validation part"):
        run(config_for(dataset, tmp_path / "out", evaluation_min_side=100))
    with pytest.raises(TrainingError, match="no training film has 100 pixels"):
        run(config_for(dataset, tmp_path / "out", min_side=100))


def test_imagenet_weights_keep_their_features(monkeypatch: pytest.MonkeyPatch) -> None:
    published = DenseNet121(unused=1000 - len(LABELS)).state_dict()
    old = {
        key.replace("norm1", "norm.1").replace("conv2", "conv.2"): value
        for key, value in published.items()
        if not key.endswith("num_batches_tracked")
    }
    monkeypatch.setattr(initialisation, "load_state_dict_from_url", lambda *_, **__: old)
    network = initialisation.initial_network(Initialisation.IMAGENET)
    key = "features.denseblock1.denselayer1.conv2.weight"
    assert torch.equal(network.state_dict()[key], published[key])
    assert network.classifier.out_features == len(LABELS)


def test_imagenet_weights_without_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(initialisation, "load_state_dict_from_url", offline)
    with pytest.raises(TrainingError, match="cannot be downloaded"):
        initialisation.initial_network(Initialisation.IMAGENET)


def test_a_start_that_is_no_bundle(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle at"):
        run(config_for(dataset, tmp_path / "out", init=tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"held_out_fraction": 0.9}, "leave patients to train on"),
        ({"specificity": 1.0}, "specificity must lie between"),
        ({"max_false_calls": 0.0}, "max false calls must lie between 0 and 14"),
        ({"soft_weight": 2.0}, "soft_weight must lie between"),
        ({"teacher_weight": -0.1}, "teacher_weight must lie between"),
        ({"mixup": -1.0}, "mixup must not be negative"),
        ({"pretrain_share": 1.0}, "pretrain_share must be below 1"),
        ({"batch_size": 1000}, "do not fill one batch"),
    ],
)
def test_settings_that_cannot_train(
    dataset: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        run(config_for(dataset, tmp_path / "out", **changes))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA GPU")
def test_a_gpu_that_is_not_there(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no CUDA GPU"):
        run(config_for(dataset, tmp_path / "out", device=Device.CUDA))
