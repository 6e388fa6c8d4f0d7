"""Chest films of every direction, projected from a CT volume: laterals, frontals and obliques.

The rays are parallel: the volume is turned about its long axis and summed. The volume is a NIfTI-1
file (.nii or .nii.gz) in Hounsfield units.
"""

import gzip
import struct
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_model.errors import DataError

_MILLIMETRES = 2.5
_MAX_BYTES = 2 * 2**30
_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 512: "u2"}
_HEADER = 352


def read_volume(path: Path) -> NDArray[np.float32]:
    """Return attenuation relative to water, shape (front to back, right to left, head to feet).

    Voxels are cubes of 2.5 mm. Raises DataError if the file is not a NIfTI-1 volume.
    """
    try:
        opener = gzip.open if path.name.endswith(".gz") else open
        with opener(path, "rb") as file:
            data = file.read(_MAX_BYTES)
        values, affine = _parsed(data)
    except (OSError, EOFError, ValueError, KeyError, struct.error) as error:
        raise DataError(f"{path} is not a NIfTI-1 volume: {error}") from error
    return _cubes(_patient_axes(values, affine), affine)


def _parsed(data: bytes) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    if data[344:347] not in (b"n+1", b"ni1"):
        raise ValueError("its header does not say so")
    dimensions = struct.unpack_from("<8h", data, 40)
    shape = dimensions[1:4]
    if min(shape) < 8:
        raise ValueError(f"its dimensions are {shape}")
    kind = np.dtype("<" + _TYPES[struct.unpack_from("<h", data, 70)[0]])
    offset, slope, intercept = struct.unpack_from("<3f", data, 108)
    start = int(offset) or _HEADER
    values = np.frombuffer(data, kind, int(np.prod(shape)), start).reshape(shape, order="F")
    affine = np.array(struct.unpack_from("<12f", data, 280), dtype=np.float64).reshape(3, 4)
    if not np.abs(affine[:, :3]).sum():
        raise ValueError("its orientation (srow) is missing")
    return np.asarray(values, dtype=np.float32) * (slope or 1.0) + intercept, affine


def _patient_axes(values: NDArray[np.float32], affine: NDArray[np.float64]) -> NDArray[np.float32]:
    """Turn the array so that its axes run front to back, right to left, head to feet."""
    directions = affine[:, :3]
    # World axes of NIfTI run to the left of the picture's patient: right, anterior, superior grow.
    sources = [int(np.argmax(np.abs(directions[world]))) for world in (1, 0, 2)]
    turned = np.transpose(values, sources)
    for axis, (world, sign) in enumerate(((1, -1.0), (0, -1.0), (2, -1.0))):
        if directions[world, sources[axis]] * sign < 0:
            turned = np.flip(turned, axis)
    return np.ascontiguousarray(turned)


def _cubes(hounsfield: NDArray[np.float32], affine: NDArray[np.float64]) -> NDArray[np.float32]:
    directions = np.abs(affine[:, :3])
    spacing = [float(directions[world].max()) for world in (1, 0, 2)]
    attenuation = np.clip(1.0 + hounsfield / 1000.0, 0.0, 3.0)
    size = [
        max(8, round(n * mm / _MILLIMETRES))
        for n, mm in zip(attenuation.shape, spacing, strict=True)
    ]
    planes = [
        cv2.resize(plane, (size[1], size[0]), interpolation=cv2.INTER_AREA)
        for plane in np.moveaxis(attenuation, 2, 0)
    ]
    stack = np.stack(planes, axis=2).reshape(size[0] * size[1], -1)
    deep = cv2.resize(stack, (size[2], stack.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(deep, dtype=np.float32).reshape(size)


def project(
    volume: NDArray[np.float32], degrees: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return a film (rows, cols) of the volume, seen `degrees` away from the front.

    0 is a frontal film with the patient's right on the left, 90 and -90 are laterals. The body's
    proportions, the hardness of the rays and the field of the film are drawn from `rng`.
    """
    depth, width, _ = volume.shape
    side = int(np.hypot(depth, width)) + 1
    scale = rng.uniform(0.85, 1.15, 2)
    turn = cv2.getRotationMatrix2D((width / 2, depth / 2), degrees, 1.0)
    stretch = np.diag([scale[0], scale[1], 1.0])
    matrix = (np.vstack([turn, [0.0, 0.0, 1.0]]) @ stretch)[:2]
    matrix[:, 2] += np.array([side / 2, side / 2]) - matrix @ np.array([width / 2, depth / 2, 1.0])
    bone = rng.uniform(0.6, 2.5)
    path = np.zeros((side, volume.shape[2]), dtype=np.float32)
    for level in range(volume.shape[2]):
        plane = volume[:, :, level]
        plane = plane + bone * np.maximum(plane - 1.15, 0.0)
        path[:, level] = cv2.warpAffine(plane, matrix, (side, side)).sum(axis=0)
    return _film(path.T, rng)


def _film(path: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Expose the film: Beer-Lambert law, a field of view, grey levels by percentiles."""
    warped = _warped(path, rng)
    hardness = rng.uniform(0.006, 0.022)
    white = 1.0 - np.exp(-hardness * warped)
    inside = np.flatnonzero(warped.mean(axis=0) > 0.1 * warped.mean())
    first, last = (int(inside[0]), int(inside[-1])) if inside.size > 8 else (0, warped.shape[1] - 1)
    across = last - first
    left = max(0, first + int(rng.uniform(-0.1, 0.2) * across))
    right = min(warped.shape[1], last - int(rng.uniform(-0.1, 0.2) * across))
    rows = warped.shape[0]
    field = white[
        int(rng.uniform(0, 0.12) * rows) : rows - int(rng.uniform(0, 0.2) * rows), left:right
    ]
    low, high = np.percentile(field, [1, 99])
    return np.asarray(np.clip((field - low) / max(high - low, 1e-6), 0, 1) * 255, dtype=np.uint8)


def _warped(path: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Stretch the film and bend it smoothly, so that one patient serves for several."""
    rows, columns = path.shape
    size = (int(columns * rng.uniform(0.9, 1.1)), int(rows * rng.uniform(0.9, 1.15)))
    stretched = cv2.resize(path, size, interpolation=cv2.INTER_LINEAR)
    y, x = np.mgrid[0 : size[1], 0 : size[0]].astype(np.float32)
    for grid, extent in ((x, size[0]), (y, size[1])):
        coarse = rng.normal(0.0, 0.025 * extent, (4, 4)).astype(np.float32)
        grid += cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    return np.asarray(
        cv2.remap(stretched, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT),
        dtype=np.float32,
    )


def cut(volume: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return an axial, coronal or sagittal slice (rows, cols) in a random window."""
    axis = int(rng.integers(3))
    place = int(rng.uniform(0.1, 0.9) * volume.shape[axis])
    plane = np.take(volume, place, axis=axis)
    plane = plane if axis == 2 else plane.T
    low = float(rng.choice([0.0, 0.85]))
    width = float(rng.choice([0.4, 1.3, 2.0]))
    return np.asarray(np.clip((plane - low) / width, 0.0, 1.0) * 255, dtype=np.uint8)
