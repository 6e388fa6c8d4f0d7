"""One file of each kind of object that a PACS sends: chest films, other films and other objects."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, FileMetaDataset
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from dicom_io.phantom import PhantomFilm, draw
from tests.builders.images.films import ROOT, chest_film, data_set_bytes, file_bytes

CT, MR, US, PDF, SR = (
    f"1.2.840.10008.5.1.4.1.1.{last}" for last in ("2", "4", "3.1", "104.1", "88.33")
)

COLLIMATOR = {
    "CollimatorShape": "RECTANGULAR",
    "CollimatorLeftVerticalEdge": -184,
    "CollimatorRightVerticalEdge": 184,
    "CollimatorUpperHorizontalEdge": 307,
    "CollimatorLowerHorizontalEdge": 499,
}
"""Edges in millimetres around the middle instead of pixels, as a manufacturer writes them."""


def chest(rows: int, columns: int, bits: int) -> NDArray[np.int64]:
    """Return the phantom's stored values for MONOCHROME2 over the range of `bits`."""
    shown = draw(PhantomFilm("P", "S", rows=rows, columns=columns)).astype(np.float64)
    values: NDArray[np.int64] = np.rint(shown / 4095 * (2**bits - 1)).astype(np.int64)
    return values


def numbered(number: int, values: NDArray[Any] | None = None, **attributes: Any) -> Dataset:
    """Return a film of its own study; its patient is `number`'s too."""
    return chest_film(
        values, number=number, study=1000 + number, PatientID=f"KIND{number:02d}", **attributes
    )


def jpeg_capture(number: int, photometric: str) -> bytes:
    """Return a chest film in JPEG baseline, of the Secondary Capture class."""
    film = numbered(
        number,
        chest(512, 512, 8),
        bits_stored=8,
        photometric=photometric,
        sop_class=SecondaryCaptureImageStorage,
        ConversionType="WSD",
        PatientOrientation="",
    )
    done, packed = cv2.imencode(".jpg", chest(512, 512, 8).astype(np.uint8))
    assert done
    film.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    film.PixelData = encapsulate([packed.tobytes()])
    film["PixelData"].is_undefined_length = True
    film.LossyImageCompression = "01"
    film.LossyImageCompressionRatio = "10"
    film.LossyImageCompressionMethod = "ISO_10918_1"
    return file_bytes(film)


def jpeg_2000_film() -> bytes:
    film = numbered(
        3,
        2**15 - 1 - chest(600, 560, 15),
        bits_stored=15,
        photometric="MONOCHROME1",
        PixelSpacing=["0.000", "0.000"],
        PatientOrientation=["L", "F"],
        ImageType=["DERIVED", "PRIMARY"],
        WindowCenter="16384",
        WindowWidth="32768",
        StudyDescription="THORAX",
        **COLLIMATOR,
    )
    film.compress(JPEG2000, j2k_psnr=[60], generate_instance_uid=False)
    return file_bytes(film)


def bare_film() -> bytes:
    """Return a 10-bit film without preamble and file meta information."""
    film = numbered(
        4,
        1023 - chest(440, 440, 10),
        bits_stored=10,
        photometric="MONOCHROME1",
        syntax=ImplicitVRLittleEndian,
        PixelSpacing=None,
        WindowCenter="512",
        WindowWidth="1024",
    )
    return data_set_bytes(file_bytes(film))


def other_film(number: int, part: str, syntax: UID, photometric: str) -> bytes:
    film = numbered(
        number,
        chest(500, 400, 10),
        bits_stored=10,
        photometric=photometric,
        BodyPartExamined=part,
        ViewPosition="AP",
    )
    film.compress(syntax, generate_instance_uid=False)
    return file_bytes(film)


def slice_image(number: int, sop_class: str, modality: str, **changes: Any) -> Dataset:
    """Return a small cross-sectional image of another class."""
    values = np.arange(64 * 64).reshape(64, 64) % 1000
    return numbered(
        number,
        values,
        **{
            "bits_stored": 16,
            "signed": True,
            "sop_class": sop_class,
            "Modality": modality,
            "BodyPartExamined": None,
            "ViewPosition": None,
            **changes,
        },
    )


def without_pixels(number: int, sop_class: str, modality: str, **attributes: Any) -> bytes:
    """Return an object that is no image."""
    ds = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    ds.SOPClassUID = UID(sop_class)
    ds.SOPInstanceUID = f"{ROOT}.{1000 + number}.1.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"{ROOT}.{1000 + number}", f"{ROOT}.{number}.1"
    ds.PatientName, ds.PatientID, ds.Modality = "Test^Film", f"KIND{number:02d}", modality
    ds.PatientBirthDate, ds.PatientSex, ds.StudyDate, ds.StudyTime = "", "", "20240102", "101500"
    ds.AccessionNumber, ds.ReferringPhysicianName, ds.StudyID = "", "", "1"
    ds.SeriesNumber, ds.InstanceNumber = 1, 1
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    ds.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return file_bytes(ds)


def header_in_japanese() -> bytes:
    """Return the header of a chest film with a name in two character sets and no pixels."""
    film = numbered(
        15,
        SpecificCharacterSet=["", "ISO 2022 IR 87"],
        PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう",
        photometric="MONOCHROME1",
        PatientOrientation=["L", "F"],
    )
    del film.PixelData
    return file_bytes(film)


def truncated() -> bytes:
    whole = file_bytes(slice_image(13, MR, "MR"))
    return whole[:-200]


KINDS: dict[str, Callable[[], bytes]] = {
    "01_chest_jpeg_baseline": lambda: jpeg_capture(1, "MONOCHROME2"),
    "02_chest_wrong_polarity": lambda: jpeg_capture(2, "MONOCHROME1"),
    "03_chest_15_bit_jpeg_2000": jpeg_2000_film,
    "04_chest_without_preamble": bare_film,
    "05_hip_rle": lambda: other_film(5, "HIP", RLELossless, "MONOCHROME2"),
    "06_tibia_jpeg_ls": lambda: other_film(6, "EXTREMITY", JPEGLSLossless, "MONOCHROME1"),
    "07_ct_of_a_chest": lambda: file_bytes(slice_image(7, CT, "CT", BodyPartExamined="CHEST")),
    "08_mr_big_endian": lambda: file_bytes(slice_image(8, MR, "MR", syntax=ExplicitVRBigEndian)),
    "09_ultrasound": lambda: file_bytes(slice_image(9, US, "US", NumberOfFrames=1)),
    "10_pdf": lambda: without_pixels(10, PDF, "OT", EncapsulatedDocument=b"%PDF-1.4\n%%EOF\n"),
    "11_report": lambda: without_pixels(11, SR, "SR", ValueType="CONTAINER"),
    "12_deflated_capture": lambda: file_bytes(
        numbered(
            12,
            chest(200, 200, 8),
            bits_stored=8,
            sop_class=SecondaryCaptureImageStorage,
            syntax=DeflatedExplicitVRLittleEndian,
            Modality="OT",
            ConversionType="WSD",
            BodyPartExamined=None,
            ViewPosition=None,
        )
    ),
    "13_mr_truncated": truncated,
    "14_script_in_the_description": lambda: file_bytes(
        slice_image(14, MR, "MR", StudyDescription="<script>alert(1);</script>")
    ),
    "15_chest_header_in_japanese": header_in_japanese,
}


def write_dicom_kinds(folder: Path) -> None:
    """Write the file of each kind."""
    folder.mkdir(parents=True)
    for name, build in KINDS.items():
        (folder / f"{name}.dcm").write_bytes(build())
