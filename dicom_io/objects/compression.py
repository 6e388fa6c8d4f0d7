"""Compression of pictures for a destination: uncompressed, RLE, JPEG 2000 or JPEG baseline.

RLE and JPEG 2000 Lossless keep every pixel. The picture remains the same instance, so the sender
compresses it once the destination has accepted the transfer syntax.

JPEG baseline changes pixels: the image "shall receive a new SOP Instance UID" (PS3.3 C.7.6.1.1.5).
The JPEG copy is therefore an object of its own, built once, which names its uncompressed
predecessor. A destination that refuses JPEG receives the copy decoded, under the UID of the copy
and still marked as lossy.
"""

from collections.abc import Collection, Mapping
from io import BytesIO
from types import MappingProxyType

import cv2
import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.multival import MultiValue
from pydicom.uid import (
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from dicom_io.errors import ObjectError
from dicom_io.objects.algorithm import short_text
from dicom_io.objects.classes import PLAIN_SYNTAXES
from dicom_io.objects.codes import LOSSY_COMPRESSION, UNCOMPRESSED_PREDECESSOR
from dicom_io.objects.secondary_capture import series_item, source_item
from dicom_io.objects.source_header import reference_item
from dicom_io.read.header import header_of, numbers, read_dataset, text
from dicom_io.read.warnings_off import suppressed_warnings

RLE = str(RLELossless)
JPEG_2000 = str(JPEG2000Lossless)
JPEG_BASELINE = str(JPEGBaseline8Bit)

# Quality 90 of 100 keeps text and colour edges clean at about a tenth of the size.
_JPEG_QUALITY = 90

# Exceptions of pydicom and its plugins for pixels they cannot encode or decode.
_CODEC_ERRORS = (
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)

# PhotometricInterpretation of RGB pixels: RLE stores the planes, JPEG 2000 transforms them.
_PHOTOMETRICS: Mapping[str, str] = MappingProxyType({RLE: "RGB", JPEG_2000: "YBR_RCT"})


def picture_for_destination(
    data: bytes, preferred: str | None, accepted: Mapping[str, Collection[str]]
) -> bytes:
    """Return an object in a transfer syntax that the destination accepted.

    `data` is a whole file; `accepted` maps each SOP class to its accepted transfer syntaxes. An
    uncompressed picture is compressed to `preferred` if that syntax is lossless and accepted. A
    compressed picture is decoded if its own syntax is not accepted. Every other object is
    returned unchanged. Raises ObjectError if a codec fails, and NotDicomError.
    """
    header = header_of(read_dataset(data, with_pixels=False))
    if header.sop_class_uid != SecondaryCaptureImageStorage:
        return data
    syntaxes = accepted.get(header.sop_class_uid, ())
    if header.transfer_syntax_uid not in PLAIN_SYNTAXES:
        return data if header.transfer_syntax_uid in syntaxes else uncompressed(data)
    if preferred is not None and preferred in _PHOTOMETRICS and preferred in syntaxes:
        return losslessly_compressed(data, preferred)
    return data


def losslessly_compressed(data: bytes, syntax: str) -> bytes:
    """Return the same instance in RLE or JPEG 2000 Lossless. Raises ObjectError."""
    ds = read_dataset(data)
    try:
        with suppressed_warnings():
            ds.PhotometricInterpretation = _PHOTOMETRICS[syntax]
            ds.compress(UID(syntax), generate_instance_uid=False)
    except _CODEC_ERRORS as error:
        raise ObjectError(f"the picture cannot be compressed ({type(error).__name__})") from error
    return _file(ds)


def uncompressed(data: bytes) -> bytes:
    """Return the same instance in Explicit VR Little Endian; a lossy mark stays.

    Raises ObjectError.
    """
    ds = read_dataset(data)
    try:
        with suppressed_warnings():
            ds.decompress(generate_instance_uid=False)
    except _CODEC_ERRORS as error:
        raise ObjectError(f"the picture cannot be decoded ({type(error).__name__})") from error
    return _file(ds)


def jpeg_copy(
    picture: bytes, *, sop_instance_uid: str, series_instance_uid: str, series_number: int
) -> bytes:
    """Return a copy of a built Secondary Capture in JPEG baseline, as a whole file.

    The copy is an object of its own, with the given UIDs. Raises ObjectError if the encoder fails.
    """
    ds = read_dataset(picture)
    encoded = _jpeg(ds)
    ratio = len(ds.PixelData) / len(encoded)
    _add_predecessor(ds)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    ds.SeriesInstanceUID = series_instance_uid
    ds.SeriesNumber = series_number
    ds.DerivationDescription = short_text(
        f"JPEG baseline, quality {_JPEG_QUALITY}, {ratio:.1f}:1. {ds.DerivationDescription}"
    )
    _add_lossy_step(ds, ratio)
    ds.PhotometricInterpretation = "YBR_FULL_422"
    ds.PixelData = encapsulate([encoded])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return _file(ds)


def _jpeg(picture: Dataset) -> bytes:
    rgb = np.frombuffer(picture.PixelData, np.uint8)[: picture.Rows * picture.Columns * 3]
    bgr = cv2.cvtColor(rgb.reshape(picture.Rows, picture.Columns, 3), cv2.COLOR_RGB2BGR)
    # PS3.5 A.4.1: two Y blocks, then one block per chrominance, which is YBR_FULL_422.
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        _JPEG_QUALITY,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    ]
    done, encoded = cv2.imencode(".jpg", bgr, options)
    if not done:
        raise ObjectError("the picture cannot be encoded as JPEG")
    return bytes(encoded.tobytes())


def _add_predecessor(ds: Dataset) -> None:
    reference = reference_item(ds.SOPClassUID, ds.SOPInstanceUID)
    ds.SourceImageSequence = [
        *ds.SourceImageSequence,
        source_item(reference, UNCOMPRESSED_PREDECESSOR, same_grid=True),
    ]
    ds.ReferencedSeriesSequence = [
        *ds.ReferencedSeriesSequence,
        series_item(reference, ds.SeriesInstanceUID),
    ]
    ds.DerivationCodeSequence = [
        *ds.get("DerivationCodeSequence", ()),
        LOSSY_COMPRESSION.item(),
    ]


def _add_lossy_step(ds: Dataset, ratio: float) -> None:
    """Append ratio and method of this step to the values of the film (PS3.3 C.7.6.1.1.5)."""
    ratios = list(numbers(ds, "LossyImageCompressionRatio"))
    methods = [name for name in text(ds, "LossyImageCompressionMethod").split("\\") if name]
    if len(ratios) != len(methods) or not np.isfinite(ratios).all():
        ratios, methods = [], []
    with suppressed_warnings():
        ds.LossyImageCompression = "01"
        ds.LossyImageCompressionRatio = MultiValue(str, [f"{x:.4g}" for x in (*ratios, ratio)])
        ds.LossyImageCompressionMethod = [*methods, "ISO_10918_1"]


def _file(ds: Dataset) -> bytes:
    buffer = BytesIO()
    with suppressed_warnings():
        dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()
