"""The shipped check reads drawn films as films, and refuses altered files in one line."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load, save

from cxr_model.check.appearance import View
from cxr_model.check.description import standard
from cxr_model.check.picture_check import CARD_FILE, SHIPPED, WEIGHTS_FILE, PictureCheck
from cxr_model.errors import BundleError
from dicom_io.phantom import PhantomView
from tests.builders.pictures import film_picture


@pytest.fixture(scope="module")
def check() -> PictureCheck:
    return PictureCheck.load()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in (CARD_FILE, WEIGHTS_FILE):
        (tmp_path / name).write_bytes((SHIPPED / name).read_bytes())
    return tmp_path


@pytest.mark.parametrize("heart_failure", [False, True])
@pytest.mark.parametrize("size", [(256, 224), (1024, 896), (300, 500)])
def test_a_drawn_film_is_a_frontal_chest(
    check: PictureCheck, heart_failure: bool, size: tuple[int, int]
) -> None:
    picture = film_picture(rows=size[0], columns=size[1], heart_failure=heart_failure)
    found = check.examine(picture)
    assert (found.view, found.turned, found.inverted) == (View.FRONTAL, 0, False)
    assert not found.mirrored


def test_a_drawn_lateral_is_a_lateral(check: PictureCheck) -> None:
    assert check.examine(film_picture(view=PhantomView.LL)).view is View.LATERAL


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("inverted", [False, True])
def test_a_turned_or_inverted_film_is_seen_so(
    check: PictureCheck, quarters: int, inverted: bool
) -> None:
    picture = np.rot90(film_picture(), -quarters)
    found = check.examine(255 - picture if inverted else picture)
    assert found.view is View.FRONTAL
    assert (found.turned, found.inverted) == (90 * quarters, inverted)
    mirrored = np.rot90(film_picture()[:, ::-1], -quarters)
    assert check.examine(mirrored).turned == 90 * quarters
    # A drawing need not reach the threshold of the note, which real films set.
    right, wrong = (check.probabilities(standard(p)).mirrored for p in (picture, mirrored))
    assert right < 0.5 < wrong


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((64, 64), dtype=np.uint8),
        np.full((300, 200), 200, dtype=np.uint8),
        np.tile(np.arange(256, dtype=np.uint8), (256, 1)),
        np.random.default_rng(3).integers(0, 256, (256, 256)).astype(np.uint8),
        np.ones((1, 1), dtype=np.uint8),
    ],
    ids=["black", "grey", "gradient", "noise", "pixel"],
)
def test_a_picture_of_nothing_is_something_else(
    check: PictureCheck, picture: NDArray[np.uint8]
) -> None:
    assert check.examine(picture).view is View.OTHER


def edited(card: bytes, **changes: Any) -> bytes:
    return json.dumps(json.loads(card) | changes).encode()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": "cxrd-bundle/1"}, "not one of a picture check"),
        ({"thresholds": {}}, "no threshold frontal"),
        ({"thresholds": None}, "thresholds is not a table"),
        ({"sha256": "0" * 64}, "sha256 is"),
        ({"sha256": 3}, "sha256 is not one line"),
        ({"name": "a\nb"}, "name is not one line"),
    ],
)
def test_a_wrong_card_is_refused(copy: Path, changes: dict[str, Any], reason: str) -> None:
    card = copy / CARD_FILE
    card.write_bytes(edited(card.read_bytes(), **changes))
    with pytest.raises(BundleError, match=reason) as error:
        PictureCheck.load(copy)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", "-0.1", "1.5", "true", '"0.5"'])
def test_a_threshold_is_a_number_between_0_and_1(copy: Path, value: str) -> None:
    card = json.loads((copy / CARD_FILE).read_bytes())
    card["thresholds"]["frontal"] = "HERE"
    (copy / CARD_FILE).write_text(json.dumps(card).replace('"HERE"', value))
    with pytest.raises(BundleError, match=r"threshold frontal|not JSON"):
        PictureCheck.load(copy)


def with_weights(folder: Path, data: bytes) -> None:
    (folder / WEIGHTS_FILE).write_bytes(data)
    card = folder / CARD_FILE
    card.write_bytes(edited(card.read_bytes(), sha256=hashlib.sha256(data).hexdigest()))


@pytest.mark.parametrize("head", ["orientation", "mirror.third", "view"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_finite_numbers_are_refused(
    copy: Path, head: str, value: float
) -> None:
    tensors = load((copy / WEIGHTS_FILE).read_bytes())
    tensors[f"{head}.kernel"][7, 3] = value
    with_weights(copy, save(tensors))
    with pytest.raises(BundleError, match=f"{head}.kernel are not all finite"):
        PictureCheck.load(copy)


def test_weights_of_another_shape_are_refused(copy: Path) -> None:
    tensors = load((copy / WEIGHTS_FILE).read_bytes())
    tensors["view.out_bias"] = np.zeros(4, dtype=np.float32)
    with_weights(copy, save(tensors))
    with pytest.raises(BundleError, match=r"no view.out_bias of shape \(3,\)"):
        PictureCheck.load(copy)


@pytest.mark.parametrize("data", [b"", b"\0" * 64, b"{}"])
def test_weights_that_are_no_tensors_are_refused(copy: Path, data: bytes) -> None:
    with_weights(copy, data)
    with pytest.raises(BundleError) as error:
        PictureCheck.load(copy)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("missing", [CARD_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_named(copy: Path, missing: str) -> None:
    (copy / missing).unlink()
    with pytest.raises(BundleError, match=missing):
        PictureCheck.load(copy)
