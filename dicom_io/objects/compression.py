"""Pictures in the form a destination prefers: uncompressed, RLE, JPEG 2000 or JPEG baseline.

Two rules, because two of these lose nothing and one does. A picture in RLE or JPEG 2000 (lossless)
is the same instance in another transfer syntax, so it is compressed while it is sent, once the
destination has accepted that syntax. JPEG baseline changes pixels: the image "shall receive a new
SOP Instance UID" (PS3.3 C.7.6.1.1.5), so it is another object, built once, that names its
uncompressed predecessor. Decoding that object again loses nothing more: where a destination refuses
JPEG it goes out uncompressed under its own UID, still marked as lossy.
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
from dicom_io.objects.classes import PLAIN_SYNTAXES
from dicom_io.objects.codes import LOSSY_COMPRESSION, UNCOMPRESSED_PREDECESSOR
from dicom_io.objects.encode import to_bytes
from dicom_io.objects.secondary_capture import series_item, source_item
from dicom_io.read.header import header_of, numbers, read_dataset, text
from dicom_io.read.warnings_off import quietly

RLE = str(RLELossless)

JPEG_2000 = str(JPEG2000Lossless)

JPEG_BASELINE = str(JPEGBaseline8Bit)

# Of 100: text and colour edges stay clean, at about a tenth of the size.
_JPEG_QUALITY = 90

_SHORT_TEXT = 1024

# What pydicom and its plugins raise where they cannot encode or decode.
_CODEC_ERRORS = (
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)

# How a lossless syntax holds RGB: RLE by planes, JPEG 2000 after its reversible transform.
_PHOTOMETRICS: Mapping[str, str] = MappingProxyType({RLE: "RGB", JPEG_2000: "YBR_RCT"})


def fitted(data: bytes, preferred: str | None, accepted: Mapping[str, Collection[str]]) -> bytes:
    """An object as it is to be sent to a destination that prefers a transfer syntax for pictures.

    `data` is a whole file, `accepted` the transfer syntaxes accepted by SOP class. A picture is
    put into `preferred` where that is accepted and loses nothing; one stored compressed is decoded
    where its own syntax is not accepted. Anything else comes back as it is. Raises ObjectError
    where a codec fails, and NotDicomError.
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
    """The same instance in RLE or JPEG 2000 Lossless. Raises ObjectError."""
    ds = read_dataset(data)
    try:
        with quietly():
            ds.PhotometricInterpretation = _PHOTOMETRICS[syntax]
            ds.compress(UID(syntax), generate_instance_uid=False)
    except _CODEC_ERRORS as error:
        raise ObjectError(f"the picture cannot be compressed ({type(error).__name__})") from error
    return _file(ds)


def uncompressed(data: bytes) -> bytes:
    """The same instance in Explicit VR Little Endian, still marked if lossy. Raises ObjectError."""
    ds = read_dataset(data)
    try:
        with quietly():
            ds.decompress(generate_instance_uid=False)
    except _CODEC_ERRORS as error:
        raise ObjectError(f"the picture cannot be decoded ({type(error).__name__})") from error
    return _file(ds)


def jpeg_copy(
    picture: Dataset, *, sop_instance_uid: str, series_instance_uid: str, series_number: int
) -> bytes:
    """A Secondary Capture that `capture` built, as another object in JPEG baseline: a whole file.

    Raises ObjectError where the encoder fails.
    """
    encoded = _jpeg(picture)
    ratio = len(picture.PixelData) / len(encoded)
    ds = read_dataset(to_bytes(picture))
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    ds.SeriesInstanceUID = series_instance_uid
    ds.SeriesNumber = series_number
    _add_predecessor(ds, picture)
    ds.DerivationDescription = (
        f"JPEG baseline, quality {_JPEG_QUALITY}, {ratio:.1f}:1. {picture.DerivationDescription}"
    )[:_SHORT_TEXT]
    _add_lossy_step(ds, ratio)
    ds.PhotometricInterpretation = "YBR_FULL_422"
    ds.PixelData = encapsulate([encoded])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return _file(ds)


def _jpeg(picture: Dataset) -> bytes:
    rgb = np.frombuffer(picture.PixelData, np.uint8)[: picture.Rows * picture.Columns * 3]
    bgr = cv2.cvtColor(rgb.reshape(picture.Rows, picture.Columns, 3), cv2.COLOR_RGB2BGR)
    # A.4.1 of PS3.5: two Y blocks, then one of each chrominance, which is YBR_FULL_422.
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


def _add_predecessor(ds: Dataset, picture: Dataset) -> None:
    reference = Dataset()
    reference.ReferencedSOPClassUID = picture.SOPClassUID
    reference.ReferencedSOPInstanceUID = picture.SOPInstanceUID
    ds.SourceImageSequence = [
        *picture.SourceImageSequence,
        source_item(reference, UNCOMPRESSED_PREDECESSOR, same_grid=True),
    ]
    ds.ReferencedSeriesSequence = [
        *picture.ReferencedSeriesSequence,
        series_item(reference, picture.SeriesInstanceUID),
    ]
    ds.DerivationCodeSequence = [
        *picture.get("DerivationCodeSequence", ()),
        LOSSY_COMPRESSION.item(),
    ]


def _add_lossy_step(ds: Dataset, ratio: float) -> None:
    """Ratio and method of this step after those of the film, value by value (C.7.6.1.1.5)."""
    ratios = list(numbers(ds, "LossyImageCompressionRatio"))
    methods = [one for one in text(ds, "LossyImageCompressionMethod").split("\\") if one]
    if len(ratios) != len(methods) or not np.isfinite(ratios).all():
        ratios, methods = [], []
    with quietly():
        ds.LossyImageCompression = "01"
        ds.LossyImageCompressionRatio = MultiValue(str, [f"{one:.4g}" for one in (*ratios, ratio)])
        ds.LossyImageCompressionMethod = [*methods, "ISO_10918_1"]


def _file(ds: Dataset) -> bytes:
    buffer = BytesIO()
    with quietly():
        dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()
