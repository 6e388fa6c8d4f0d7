"""Pictures as PNG: exact, and readable by others."""

import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from daemon.analyse import png


@pytest.mark.parametrize("has_isal", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (33, 1), (120, 91)])
def test_a_picture_comes_back(
    has_isal: bool, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_isal:
        pytest.importorskip("isal")
    monkeypatch.setattr(png, "_has_isal", has_isal)
    rng = np.random.default_rng(3)
    for picture, mode in (
        (rng.integers(0, 256, (*shape, 3)).astype(np.uint8), "RGB"),
        (np.full((*shape, 3), 7, np.uint8), "RGB"),
        (rng.integers(0, 256, shape).astype(np.uint8), "L"),
        (rng.integers(0, 256, (*shape, 4)).astype(np.uint8), "RGBA"),
    ):
        data = png.encode_png(picture)
        with Image.open(BytesIO(data)) as checked:
            checked.verify()
        with Image.open(BytesIO(data)) as read:
            assert read.mode == mode
            assert (np.asarray(read) == picture).all()


def test_the_film_is_compressed() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 400, axis=0).repeat(3, axis=2)
    assert len(png.encode_png(ramp)) < ramp.size / 50
    assert zlib.crc32(b"IEND") == int.from_bytes(png.encode_png(ramp)[-4:], "big")
