"""Films for the benchmarks: 12-bit DX with the anatomy and the grain of real films.

The pictures are public films of 1024 x 1024 enlarged, where a folder of them lies beside the
checkout, and phantoms otherwise. Grain is added, because a film without grain compresses too well.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.uid import DigitalXRayImageStorageForPresentation

from dicom_io.phantom import PhantomFilm, draw
from tests.builders.images.films import ROOT, chest_film, file_bytes
from tests.conftest import REAL_DATA

SIDE_10_MB = 2240
SIDE_HALF_MB = 512
BITS = 12
PICTURES = (
    *("00015293_000", "00006067_000", "00019195_000", "00024442_000", "00009683_000"),
    *("00012572_000", "00025740_000", "00027439_000", "00017999_000", "00028063_000"),
)
"""Films of nih/full. The starter finds 1 to 4 findings in eight of them, and none in two."""
GRAIN = 14.0
"""Standard deviation of the grain in grey values of 4096, as of a film of usual exposure."""

_TOKEN_START = 1_000_000_000
_HEAD_BYTES = 4096


@dataclass
class Films:
    """Films on disk, each in a study of its own, whose UIDs can be renewed in place."""

    paths: list[Path]
    token: int = _TOKEN_START

    def renew(self) -> None:
        """Give every film new UIDs of the same length, and read the files into the page cache."""
        old, self.token = str(self.token).encode(), self.token + 1
        new = str(self.token).encode()
        for path in self.paths:
            with path.open("r+b") as file:
                head = file.read(_HEAD_BYTES)
                file.seek(0)
                file.write(head.replace(old, new))
                while file.read(1 << 20):
                    pass

    @property
    def megabytes(self) -> float:
        return sum(path.stat().st_size for path in self.paths) / 1e6


def write_films(folder: Path, count: int, side: int = SIDE_10_MB, *, block: int = 1) -> Films:
    """Write `count` square films of `side` pixels. Films of another `block` have other UIDs."""
    folder.mkdir(parents=True)
    token = _TOKEN_START + block * 1_000_000
    pictures = [_enlarged(picture, side) for picture in _pictures()]
    grain = np.random.default_rng(block).normal(0, GRAIN, (side, side)).astype(np.float32)
    paths = []
    for number in range(count):
        # A rolled grain is another grain, and costs a hundredth of drawing it again.
        moved = np.roll(grain, (number * 37 % side, number * 101 % side), (0, 1))
        values = cv2.add(pictures[number % len(pictures)], moved)
        path = folder / f"film-{number:05d}.dcm"
        path.write_bytes(_film(np.clip(values, 0, 2**BITS - 1).astype(np.uint16), number, token))
        paths.append(path)
    return Films(paths, token)


def write_pngs(folder: Path, count: int, side: int = 1024) -> list[Path]:
    """Write grey 8-bit PNG files of the same pictures with less grain."""
    folder.mkdir(parents=True)
    pictures = [_enlarged(picture, side) / 2 ** (BITS - 8) for picture in _pictures()]
    grain = np.random.default_rng(7).normal(0, 1.5, (side, side)).astype(np.float32)
    paths = []
    for number in range(count):
        moved = np.roll(grain, (number * 37 % side, number * 101 % side), (0, 1))
        values = pictures[number % len(pictures)] + moved
        paths.append(folder / f"film-{number:05d}.png")
        cv2.imwrite(str(paths[-1]), np.clip(values, 0, 255).astype(np.uint8))
    return paths


def are_real() -> bool:
    """Return True if the films are enlarged public films, not phantoms."""
    return (REAL_DATA / "nih" / "full").is_dir()


def _pictures() -> list[NDArray[np.uint8]]:
    folder = REAL_DATA / "nih" / "full"
    if are_real():
        paths = [str(folder / f"{name}.png") for name in PICTURES]
        return [np.asarray(cv2.imread(path, cv2.IMREAD_GRAYSCALE), np.uint8) for path in paths]
    drawn = [
        draw(PhantomFilm("bench", "bench", heart_failure=bool(n % 3), columns=1024, seed=n))
        for n in range(6)
    ]
    return [np.asarray(film >> (BITS - 8), dtype=np.uint8) for film in drawn]


def _enlarged(picture: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """Return the picture with values of BITS bits, (side, side), not quite black or white."""
    method = cv2.INTER_CUBIC if side > picture.shape[0] else cv2.INTER_AREA
    sized = cv2.resize(picture.astype(np.float32), (side, side), interpolation=method)
    return np.asarray(60 + sized * ((2**BITS - 120) / 255), dtype=np.float32)


def _film(values: NDArray[np.uint16], number: int, token: int) -> bytes:
    study = f"{ROOT}.9.{token}.{number}"
    film = chest_film(
        values,
        sop_class=DigitalXRayImageStorageForPresentation,
        bits_stored=BITS,
        Modality="DX",
        StudyInstanceUID=study,
        SeriesInstanceUID=f"{study}.1",
        SOPInstanceUID=f"{study}.1.1",
        PatientName=f"Bench^{number}",
        PatientID=f"B{number}",
        AccessionNumber=f"A{number}",
        StudyID=str(number),
        PresentationIntentType="FOR PRESENTATION",
        PresentationLUTShape="IDENTITY",
        PixelIntensityRelationship="LOG",
        PixelIntensityRelationshipSign=1,
        RescaleIntercept="0",
        RescaleSlope="1",
        RescaleType="US",
        BurnedInAnnotation="NO",
        ImageType=["DERIVED", "PRIMARY"],
        ImageLaterality="U",
        PatientOrientation=["L", "F"],
        ImagerPixelSpacing=["0.16", "0.16"],
        PixelSpacing=None,
        WindowCenter="2048",
        WindowWidth="4096",
        Manufacturer="bench",
    )
    return file_bytes(film)
