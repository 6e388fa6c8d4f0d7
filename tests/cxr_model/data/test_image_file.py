"""Picture files as grey pixels; damaged files are refused."""

from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, TiffImagePlugin

from cxr_model.data.image_file import MAX_PIXELS, decode_picture, read_image, shortest_side
from cxr_model.errors import ImageError, SeveralImagesError

# Pillow's name of each format, a suffix, and options that keep every value.
LOSSLESS: dict[str, tuple[str, dict[str, object]]] = {
    "TIFF": ("tif", {}),
    "TIFF, LZW": ("tif", {"compression": "tiff_lzw"}),
    "TIFF, deflate": ("tiff", {"compression": "tiff_adobe_deflate"}),
    "BMP": ("bmp", {}),
    "WEBP": ("webp", {"lossless": True}),
    "JPEG2000": ("jp2", {}),
    "JPEG2000, codestream": ("j2k", {"no_jp2": True}),
}
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


def encoded(image: Image.Image, kind: str, **more: object) -> bytes:
    buffer = BytesIO()
    options = LOSSLESS[kind][1] | more if kind in LOSSLESS else more
    image.save(buffer, kind.partition(",")[0], **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_other_formats_keep_every_value(kind: str, mode: str) -> None:
    data = encoded(Image.fromarray(RAMP).convert(mode), kind)
    assert np.array_equal(decode_picture(data).pixels, RAMP)


def test_a_format_is_recognised_whatever_the_name(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", Image.fromarray(RAMP)).rename(tmp_path / "a.png")
    assert np.array_equal(read_image(path), RAMP)
    assert shortest_side(path) == 150


@pytest.mark.parametrize("kind", ["TIFF", "TIFF, LZW", "JPEG2000", "JPEG2000, codestream"])
def test_wide_values_of_other_formats_fill_eight_bits(kind: str) -> None:
    wide = np.tile(np.linspace(0, 2**16 - 1, 150).astype(np.uint16), (90, 1))
    read = decode_picture(encoded(Image.fromarray(wide), kind)).pixels
    assert np.abs(read - wide / (2**16 - 1) * 255).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("kind", ["TIFF", "TIFF, LZW"])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_tiff_whose_white_is_zero_is_inverted(kind: str, bits: int) -> None:
    largest = 2**bits - 1
    stored = np.tile(np.linspace(0, largest, 150), (90, 1))
    stored = stored.astype(np.uint8 if bits == 8 else np.uint16)
    # Pillow itself writes 8-bit values inverted under this tag.
    values = 255 - stored if bits == 8 else stored
    data = encoded(Image.fromarray(values), kind, tiffinfo={262: 0})
    read = decode_picture(data).pixels
    assert np.abs(read - (1 - stored / largest) * 255).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("kind", ["TIFF", "TIFF, LZW", "WEBP"])
def test_other_formats_are_turned_by_their_orientation(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    read = decode_picture(encoded(Image.fromarray(RAMP), kind, exif=exif)).pixels
    assert np.array_equal(read, np.rot90(RAMP, -1))


def tiff_pages(*subfile_types: int) -> bytes:
    """A TIFF file of pages with these NewSubfileTypes; page n is n darker than the ramp."""
    buffer = BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(buffer, new=True) as writer:
        for number, kind in enumerate(subfile_types):
            page = Image.fromarray(RAMP - np.minimum(RAMP, number))
            page.save(writer, "TIFF", tiffinfo={254: kind})
            writer.newFrame()
    return buffer.getvalue()


@pytest.mark.parametrize(("kinds", "film"), [((0, 1), 0), ((1, 0, 4), 1), ((1,), 0), ((2,), 0)])
def test_reduced_copies_and_masks_of_a_tiff_are_no_films(kinds: tuple[int], film: int) -> None:
    read = decode_picture(tiff_pages(*kinds)).pixels
    assert np.array_equal(read, RAMP - np.minimum(RAMP, film))


def test_a_file_of_several_pictures_is_refused() -> None:
    with pytest.raises(SeveralImagesError, match="several pages"):
        decode_picture(tiff_pages(0, 0))
    frames = [Image.fromarray(RAMP), Image.fromarray(255 - RAMP)]
    moving = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    with pytest.raises(SeveralImagesError, match="several pictures"):
        decode_picture(moving)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.linspace(0, 1, 150, dtype=np.float32), "fractions"),
        (np.linspace(-1000, 1000, 150).astype(np.int32), "negative"),
    ],
)
def test_values_without_a_known_black_are_refused(values: np.ndarray[Any, Any], words: str) -> None:
    with pytest.raises(ImageError, match=words):
        decode_picture(encoded(Image.fromarray(np.tile(values, (20, 1))), "TIFF"))


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


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", *LOSSLESS])
def test_every_truncation_is_noticed(kind: str) -> None:
    whole = encoded(Image.fromarray(RAMP), kind)
    step, last = max(7, len(whole) // 99), len(whole) - 20
    for length in [*range(0, last, step), *range(last, len(whole))]:
        try:
            read = decode_picture(whole[:length])
        except ImageError:
            continue
        # The last bytes of a compressed TIFF follow the film.
        assert kind.startswith("TIFF,"), length
        assert np.array_equal(read.pixels, RAMP), length


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


WIDE = np.tile(np.linspace(0, 4095, 200).astype(np.uint16), (150, 1))


def coded(values: npt.NDArray[np.uint16], kind: str) -> bytes:
    done, data = cv2.imencode(kind, values)
    assert done
    return data.tobytes()


@pytest.mark.parametrize("kind", [".png", ".tif", ".jp2"])
def test_wide_colour_keeps_its_lower_bits(kind: str) -> None:
    picture = decode_picture(coded(np.dstack([WIDE] * 3), kind))
    assert np.abs(picture.pixels - WIDE / 4095 * 255).max() <= 0.6
    assert picture.notes == ("the values use 12 bits: scaled by 12 bits",)


def test_wide_colour_becomes_luminance_over_black() -> None:
    blue, green, red = (np.full((40, 50), level, np.uint16) for level in (4000, 20000, 65535))
    alpha = np.full((40, 50), 65535, np.uint16)
    alpha[:20] = 0
    for channel in (blue, green, red):
        channel[-1] = 65535
    pixels = decode_picture(coded(np.dstack([blue, green, red, alpha]), ".png")).pixels
    assert (pixels[:20] == 0).all()
    assert (pixels[-1] == 255).all()
    luma = 0.114 * 4000 + 0.587 * 20000 + 0.299 * 65535
    assert np.abs(pixels[20:-1] - luma / 65535 * 255).max() <= 1


def test_a_hot_pixel_does_not_darken_a_wide_picture() -> None:
    hot = WIDE.copy()
    hot[0, 0] = 65535
    picture = decode_picture(coded(hot, ".png"))
    assert np.ptp(picture.pixels[10]) == 255
    assert "shown by the range of 98% of the pixels" in picture.notes[0]


def test_a_blank_wide_picture_stays_blank() -> None:
    noise = 30000 + np.random.default_rng(1).integers(-90, 90, (150, 200))
    picture = decode_picture(coded(noise.astype(np.uint16), ".png"))
    assert np.ptp(picture.pixels) <= 2
