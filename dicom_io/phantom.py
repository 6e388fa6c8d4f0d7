"""Synthetic chest films, for the demo and for tests.

The anatomy is drawn from ellipses as attenuation and turned into film by the Beer-Lambert law. The
gate accepts it as a chest. Findings of a model on it have no meaning.
"""

import datetime
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from dicom_io.objects.uids import derived_uid

BITS_STORED = 12
_GENERATOR = "cxrd phantom"


class PhantomView(StrEnum):
    """Projections of the phantom (values of ViewPosition)."""

    PA = "PA"
    LL = "LL"


@dataclass(frozen=True, slots=True)
class PhantomFilm:
    """Drawing and patient of a film; the same values always give the same bytes."""

    patient_id: str
    study: str
    view: PhantomView = PhantomView.PA
    heart_failure: bool = False
    """Draw a wide heart and hazy lungs."""
    rows: int = 1024
    columns: int = 896
    photometric_interpretation: str = "MONOCHROME2"
    seed: int = 1


def draw(film: PhantomFilm) -> NDArray[np.uint16]:
    """Return the pixels of the film as displayed, shape (rows, columns), 0 black, 4095 white."""
    y, x = np.mgrid[0 : film.rows, 0 : film.columns].astype(np.float32)
    x = (x / film.columns - 0.5) * 2.0
    y = (y / film.rows - 0.5) * 2.0
    frontal = film.view is PhantomView.PA
    attenuation = _frontal(x, y, film.heart_failure) if frontal else _lateral(x, y)
    transmitted = np.exp(-2.2 * attenuation)
    rng = np.random.default_rng(film.seed)
    grain = rng.normal(0.0, 0.006, transmitted.shape).astype(np.float32)
    white = 1.0 - np.clip(transmitted + grain, 0.0, 1.0)
    return np.asarray(white * (2**BITS_STORED - 1), dtype=np.uint16)


def _ellipse(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    centre: tuple[float, float],
    radii: tuple[float, float],
    softness: float = 0.08,
) -> NDArray[np.float32]:
    """Return 1 inside and 0 outside, with an edge as wide as `softness` times the radius."""
    distance = np.hypot((x - centre[0]) / radii[0], (y - centre[1]) / radii[1])
    return _rising((1.0 - distance) / (softness / 2))


def _rising(t: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logistic function of `t`, clipped so that it cannot overflow."""
    return np.asarray(1.0 / (1.0 + np.exp(np.clip(-t, -60.0, 60.0))), dtype=np.float32)


def _frontal(
    x: NDArray[np.float32], y: NDArray[np.float32], heart_failure: bool
) -> NDArray[np.float32]:
    body = _ellipse(x, y, (0.0, 0.3), (0.97, 1.25)) + 0.35 * _ellipse(
        x, y, (0.0, -0.95), (0.28, 0.35), 0.3
    )
    right_lung = _ellipse(x, y, (-0.42, -0.05), (0.33, 0.68))
    left_lung = _ellipse(x, y, (0.43, -0.08), (0.31, 0.66))
    lungs = np.maximum(right_lung, left_lung)
    air = lungs * (1.0 - _rising((y - 0.52 + 0.12 * np.cos(3.2 * x)) / 0.02))
    heart = _ellipse(x, y, (0.14, 0.28), (0.30, 0.27), 0.12)
    mediastinum = _ellipse(x, y, (0.02, -0.1), (0.13, 0.75), 0.2)
    spine = _ellipse(x, y, (0.0, 0.0), (0.07, 1.4), 0.3)
    attenuation = 0.85 * body - 0.62 * air
    attenuation += 0.35 * heart + 0.25 * mediastinum + 0.18 * spine + 0.08 * _ribs(x, y, body)
    if heart_failure:
        attenuation += 0.45 * lungs + 0.28 * _ellipse(x, y, (0.16, 0.28), (0.45, 0.33), 0.12)
    return np.asarray(np.clip(attenuation, 0.0, None), dtype=np.float32)


def _ribs(
    x: NDArray[np.float32], y: NDArray[np.float32], body: NDArray[np.float32]
) -> NDArray[np.float32]:
    ribs = np.zeros_like(x)
    for number in range(9):
        height = -0.72 + 0.15 * number
        arc = height + 0.32 * (np.abs(x) - 0.35) ** 2 + 0.18 * np.abs(x)
        ribs += np.exp(-(((y - arc) / 0.02) ** 2))
    side = np.clip((np.abs(x) - 0.08) / 0.05, 0.0, 1.0) * (np.abs(x) < 0.82)
    return np.asarray(ribs * side * np.clip(body, 0.0, 1.0), dtype=np.float32)


def _lateral(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    body = _ellipse(x, y, (0.0, 0.2), (0.75, 1.3))
    lung = _ellipse(x, y, (0.05, -0.1), (0.5, 0.62))
    heart = _ellipse(x, y, (-0.25, 0.25), (0.25, 0.3), 0.15)
    spine = _ellipse(x, y, (0.52, 0.1), (0.1, 1.2), 0.3)
    attenuation = 0.95 * body - 0.6 * lung + 0.35 * heart + 0.35 * spine
    return np.asarray(np.clip(attenuation, 0.0, None), dtype=np.float32)


def build_film(film: PhantomFilm, acquired: datetime.datetime) -> bytes:
    """Return the film as a Computed Radiography image (PS3.3 A.2), a whole DICOM file."""
    uid = derived_uid(film.study, _GENERATOR, f"{film.view}/{film.seed}")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = UID(uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    _set_identity(dataset, film, acquired, uid)
    _set_pixels(dataset, film)
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _set_identity(
    dataset: Dataset, film: PhantomFilm, acquired: datetime.datetime, uid: str
) -> None:
    date, time = acquired.strftime("%Y%m%d"), acquired.strftime("%H%M%S")
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = uid
    dataset.StudyInstanceUID = derived_uid(film.study, _GENERATOR, "study")
    dataset.SeriesInstanceUID = derived_uid(film.study, _GENERATOR, f"series/{film.view}")
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = date
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = time
    dataset.PatientName = f"Phantom^{film.patient_id}"
    dataset.PatientID = film.patient_id
    dataset.PatientBirthDate = "19700101"
    dataset.PatientSex = "O"
    dataset.AccessionNumber = film.study[:16]
    dataset.ReferringPhysicianName = ""
    dataset.StudyID = film.study[:16]
    dataset.StudyDescription = "Chest X-ray (synthetic phantom)"
    dataset.Modality = "CR"
    dataset.Manufacturer = _GENERATOR
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = film.seed
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = film.view.value
    dataset.PatientOrientation = ["L", "F"] if film.view is PhantomView.PA else ["A", "F"]


def _set_pixels(dataset: Dataset, film: PhantomFilm) -> None:
    white = draw(film)
    inverted = film.photometric_interpretation == "MONOCHROME1"
    stored = (2**BITS_STORED - 1) - white if inverted else white
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = film.photometric_interpretation
    dataset.Rows, dataset.Columns = film.rows, film.columns
    dataset.BitsAllocated = 16
    dataset.BitsStored = BITS_STORED
    dataset.HighBit = BITS_STORED - 1
    dataset.PixelRepresentation = 0
    dataset.ImagerPixelSpacing = [0.4, 0.4]
    dataset.WindowCenter = 2 ** (BITS_STORED - 1)
    dataset.WindowWidth = 2**BITS_STORED
    dataset.PixelData = stored.astype("<u2").tobytes()
