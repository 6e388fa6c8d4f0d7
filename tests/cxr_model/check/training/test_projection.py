"""A volume is read in the patient's axes and projected as a radiographer would see it."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cxr_model.check.training.projection import cut, project, read_volume
from cxr_model.errors import DataError


def nifti(hounsfield: NDArray[np.int16], signs: tuple[int, int, int]) -> bytes:
    """A NIfTI-1 file whose axes run along x, y, z of the patient, or against it."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *hounsfield.shape, 1, 1, 1, 1)
    struct.pack_into("<h", header, 70, 4)
    struct.pack_into("<3f", header, 108, 352.0, 1.0, 0.0)
    affine = np.zeros((3, 4), dtype=np.float32)
    affine[[0, 1, 2], [0, 1, 2]] = np.array(signs) * 5.0
    struct.pack_into("<12f", header, 280, *affine.ravel())
    header[344:348] = b"n+1\0"
    return bytes(header) + hounsfield.tobytes(order="F")


def body() -> NDArray[np.int16]:
    """Air with a body that is twice as wide (x) as deep (y), and a dense block.

    Axes run to the patient's left, back and feet; the block is left, in front and near the feet.
    """
    volume = np.full((80, 60, 70), -1000, dtype=np.int16)
    volume[8:72, 14:46, :] = -700
    volume[52:70, 16:26, 50:66] = 900
    return volume


# NIfTI's x grows to the patient's right unless negative, y to the front, z to the head; the array
# of `body` runs the other way along each.
@pytest.mark.parametrize("flips", [(), (0,), (1,), (2,), (0, 1, 2)])
def test_the_axes_of_the_file_do_not_matter(tmp_path: Path, flips: tuple[int, ...]) -> None:
    signs = tuple(1 if axis in flips else -1 for axis in range(3))
    array = np.flip(body(), flips) if flips else body()
    path = tmp_path / "ct.nii.gz"
    path.write_bytes(gzip.compress(nifti(array, (signs[0], signs[1], signs[2]))))
    found = read_volume(path)
    assert found.shape == (120, 160, 140)
    depth, width, height = (np.argwhere(found > 1.5)[:, axis].mean() for axis in range(3))
    assert depth < 60
    assert width > 80
    assert height > 70


def test_a_frontal_film_has_the_left_side_on_its_right(tmp_path: Path) -> None:
    path = tmp_path / "ct.nii"
    path.write_bytes(nifti(body(), (-1, -1, -1)))
    film = project(read_volume(path), 0.0, np.random.default_rng(0))
    rows, columns = np.nonzero(film > 220)
    assert columns.mean() > film.shape[1] / 2
    assert rows.mean() > film.shape[0] / 2


def test_a_lateral_film_is_narrower(tmp_path: Path) -> None:
    path = tmp_path / "ct.nii"
    path.write_bytes(nifti(body(), (-1, -1, -1)))
    volume = read_volume(path)
    rng = np.random.default_rng(0)
    widths = [
        np.mean([project(volume, degrees, rng).shape[1] for _ in range(4)]) for degrees in (0, 90)
    ]
    assert widths[1] < 0.8 * widths[0]
    assert cut(volume, rng).dtype == np.uint8


@pytest.mark.parametrize("data", [b"", b"\0" * 400, nifti(body(), (-1, -1, -1))[:5000]])
def test_another_file_is_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "ct.nii"
    path.write_bytes(data)
    with pytest.raises(DataError, match="not a NIfTI-1 volume") as error:
        read_volume(path)
    assert "\n" not in str(error.value)
