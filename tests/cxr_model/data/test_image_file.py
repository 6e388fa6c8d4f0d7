"""PNG and JPEG files as grey pixels; damaged files are refused."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_model.data.image_file import MAX_PIXELS, read_image, shortest_side
from cxr_model.errors import ImageError

RAMP = np.tile(np.arange(200, dtype=np.uint8), (150, 1))


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def test_grey_is_kept_as_it_is(tmp_path: Path) -> None:
    read = read_image(save(tmp_path / "a.png", Image.fromarray(RAMP)))
    assert read.dtype == np.uint8
    assert np.array_equal(read, RAMP)


@pytest.mark.parametrize("mode", ["RGB", "P", "LA"])
def test_grey_in_another_mode(tmp_path: Path, mode: str) -> None:
    grey = Image.fromarray(RAMP)
    image = grey.quantize(256) if mode == "P" else grey.convert(mode)
    assert np.array_equal(read_image(save(tmp_path / "a.png", image)), RAMP)


def test_transparency_is_black(tmp_path: Path) -> None:
    pixels = np.full((20, 20, 4), 200, dtype=np.uint8)
    pixels[:10, :, 3], pixels[10:, :, 3] = 0, 255
    read = read_image(save(tmp_path / "a.png", Image.fromarray(pixels)))
    assert set(read[:10].ravel()) == {0}
    assert set(read[10:].ravel()) == {200}


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_wide_values_fill_eight_bits(tmp_path: Path, bits: int) -> None:
    wide = np.tile(np.linspace(0, 2**bits - 1, 150).astype(np.uint16), (9, 1))
    read = read_image(save(tmp_path / "a.png", Image.fromarray(wide)))
    assert (read.min(), read.max()) == (0, 255)
    assert np.abs(read - wide / (2**bits - 1) * 255).max() <= 0.5 + 1e-3


def test_eight_bits_in_a_wide_file_are_not_stretched(tmp_path: Path) -> None:
    read = read_image(save(tmp_path / "a.png", Image.fromarray(RAMP.astype(np.uint16))))
    assert np.array_equal(read, RAMP)


def test_a_jpeg_is_turned_by_its_exif_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    read = read_image(save(tmp_path / "a.jpg", Image.fromarray(RAMP), exif=exif, quality=95))
    assert read.shape == (200, 150)
    assert np.abs(read.astype(int) - np.rot90(RAMP, -1).astype(int)).mean() < 2


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_every_truncation_is_noticed(tmp_path: Path, kind: str) -> None:
    buffer = BytesIO()
    Image.fromarray(RAMP).save(buffer, kind)
    whole = buffer.getvalue()
    path = tmp_path / "cut.png"
    for length in [*range(0, len(whole), 7), *range(len(whole) - 20, len(whole))]:
        path.write_bytes(whole[:length])
        with pytest.raises(ImageError, match=r"cut\.png"):
            read_image(path)


def test_altered_byte_of_a_png_is_noticed(tmp_path: Path) -> None:
    buffer = BytesIO()
    Image.fromarray(RAMP).save(buffer, "PNG")
    for position in range(8, len(buffer.getvalue()), 5):
        damaged = bytearray(buffer.getvalue())
        damaged[position] ^= 0x10
        (tmp_path / "bad.png").write_bytes(damaged)
        with pytest.raises(ImageError, match=r"bad\.png"):
            read_image(tmp_path / "bad.png")


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "empty"), (b"GIF89a" + bytes(50), "not a PNG"), (b"\x89PNG\r\n", "header")],
)
def test_an_unreadable_file_is_refused_with_the_reason(
    tmp_path: Path, data: bytes, words: str
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=words):
        read_image(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="directory"):
        read_image(tmp_path)


@pytest.mark.parametrize("side", [8_100, 14_000])
def test_decompression_bombs_are_refused(tmp_path: Path, side: int) -> None:
    assert side * side > MAX_PIXELS
    path = save(tmp_path / "bomb.png", Image.new("1", (side, side)))
    assert path.stat().st_size < 100_000
    with pytest.raises(ImageError, match="pixels"):
        read_image(path)


def test_shortest_side_is_read_from_the_header(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((30, 50), dtype=np.uint8)).save(tmp_path / "film.png")
    assert shortest_side(tmp_path / "film.png") == 30
    (tmp_path / "text.png").write_bytes(b"not a picture")
    with pytest.raises(ImageError, match=r"text\.png"):
        shortest_side(tmp_path / "text.png")
