"""A site trains a check of its own; the same pictures and seed give the same weights."""

import datetime
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxr_model.check.appearance import View
from cxr_model.check.picture_check import WEIGHTS_FILE, PictureCheck
from cxr_model.check.training.drawings import drawn
from cxr_model.check.training.make_check import CheckSettings, train_check
from cxr_model.errors import TrainingError
from dicom_io.phantom import PhantomView
from tests.builders.pictures import film_picture

NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for folder in ("frontal", "lateral", "other"):
        (root / folder).mkdir()
    for n in range(110):
        film = film_picture(rows=64, columns=56, seed=n, heart_failure=bool(n % 2))
        cv2.imwrite(str(root / "frontal" / f"p{n}_0.png"), film)
    for n in range(12):
        film = film_picture(rows=64, columns=56, seed=n, view=PhantomView.LL)
        cv2.imwrite(str(root / "lateral" / f"p{n}_0.png"), film)
        cv2.imwrite(str(root / "other" / f"p{n}_0.png"), drawn(rng))
    return root


def settings(pictures: Path, out: Path) -> CheckSettings:
    return CheckSettings(
        out=out,
        frontal=[pictures / "frontal"],
        lateral=[pictures / "lateral"],
        other=[pictures / "other"],
        held_out=0.3,
        validation=0.3,
        copies=1,
        drawn=40,
    )


@pytest.mark.slow
def test_the_same_pictures_give_the_same_weights(pictures: Path, tmp_path: Path) -> None:
    check, figures = train_check(settings(pictures, tmp_path / "a"), NOW)
    train_check(settings(pictures, tmp_path / "b"), NOW)
    first, second = (tmp_path / name / WEIGHTS_FILE for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    loaded = PictureCheck.load(tmp_path / "a")
    assert loaded.card == check.card
    assert loaded.examine(film_picture(seed=999)).view is View.FRONTAL
    refused = next(f for f in figures if f.name == "refused")
    assert refused.share == 0.0
    assert 0.0 < refused.high < 0.3
    turned = next(f for f in figures if f.name == "turned: right")
    assert turned.pictures == 3 * refused.pictures


def test_too_few_films_are_refused(pictures: Path, tmp_path: Path) -> None:
    few = CheckSettings(
        out=tmp_path, frontal=[pictures / "lateral"], other=[pictures / "other"], held_out=0.3
    )
    with pytest.raises(TrainingError, match="frontal films; at least"):
        train_check(few, NOW)
