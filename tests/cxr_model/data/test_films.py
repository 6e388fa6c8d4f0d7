"""Films of training and scoring: targets, classes, epochs and batches."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cxr_model.data.augmentation_settings import Augmentation
from cxr_model.data.chestxray14 import load_labels
from cxr_model.data.films import (
    NO_CLASS,
    Draw,
    EpochDraws,
    EpochSampler,
    Film,
    FilmDataset,
    class_films,
    films_with_soft_logits,
    labelled_films,
    scoring_batches,
)
from cxr_model.errors import DataError
from cxr_model.predict.transform import InputSpec
from tests.builders.images.films_on_disk import make_film, simple_dataset
from tests.cxr_model.data.test_augmentation import STILL

SPEC = InputSpec(32)


def folders(root: Path, *names: str) -> Path:
    rng = np.random.default_rng(0)
    for name in names:
        for number in range(3):
            make_film(root / name / f"{number}.jpg", bright=False, rng=rng)
    return root


def test_teacher_and_label_are_mixed(tmp_path: Path) -> None:
    records = load_labels(tmp_path, simple_dataset(tmp_path, patients=2)).records
    soft = {records[0].image: np.full(14, 0.2, np.float32)}
    first, second, *_ = labelled_films(records, soft, 0.25)
    assert first.targets is not None
    assert first.targets[2] == pytest.approx(0.8)
    assert first.targets[0] == pytest.approx(0.05)
    assert second.targets == records[1].labels


def test_folders_become_classes(tmp_path: Path) -> None:
    films, names = class_films(folders(tmp_path, "normal", "pneumonia"))
    assert names == ("normal", "pneumonia")
    assert [film.category for film in films] == [0, 0, 0, 1, 1, 1]
    assert all(film.targets is None for film in films)


def test_a_single_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least two sub-folders"):
        class_films(folders(tmp_path, "normal"))


def test_a_film_depends_on_its_draw_alone(tmp_path: Path) -> None:
    films, _ = class_films(folders(tmp_path, "a", "b"))
    dataset = FilmDataset(films, SPEC, Augmentation())
    first, again, other, plain = (dataset[Draw(4, seed)] for seed in (7, 7, 8, -1))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    assert torch.equal(plain.images, FilmDataset(films, SPEC)[Draw(4, 7)].images)
    assert (int(first.classes), bool(first.known)) == (1, False)


def test_an_epoch_is_every_labelled_film_once_and_a_share_of_others() -> None:
    films = [Film(Path("x"), (0.0,) * 14)] * 30 + [Film(Path("y"), None, 0)] * 50
    draws = EpochDraws.of(films, 0.25)
    assert draws == EpochDraws(((30, 30), (0, 0), (50, 10)))
    sampler = EpochSampler(draws, 4, seed=1, epoch=0)
    drawn = [draw.film for batch in sampler for draw in batch]
    assert len(drawn) == len(set(drawn)) == len(sampler) * 4 == 40
    assert set(range(30)) <= set(drawn)
    others = {film for film in drawn if film >= 30}
    again = EpochSampler(draws, 4, seed=1, epoch=1)
    assert others != {draw.film for batch in again for draw in batch if draw.film >= 30}


def test_an_epoch_has_a_share_of_the_training_only_films() -> None:
    films = [Film(Path("x"), (0.0,) * 14)] * 50
    draws = EpochDraws.of(films, 0.5, reduced=20, keep=0.25)
    drawn = {draw.film for batch in EpochSampler(draws, 5, seed=1, epoch=0) for draw in batch}
    assert draws.count == len(drawn) == 35
    assert set(range(30)) <= drawn


def test_soft_logits_stand_beside_the_labels(tmp_path: Path) -> None:
    records = load_labels(tmp_path, simple_dataset(tmp_path, patients=2)).records
    soft = {records[0].image: np.full(14, 0.2, np.float32)}
    first, second, *_ = films_with_soft_logits(records, soft)
    assert (first.targets, second.targets) == (records[0].labels, records[1].labels)
    assert first.soft == pytest.approx((np.log(0.25),) * 14)
    assert second.soft is None
    batch = next(iter(scoring_batches([first, second], SPEC, 2, 0)))
    assert batch.soft.isfinite().all(dim=1).tolist() == [True, False]


def test_a_film_is_shown_in_its_original_proportions(tmp_path: Path) -> None:
    path = tmp_path / "film.png"
    cv2.imwrite(str(path), np.full((64, 64), 200, np.uint8))
    narrow = FilmDataset([Film(path, (0.0,) * 14, aspect=0.5)], SPEC)[Draw(0, -1)].images
    black = float(narrow.min())
    assert (narrow[0, :, :8] == black).all()
    assert (narrow[0, :, 24:] == black).all()
    assert (narrow[0, :, 9:23] > black).all()
    squeezed = replace(STILL, squeeze=1.0)
    kept = FilmDataset([Film(path, (0.0,) * 14, aspect=0.5)], SPEC, squeezed)[Draw(0, 5)].images
    assert (kept > black).all()


def test_a_resumed_epoch_goes_on_with_the_next_batch() -> None:
    draws = EpochDraws(((20, 20),))
    whole = list(EpochSampler(draws, 4, seed=1, epoch=2))
    assert list(EpochSampler(draws, 4, seed=1, epoch=2, start=3)) == whole[3:]


def test_scoring_reads_every_film_in_order(tmp_path: Path) -> None:
    records = load_labels(tmp_path, simple_dataset(tmp_path, patients=5)).records
    batches = list(scoring_batches(labelled_films(records), SPEC, 4, 0))
    assert [len(batch.images) for batch in batches] == [4, 4, 2]
    targets = torch.cat([batch.targets for batch in batches]).numpy()
    np.testing.assert_array_equal(targets, [record.labels for record in records])
    assert (torch.cat([batch.classes for batch in batches]) == NO_CLASS).all()
