"""Films as PACS send them: a picture in every form that headers and codecs allow.

A case is stored so that the equations of PS3.3 C.11 give its picture back: the picture itself is
what the display must be, whatever the form.
"""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from tests.builders.images.films import chest_film, file_bytes, lie_as, lut_item
from tests.tools.installed import require_tool

Picture = NDArray[np.uint8]

NATIVE = {
    "implicit": ImplicitVRLittleEndian,
    "explicit": ExplicitVRLittleEndian,
    "big-endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
}
PYDICOM = {"rle": RLELossless, "jpeg-ls": JPEGLSLossless, "jpeg2000": JPEG2000Lossless}
DCMTK = {
    "jpeg-lossless-sv1": ("dcmcjpeg", "+e1"),
    "jpeg-lossless-p14": ("dcmcjpeg", "+el", "+sv", "6"),
}
LOSSY = {
    "jpeg-baseline": ("dcmcjpeg", "+eb", "+q", "95"),
    "jpeg-extended": ("dcmcjpeg", "+ee", "+q", "95"),
    "jpeg-ls-near": ("dcmcjpls", "+en", "+md", "2"),
    "jpeg2000-lossy": (),
}
LOSSLESS = (*NATIVE, *PYDICOM, *DCMTK)
LUTS = (
    "none",
    "linear",
    "linear-exact",
    "sigmoid",
    "two-windows",
    "voi-lut-8",
    "voi-lut-16",
    "modality-lut",
    "rescale",
)
DEPTHS = ("8", "10", "12", "14", "15", "16", "s12", "s16")
GREY = ("MONOCHROME1", "MONOCHROME2")
ORIENTATIONS = ("", "L\\F", "R\\F", "L\\H", "R\\H", "F\\L", "F\\R", "H\\L", "H\\R")

# Where every stored value is a grey level, only these give every level back.
_LUTS_OF_8 = ("none", "linear", "linear-exact", "two-windows", "rescale")


@dataclass(frozen=True, slots=True)
class Case:
    """One form of a film; `depth` is BitsStored, with an `s` before it where it is signed."""

    photometric: str
    depth: str
    syntax: str
    lut: str
    orientation: str
    source: int

    @property
    def bits(self) -> int:
        return int(self.depth.lstrip("s"))

    @property
    def is_lossy(self) -> bool:
        return self.syntax in LOSSY

    def __str__(self) -> str:
        lies = self.orientation.replace("\\", "") or "unsaid"
        return "-".join((self.photometric, self.depth, self.syntax, self.lut, lies))


def cases() -> list[Case]:
    """Every pair of (syntax, LUT), (syntax, depth) and (syntax, photometric), with the rest cycled.

    The strides have no factor in common with the cycles, so that the rest meets everything too.
    """
    found = {}
    for number, case in enumerate((*_by_lut(), *_by_depth(), *_in_colour(), *_with_loss())):
        orientation = ORIENTATIONS[(number * 2 + number // 9) % len(ORIENTATIONS)]
        made = Case(*case, orientation, number)
        found[str(made)] = made
    return list(found.values())


def _by_lut() -> Iterator[tuple[str, str, str, str]]:
    deep = DEPTHS[1:]
    for number, (syntax, lut, photometric) in enumerate(product(LOSSLESS, LUTS, GREY)):
        yield photometric, deep[(number * 3 + number // 7) % len(deep)], syntax, lut


def _by_depth() -> Iterator[tuple[str, str, str, str]]:
    for number, (syntax, depth) in enumerate(product(LOSSLESS, DEPTHS)):
        luts = _LUTS_OF_8 if depth == "8" else LUTS
        yield GREY[number // 8 % 2], depth, syntax, luts[(number * 4) % len(luts)]


def _in_colour() -> Iterator[tuple[str, str, str, str]]:
    for photometric, syntax in product(("RGB", "YBR_FULL"), (*NATIVE, *PYDICOM)):
        yield photometric, "8", syntax, "none"
    for photometric, syntax in product(("PALETTE COLOR", "YBR_FULL_422"), NATIVE):
        yield photometric, "8", syntax, "none"
    yield "RGB", "8", "jpeg-lossless-sv1", "none"


def _with_loss() -> Iterator[tuple[str, str, str, str]]:
    for photometric, lut in product(GREY, ("none", "linear")):
        yield photometric, "8", "jpeg-baseline", lut
        yield photometric, "12", "jpeg-extended", lut
        for depth in ("8", "12", "16"):
            yield photometric, depth, "jpeg-ls-near", lut
            yield photometric, depth, "jpeg2000-lossy", lut
    yield "RGB", "8", "jpeg-baseline", "none"


class Headers:
    """Rows of the tables of headers, as attributes for frontal films."""

    def __init__(self, folder: Path) -> None:
        openi = pd.read_csv(folder / "openi_headers.csv.gz", dtype=str, low_memory=False)
        self._openi = openi[openi["View Position"].isin(["PA", "AP"])]
        self._rsna = pd.read_csv(folder / "rsna_headers.csv.gz", dtype=str)

    def row(self, number: int) -> dict[str, Any]:
        """Return the attributes of a film, without those of its pixels."""
        if number % 3 == 2:
            row = self._rsna.iloc[number * 101 % len(self._rsna)]
            names = ("Modality", "ConversionType", "PatientSex", "BodyPartExamined", "ViewPosition")
            found = {name: row[name] for name in names}
            found["PixelSpacing"] = [row["PixelSpacing"][:16]] * 2
            return {**found, "sop_class": "1.2.840.10008.5.1.4.1.1.7"}
        row = self._openi.iloc[number * 97 % len(self._openi)]
        found = {
            keyword: row[column]
            for keyword, column in {
                "Modality": "Modality",
                "ViewPosition": "View Position",
                "PatientSex": "Patient's Sex",
                "KVP": "KVP",
                "PresentationIntentType": "Presentation Intent Type",
                "FieldOfViewHorizontalFlip": "Field of View Horizontal Flip",
                "BurnedInAnnotation": "Burned In Annotation",
            }.items()
            if isinstance(row[column], str)
        }
        part = row["Body Part Examined"]
        return {
            **found,
            "BodyPartExamined": part if part == "CHEST" else None,
            "sop_class": row["SOP Class UID"],
        }


def build(case: Case, picture: Picture, header: dict[str, Any], scratch: Path) -> bytes:
    """Return the file of a case whose display is `picture` (rows, columns) once upright."""
    lying = lie_as(picture, case.orientation or "L\\F")
    wanted = lying.astype(np.float64) / 255.0
    if case.photometric == "MONOCHROME1":
        wanted = 1.0 - wanted
    stored, tone = _store(wanted, case)
    attributes = {**header, **tone}
    if case.orientation:
        attributes["PatientOrientation"] = case.orientation.split("\\")
    film = chest_film(
        _in_samples(stored, case),
        bits_stored=case.bits,
        signed=case.depth.startswith("s"),
        photometric=case.photometric,
        syntax=NATIVE.get(case.syntax, ExplicitVRLittleEndian),
        number=case.source,
        **attributes,
    )
    _finish_colour(film, lying, case)
    return _encoded(film, case, scratch)


def _store(wanted: NDArray[np.float64], case: Case) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Stored values of a brightness of 0…1 and the attributes that give it back."""
    top = 2**case.bits - 1
    low = -(2 ** (case.bits - 1)) if case.depth.startswith("s") else 0
    if case.lut == "none" or case.photometric not in GREY:
        return low + np.rint(wanted * top).astype(np.int64), {}
    if case.lut in {"voi-lut-8", "voi-lut-16", "modality-lut"}:
        return _store_by_table(wanted, case, low)
    values, tone = _window(wanted, case, low, top)
    if case.lut == "rescale":
        # x = intercept - stored: the slope may be negative.
        intercept = 2 * low + top
        values = intercept - values
        tone |= {"RescaleSlope": -1, "RescaleIntercept": intercept}
    return np.clip(np.rint(values), low, low + top).astype(np.int64), tone


def _window(
    wanted: NDArray[np.float64], case: Case, low: int, top: int
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """The inverse of PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    width, centre = top * 0.7, low + top * 0.45
    if case.bits == 8:
        width, centre = 256.0, 128.0
    if case.lut == "sigmoid":
        width, centre = top * 0.3, low + top * 0.5
        inside = np.clip(wanted, 1 / 510, 1 - 1 / 510)
        values = centre - width / 4 * np.log(1 / inside - 1)
        function = "SIGMOID"
    elif case.lut == "linear-exact":
        values, function = (wanted - 0.5) * width + centre, "LINEAR_EXACT"
    else:
        values, function = (wanted - 0.5) * (width - 1) + centre - 0.5, None
    tone: dict[str, Any] = {
        "WindowCenter": f"{centre:.3f}",
        "WindowWidth": f"{width:.3f}",
        "VOILUTFunction": function,
    }
    if case.lut == "two-windows":
        tone["WindowCenter"] = [tone["WindowCenter"], f"{low:.1f}"]
        tone["WindowWidth"] = [tone["WindowWidth"], "2"]
    return values, tone


def _store_by_table(
    wanted: NDArray[np.float64], case: Case, low: int
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Stored values whose entry in a curve is the brightness; the curve is longer than 256."""
    first, count = low + 100, 900
    out = 8 if case.lut == "voi-lut-8" else 16
    curve = np.rint((2**out - 1) * np.linspace(0, 1, count) ** 1.3)
    nearest = np.searchsorted((curve[1:] + curve[:-1]) / 2, wanted * (2**out - 1))
    order = ">" if case.syntax == "big-endian" else "<"
    item = lut_item(first, curve, out, as_bytes=case.lut != "modality-lut", order=order)
    if case.lut == "modality-lut":
        tone = {"ModalityLUTSequence": [item], "WindowCenter": 32768, "WindowWidth": 65536}
    else:
        tone = {"VOILUTSequence": [item], "WindowCenter": 1, "WindowWidth": 2}
    return first + nearest, tone


def _in_samples(stored: NDArray[np.int64], case: Case) -> NDArray[np.int64]:
    if case.photometric == "RGB":
        return np.stack([stored] * 3, -1)
    if case.photometric.startswith("YBR"):
        neutral = np.full_like(stored, 128)
        return np.stack([stored, neutral, neutral], -1)
    return 255 - stored if case.photometric == "PALETTE COLOR" else stored


def _finish_colour(film: Dataset, lying: Picture, case: Case) -> None:
    if case.photometric == "PALETTE COLOR":
        order = ">" if case.syntax == "big-endian" else "<"
        ramp = (np.arange(256) * 257)[::-1].astype(f"{order}u2").tobytes()
        for colour in ("Red", "Green", "Blue"):
            film.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [256, 0, 16])
            film.add_new(f"{colour}PaletteColorLookupTableData", "OW", ramp)
    if case.photometric == "YBR_FULL_422":
        # Two luma samples share a pair of colour samples (PS3.3 C.7.6.3.1.2).
        pairs = np.full((lying.shape[0], lying.shape[1] // 2, 4), 128, np.uint8)
        pairs[..., 0], pairs[..., 1] = lying[:, 0::2], lying[:, 1::2]
        film.PixelData = pairs.tobytes()


def _encoded(film: Dataset, case: Case, scratch: Path) -> bytes:
    if case.syntax in NATIVE:
        return file_bytes(film)
    if case.syntax in PYDICOM:
        film.compress(PYDICOM[case.syntax], generate_instance_uid=False)
        return file_bytes(film)
    if case.syntax == "jpeg2000-lossy":
        film.compress("1.2.840.10008.1.2.4.91", j2k_psnr=[45], generate_instance_uid=False)
        return file_bytes(film)
    program, *options = (DCMTK | LOSSY)[case.syntax]
    source, packed = scratch / "film.dcm", scratch / "packed.dcm"
    source.write_bytes(file_bytes(film))
    subprocess.run([require_tool(program), *options, source, packed], check=True)
    return packed.read_bytes()


SHAPE = (480, 416)


def picture_of(path: Path) -> Picture:
    """Return a smaller picture of a film that uses every level from black to white."""
    whole = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert whole is not None
    small = cv2.resize(whole, SHAPE[::-1], interpolation=cv2.INTER_AREA).astype(np.float64)
    return np.asarray(np.rint((small - small.min()) / np.ptp(small) * 255), dtype=np.uint8)
