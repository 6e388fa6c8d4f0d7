from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dicom_io.gate.pixel_check import assess_image
from dicom_io.gate.reasons import Reason
from dicom_io.read.header import read_dataset
from dicom_io.read.image_header import ImageHeader
from dicom_io.read.pixels import display_pixels
from dicom_io.read.shutter import display_shutter, visible_pixels
from tests.builders.images.films import chest_film, chest_values

ROWS, COLUMNS = 200, 160


def edges(kind: str, left: int, right: int, upper: int, lower: int) -> dict[str, Any]:
    return {
        f"{kind}Shape": "RECTANGULAR",
        f"{kind}LeftVerticalEdge": left,
        f"{kind}RightVerticalEdge": right,
        f"{kind}UpperHorizontalEdge": upper,
        f"{kind}LowerHorizontalEdge": lower,
    }


def seen(**attributes: Any) -> NDArray[np.bool_]:
    mask, _ = visible_pixels(chest_film(**attributes), ROWS, COLUMNS)
    assert mask is not None
    return mask


@pytest.mark.parametrize("kind", ["Shutter", "Collimator"])
def test_a_rectangle_keeps_what_lies_between_its_edges(kind: str) -> None:
    wanted = np.zeros((ROWS, COLUMNS), dtype=bool)
    wanted[10:190, 20:150] = True
    assert (seen(**edges(kind, 21, 150, 11, 190)) == wanted).all()


def test_a_circle_is_given_by_row_and_column() -> None:
    mask = seen(
        ShutterShape="CIRCULAR", CenterOfCircularShutter=[91, 71], RadiusOfCircularShutter=60
    )
    assert mask[90, 70]
    assert mask[90 - 60, 70]
    assert not mask[90 - 61, 70]
    assert not mask[90, 70 + 61]
    assert mask.sum() == pytest.approx(np.pi * 60**2, rel=0.01)


def test_a_polygon_is_given_by_rows_and_columns_and_may_leave_the_image() -> None:
    vertices = [101, 1, 101, COLUMNS, ROWS + 50, COLUMNS + 9, ROWS + 50, -20]
    mask = seen(CollimatorShape="POLYGONAL", VerticesOfThePolygonalCollimator=vertices)
    assert not mask[:99].any()
    assert mask[101:].all()


def test_each_of_several_shapes_hides_its_outside() -> None:
    both = {
        **edges("Shutter", 1, 150, 1, 190),
        "ShutterShape": ["RECTANGULAR", "CIRCULAR"],
        "CenterOfCircularShutter": [100, 80],
        "RadiusOfCircularShutter": 90,
        **edges("Collimator", 30, 160, 1, 200),
    }
    mask = seen(**both)
    assert mask[100, 80]
    assert not mask[0, 29]
    assert not mask[:, :29].any()
    assert not mask[:, 150:].any()


@pytest.mark.parametrize(
    "attributes",
    [
        edges("Shutter", 1, 20, 1, 20),
        edges("Shutter", 100, 50, 1, 200),
        edges("Collimator", -80, 80, 1, 200),
        edges("Collimator", 0, 1600, 0, 2000),
        {"ShutterShape": "RECTANGULAR"},
        {"ShutterShape": "BITMAP"},
        {"CollimatorShape": "CIRCULAR", "RadiusOfCircularCollimator": 50},
        {"CollimatorShape": "POLYGONAL", "VerticesOfThePolygonalCollimator": [1, 1, 5, 5]},
        {
            "CollimatorShape": "POLYGONAL",
            "VerticesOfThePolygonalCollimator": [1, 1, 2000000000, 5, 7, 9],
        },
    ],
)
def test_an_invalid_shape_is_noted_and_ignored(attributes: dict[str, Any]) -> None:
    mask, notes = visible_pixels(chest_film(**attributes), ROWS, COLUMNS)
    assert mask is None
    assert len(notes) == 1
    assert "was ignored" in notes[0]


def test_edges_of_a_real_film_outside_the_image_are_ignored(data_folder: Path) -> None:
    ds = read_dataset(next((data_folder / "dicom" / "real").glob("03_*")))
    assert ds.CollimatorLeftVerticalEdge == -184
    image = display_pixels(ImageHeader.of(ds))
    assert image.hidden() is None
    assert any("CollimatorShape RECTANGULAR cannot be followed" in note for note in image.notes)


def test_a_shape_that_hides_no_pixel_is_not_noted() -> None:
    assert visible_pixels(chest_film(), ROWS, COLUMNS) == (None, ())
    whole = chest_film(**edges("Collimator", 0, COLUMNS, 0, ROWS))
    assert visible_pixels(whole, ROWS, COLUMNS) == (None, ())


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2", "RGB"])
def test_hidden_pixels_are_black_and_take_no_part_in_the_contrast(photometric: str) -> None:
    values = chest_values(ROWS, COLUMNS, 8)
    values = np.stack([values] * 3, -1) if photometric == "RGB" else values * 10 + 300
    glare = values.copy()
    glare[:, :20] = 255 if photometric == "RGB" else 4095
    inner = edges("Shutter", 21, COLUMNS, 1, ROWS)
    bits = 8 if photometric == "RGB" else 12
    image = display_pixels(
        ImageHeader.of(chest_film(glare, bits_stored=bits, photometric=photometric, **inner))
    )
    alone = display_pixels(
        ImageHeader.of(chest_film(values[:, 20:].copy(), bits_stored=bits, photometric=photometric))
    )
    assert (image.array[:, :20] == 0).all()
    assert (image.array[:, 20:] == alone.array).all()
    assert any("left out" in note for note in image.notes)


def test_a_blank_image_stays_blank_behind_a_shutter() -> None:
    grey = np.full((300, 300), 2000)
    image = display_pixels(
        ImageHeader.of(
            chest_film(
                grey, WindowCenter=2048, WindowWidth=4096, **edges("Shutter", 1, 200, 1, 300)
            )
        )
    )
    assert image.array.max() > 100
    assert assess_image(image).reason is Reason.BLANK_IMAGE


def test_a_second_shape_that_would_hide_the_rest_is_ignored() -> None:
    apart = edges("Shutter", 1, 60, 1, ROWS) | edges("Collimator", 90, COLUMNS, 1, ROWS)
    film = chest_film(chest_values(ROWS, COLUMNS), **apart)
    mask, notes = visible_pixels(film, ROWS, COLUMNS)
    assert mask is not None
    assert mask.mean() == pytest.approx(60 / COLUMNS)
    assert "CollimatorShape RECTANGULAR would leave 0% of the image and was ignored" in notes
    assert display_shutter(film, ROWS, COLUMNS) == ("RECTANGULAR",)
    assert assess_image(display_pixels(ImageHeader.of(film))).reason is None
