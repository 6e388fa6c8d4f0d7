"""Pictures that are no chest film, drawn or cut from other pictures."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]

_SIDE = 160


def drawn(rng: np.random.Generator) -> Grey:
    """Return a drawn picture (rows, cols): noise, a gradient, text, shapes or overlapping discs."""
    kinds: tuple[Callable[[np.random.Generator], Grey], ...] = (
        _uniform,
        _noise,
        _cloud,
        _gradient,
        _page,
        _discs,
        _discs,
        _bones,
        _bones,
        _stripes,
    )
    return kinds[rng.integers(len(kinds))](rng)


def broken(film: Grey, rng: np.random.Generator) -> Grey:
    """Return parts of a chest film that together are none: shuffled, doubled, or one small cut."""
    way = rng.integers(4)
    if way == 0:
        return _shuffled(film, rng)
    if way == 1:
        return _cut(film, rng)
    rows, columns = film.shape
    if way == 2:
        half = film[:, : columns // 2] if rng.random() < 0.5 else film[:, columns // 2 :]
        return np.ascontiguousarray(half)
    first = film[: rows // 2] if rng.random() < 0.5 else film[rows // 2 :]
    return np.vstack([first, first[:: 1 if rng.random() < 0.5 else -1]])


def _shuffled(film: Grey, rng: np.random.Generator) -> Grey:
    parts = int(rng.integers(2, 5))
    side = _SIDE // parts
    square = cv2.resize(film, (side * parts, side * parts), interpolation=cv2.INTER_AREA)
    blocks = square.reshape(parts, side, parts, side).swapaxes(1, 2).reshape(-1, side, side)
    order = rng.permutation(len(blocks))
    while np.array_equal(order, np.arange(len(blocks))):
        order = rng.permutation(len(blocks))
    mixed = blocks[order].reshape(parts, parts, side, side).swapaxes(1, 2)
    return np.ascontiguousarray(mixed.reshape(side * parts, side * parts), dtype=np.uint8)


def _cut(film: Grey, rng: np.random.Generator) -> Grey:
    rows, columns = film.shape
    height, width = (int(n * rng.uniform(0.2, 0.45)) for n in (rows, columns))
    top = int(rng.uniform(0, rows - height))
    left = int(rng.uniform(0, columns - width))
    return np.ascontiguousarray(film[top : top + height, left : left + width])


def _uniform(rng: np.random.Generator) -> Grey:
    return np.full((_SIDE, _SIDE), rng.integers(256), dtype=np.uint8)


def _noise(rng: np.random.Generator) -> Grey:
    grain = max(2, int(_SIDE / rng.uniform(1, 20)))
    noise = rng.integers(0, 256, (grain, grain)).astype(np.uint8)
    return np.asarray(cv2.resize(noise, (_SIDE, _SIDE)), dtype=np.uint8)


def _cloud(rng: np.random.Generator) -> Grey:
    """Return noise whose spectrum falls as that of natural pictures does."""
    fy, fx = np.meshgrid(np.fft.fftfreq(_SIDE), np.fft.rfftfreq(_SIDE), indexing="ij")
    fall = np.hypot(fy, fx * rng.uniform(0.5, 2.0)) + 1.0 / _SIDE
    spectrum = np.fft.rfft2(rng.normal(size=(_SIDE, _SIDE))) / fall ** rng.uniform(0.8, 2.2)
    return _levels(np.fft.irfft2(spectrum, (_SIDE, _SIDE)))


def _gradient(rng: np.random.Generator) -> Grey:
    y, x = np.mgrid[-1 : 1 : _SIDE * 1j, -1 : 1 : _SIDE * 1j]
    a, b, c, d = rng.normal(size=4)
    return _levels(a * x + b * y + c * x * y + d * (x**2 + y**2) * rng.integers(2))


def _page(rng: np.random.Generator) -> Grey:
    """Return lines of text, sometimes with a box."""
    page = np.full((_SIDE, _SIDE), 255, dtype=np.uint8)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz     ABC0123"))
    size = rng.uniform(0.2, 0.5)
    for line in range(int(rng.integers(3, 8)), _SIDE, int(rng.integers(7, 16))):
        text = "".join(rng.choice(letters, 60))[: int(rng.integers(10, 60))]
        cv2.putText(page, text, (6, line), cv2.FONT_HERSHEY_SIMPLEX, size, 0, 1)
    if rng.random() < 0.4:
        x, y = (int(v) for v in rng.integers(0, _SIDE // 2, 2))
        page[y : y + 60, x : x + 60] = rng.integers(256)
    return page if rng.random() < 0.7 else np.asarray(255 - page, dtype=np.uint8)


def _discs(rng: np.random.Generator) -> Grey:
    """Return objects that cover each other, the 'dead leaves' of natural scenes, with texture."""
    scene = np.zeros((_SIDE, _SIDE), dtype=np.uint8)
    for _ in range(int(rng.integers(5, 120))):
        centre = [int(v) for v in rng.uniform(0, _SIDE, 2)]
        radii = [max(1, int(v)) for v in rng.uniform(3, 70, 2) * rng.uniform(0.2, 1.0)]
        angle = float(rng.uniform(0, 180))
        if rng.random() < 0.7:
            cv2.ellipse(scene, centre, radii, angle, 0, 360, int(rng.integers(256)), -1)
        else:
            corners = cv2.boxPoints((centre, radii, angle)).astype(np.int32)
            cv2.fillPoly(scene, [corners], int(rng.integers(256)))
    texture = rng.normal(0.0, rng.uniform(0, 20), scene.shape)
    return np.asarray(np.clip(scene + texture, 0, 255), dtype=np.uint8)


def _bones(rng: np.random.Generator) -> Grey:
    """Return soft shafts and knobs on a dark ground, as of limbs, pelvis, spine or skull."""
    scene = np.zeros((_SIDE, _SIDE), dtype=np.float32)
    y, x = np.mgrid[0:_SIDE, 0:_SIDE].astype(np.float32)
    for _ in range(int(rng.integers(1, 9))):
        layer = np.zeros((_SIDE, _SIDE), dtype=np.uint8)
        start = [int(v) for v in rng.uniform(-20, _SIDE + 20, 2)]
        end = [int(v) for v in rng.uniform(-20, _SIDE + 20, 2)]
        width = int(rng.uniform(4, 45))
        cv2.line(layer, start, end, 1, width)
        if rng.random() < 0.6:
            cv2.circle(layer, end, int(width * rng.uniform(0.5, 1.2)), 1, -1)
        if rng.random() < 0.4:
            inner = np.zeros_like(layer)
            cv2.line(inner, start, end, 1, max(1, int(width * 0.6)))
            layer = layer - (inner & layer) // 2
        soft = cv2.GaussianBlur(layer.astype(np.float32), (0, 0), rng.uniform(0.5, 4))
        scene += soft * rng.uniform(0.3, 1.0)
    flesh = np.exp(-(((x - _SIDE / 2) / rng.uniform(20, 120)) ** 2))
    flesh = flesh * np.exp(-(((y - _SIDE / 2) / rng.uniform(40, 200)) ** 2))
    return _levels(scene + rng.uniform(0.0, 1.0) * flesh + rng.normal(0, 0.02, scene.shape))


def _stripes(rng: np.random.Generator) -> Grey:
    y, x = np.mgrid[0:_SIDE, 0:_SIDE]
    angle, period = rng.uniform(0, np.pi), rng.uniform(4, 60)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period)
    other = np.sin((y * np.cos(angle) - x * np.sin(angle)) * 2 * np.pi / period)
    return _levels(np.sign(wave) * (np.sign(other) if rng.random() < 0.5 else 1.0) + 0.1 * wave)


def _levels(values: NDArray[np.floating]) -> Grey:
    low, high = float(values.min()), float(values.max())
    return np.asarray((values - low) / max(high - low, 1e-9) * 255, dtype=np.uint8)
