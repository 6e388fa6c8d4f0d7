"""Synthetic films: small DICOM objects with known pixels, for tests of every room."""

import datetime
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, FileMetaDataset, dcmread, dcmwrite
from pydicom.dataset import FileDataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
)

from dicom_io.phantom import PhantomFilm, build_film
from dicom_io.read.header import read_header
from dicom_io.receive.store_request import ReceivedInstance
from tests.tools.ports import SENDER

ROOT = "1.2.826.0.1.3680043.10.1474"


def chest_values(rows: int = 200, columns: int = 160, bits: int = 12) -> NDArray[np.int64]:
    """A crude frontal chest over the full range of `bits`: dark lungs, bright middle and bottom.

    Every row carries a ramp besides, so that many different values occur.
    """
    y, x = np.ogrid[0:rows, 0:columns]
    y, x = y / rows, x / columns
    field = 0.75 - 0.5 * (np.hypot((x - 0.28) / 0.16, (y - 0.47) / 0.27) < 1)
    field -= 0.5 * (np.hypot((x - 0.72) / 0.16, (y - 0.47) / 0.27) < 1)
    field += 0.2 * x + 0.05 * y
    field = (field - field.min()) / (field.max() - field.min())
    values: NDArray[np.int64] = np.rint(field * (2**bits - 1)).astype(np.int64)
    return values


def chest_film(
    values: NDArray[Any] | None = None,
    *,
    number: int = 1,
    study: int = 1,
    bits_stored: int = 12,
    bits_allocated: int | None = None,
    signed: bool = False,
    photometric: str = "MONOCHROME2",
    syntax: str = ExplicitVRLittleEndian,
    sop_class: str = ComputedRadiographyImageStorage,
    **attributes: Any,
) -> Dataset:
    """A frontal chest radiograph with unpacked pixels; an attribute given as None is left out.

    `values` are the stored values, (rows, columns) or (rows, columns, 3). `number` tells films of
    a study apart, `study` tells studies apart.
    """
    allocated = bits_allocated or (8 if bits_stored <= 8 else 16)
    pixels = chest_values(bits=bits_stored) if values is None else values
    ds = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = f"{ROOT}.{study}.1.{number}"
    ds.StudyInstanceUID = f"{ROOT}.{study}"
    ds.SeriesInstanceUID = f"{ROOT}.{study}.1"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Test^Film", "T1", "", "O"
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.StudyID = "20240102", "101500", "A1", "1"
    ds.ReferringPhysicianName, ds.SeriesNumber, ds.InstanceNumber = "", 1, number
    ds.Modality, ds.BodyPartExamined, ds.ViewPosition = "CR", "CHEST", "PA"
    ds.PixelSpacing = ["0.143", "0.143"]
    for keyword, value in attributes.items():
        if value is not None:
            setattr(ds, keyword, value)
        elif keyword in ds:
            delattr(ds, keyword)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    if pixels.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation = photometric
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = allocated, bits_stored, bits_stored - 1
    ds.PixelRepresentation = int(signed)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    packed = pixels.astype(f"{order}{'i' if signed else 'u'}{allocated // 8}").tobytes()
    ds.PixelData = packed + b"\0" * (len(packed) % 2)
    ds["PixelData"].VR = "OB" if allocated == 8 else "OW"
    return ds


def lie_as(upright: NDArray[Any], orientation: str) -> NDArray[Any]:
    """A frontal film (rows, columns, …) stored so that PatientOrientation describes it.

    The first letter is where a row runs to, the second where a column does.
    """
    lying = {
        "L\\F": upright,
        "R\\F": upright[:, ::-1],
        "L\\H": upright[::-1],
        "R\\H": upright[::-1, ::-1],
        "F\\L": upright.swapaxes(0, 1),
        "F\\R": upright[:, ::-1].swapaxes(0, 1),
        "H\\L": upright[::-1].swapaxes(0, 1),
        "H\\R": upright[::-1, ::-1].swapaxes(0, 1),
    }
    return np.ascontiguousarray(lying[orientation])


def lut_item(
    first: int, entries: NDArray[Any], bits: int, *, as_bytes: bool = False, order: str = "<"
) -> Dataset:
    """An item of a Modality LUT or VOI LUT Sequence; `as_bytes` packs it as OW words in `order`."""
    item = Dataset()
    vr = "SS" if first < 0 else "US"
    count = len(entries) % 65536
    item.add_new("LUTDescriptor", vr, [count, first, bits])
    if as_bytes:
        item.add_new("LUTData", "OW", entries.astype(f"{order}u2").tobytes())
    else:
        item.add_new("LUTData", "US", [int(entry) for entry in entries])
    return item


def file_bytes(ds: Dataset) -> bytes:
    """Return the film as a DICOM file."""
    buffer = BytesIO()
    # The pixels are in this order already; only `dcmwrite` can be told to keep them.
    dcmwrite(
        buffer,
        ds,
        implicit_vr=ds.file_meta.TransferSyntaxUID.is_implicit_VR,
        little_endian=ds.file_meta.TransferSyntaxUID.is_little_endian,
        enforce_file_format=True,
    )
    return buffer.getvalue()


def data_set_bytes(file: bytes) -> bytes:
    """Return the bytes behind the file meta information."""
    length = int.from_bytes(file[140:144], "little")
    return file[144 + length :]


def film(study: str, **drawn: Any) -> bytes:
    """Return a small synthetic film of a study."""
    values = {"patient_id": study, "study": study, "rows": 256, "columns": 224, **drawn}
    return build_film(PhantomFilm(**values), datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))


def changed(film: bytes, **values: str) -> bytes:
    """Return the film with other values in its header."""
    dataset = dcmread(BytesIO(film))
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    target = BytesIO()
    dataset.save_as(target)
    return target.getvalue()


def received(data: bytes) -> ReceivedInstance:
    header = read_header(data)
    return ReceivedInstance(
        data=data,
        sop_class_uid=header.sop_class_uid,
        sop_instance_uid=header.sop_instance_uid,
        transfer_syntax_uid=header.transfer_syntax_uid,
        calling_ae_title=SENDER,
        calling_host="127.0.0.1",
        header=header,
    )
