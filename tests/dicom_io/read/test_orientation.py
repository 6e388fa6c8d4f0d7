from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dicom_io.read.image_header import ImageHeader
from dicom_io.read.orientation import AS_STORED, Pose
from tests.builders.images.films import chest_film, lie_as

ORIENTATIONS = ("L\\F", "R\\F", "L\\H", "R\\H", "F\\L", "F\\R", "H\\L", "H\\R")
MIRRORED = {"R\\F", "L\\H", "F\\L", "H\\R"}


def numbered(rows: int = 5, columns: int = 7) -> NDArray[np.uint8]:
    return np.arange(rows * columns, dtype=np.uint8).reshape(rows, columns)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_is_mapped_to_upright_and_back(orientation: str) -> None:
    upright = numbered()
    stored = lie_as(upright, orientation)
    pose, _ = ImageHeader.of(chest_film(PatientOrientation=orientation.split("\\"))).pose
    assert (pose.to_display(stored) == upright).all()
    assert (pose.to_stored(upright) == stored).all()
    maps = np.stack([upright, upright + 100])
    assert (pose.to_stored(maps)[1] == stored + 100).all()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_mirrored_or_rotated_film_is_noted(orientation: str) -> None:
    pose, notes = ImageHeader.of(chest_film(PatientOrientation=orientation.split("\\"))).pose
    assert pose.is_mirrored is (orientation in MIRRORED)
    said = " ".join(notes)
    assert ("mirrored" in said) is (orientation in MIRRORED)
    assert ("rotated" in said) is (orientation not in {*MIRRORED, "L\\F"})


@pytest.mark.parametrize("value", [None, ["L", "X"], ["L"], "PA"])
def test_without_a_usable_orientation_the_film_counts_as_upright(value: list[str] | None) -> None:
    pose, notes = ImageHeader.of(chest_film(PatientOrientation=value)).pose
    assert pose == AS_STORED
    assert len(notes) == 1
    assert "taken as upright and not mirrored" in notes[0]


@pytest.mark.parametrize("value", [["A", "F"], ["P", "F"], ["L", "R"], ["L", "L"], ["L", "P"]])
def test_directions_of_a_lateral_film_change_no_pixel(value: list[str]) -> None:
    assert ImageHeader.of(chest_film(PatientOrientation=value)).pose == (AS_STORED, ())


def test_oblique_directions_count_by_their_first_letter() -> None:
    pose, _ = ImageHeader.of(chest_film(PatientOrientation=["RA", "FP"])).pose
    assert pose == Pose(columns_reversed=True)


def test_a_rotation_applied_by_the_unit_is_not_repeated() -> None:
    flipped = chest_film(PatientOrientation=["L", "F"], FieldOfViewHorizontalFlip="YES")
    flipped.FieldOfViewRotation = 90
    assert ImageHeader.of(flipped).pose == (AS_STORED, ())


@pytest.mark.parametrize(
    ("spacing", "shape"),
    [([0.2, 0.1], (100, 40)), ([0.1, 0.2], (50, 80)), ([0.1, 0.1005], (100, 80))],
)
def test_pixels_are_made_square_by_shrinking(spacing: list[float], shape: tuple[int, int]) -> None:
    pose, _ = ImageHeader.of(chest_film(PixelSpacing=spacing)).pose
    assert pose.to_display(numbered(100, 80)).shape == shape


@pytest.mark.parametrize(
    ("attributes", "aspect"),
    [
        ({"PixelSpacing": None, "PixelAspectRatio": [3, 2]}, 1.5),
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.2, 0.16]}, 1.25),
        ({"PixelSpacing": [0.1, 0.1], "PixelAspectRatio": [3, 2]}, 1.0),
        ({"PixelSpacing": [0.1, 100]}, 1.0),
    ],
)
def test_the_first_usable_spacing_gives_the_aspect_of_a_pixel(
    attributes: dict[str, Any], aspect: float
) -> None:
    pose, notes = ImageHeader.of(chest_film(PatientOrientation=["L", "F"], **attributes)).pose
    assert pose.aspect == pytest.approx(aspect)
    assert bool(notes) is (aspect != 1.0 or attributes["PixelSpacing"] == [0.1, 100])
