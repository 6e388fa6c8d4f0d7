"""Compression of pictures: in the spool, and in the form that a destination accepts.

The spool holds pictures in HTJ2K Lossless (ISO/IEC 15444-15, PS3.5 A.4.4), an eighth of the size
of their pixels, which is encoded and decoded in some 30 ms. HTJ2K, RLE and JPEG 2000 Lossless keep
every pixel: the picture remains the same instance, so the sender converts it once the destination
has accepted a transfer syntax, and decodes it for a destination that accepts none of them.

JPEG baseline changes pixels: the image "shall receive a new SOP Instance UID" (PS3.3 C.7.6.1.1.5).
The JPEG copy is therefore an object of its own, built once, which names its uncompressed
predecessor. A destination that refuses JPEG receives the copy decoded, under the UID of the copy
and still marked as lossy.
"""

import copy
from collections.abc import Collection, Mapping
from io import BytesIO
from types import MappingProxyType

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.multival import MultiValue
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from dicom_io.errors import ObjectError
from dicom_io.objects.algorithm import short_text
from dicom_io.objects.classes import PLAIN_SYNTAXES
from dicom_io.objects.codes import LOSSY_COMPRESSION, UNCOMPRESSED_PREDECESSOR
from dicom_io.objects.encode import to_bytes
from dicom_io.objects.secondary_capture import series_item, source_item
from dicom_io.objects.source_header import reference_item
from dicom_io.read.header import header_of, numbers, read_dataset, text
from dicom_io.read.warnings_off import suppressed_warnings

HTJ2K = str(HTJ2KLossless)
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
_PHOTOMETRICS: Mapping[str, str] = MappingProxyType(
    {HTJ2K: "YBR_RCT", RLE: "RGB", JPEG_2000: "YBR_RCT"}
)


def compressed_picture(picture: Dataset) -> bytes:
    """Return a built picture as a whole file in HTJ2K Lossless; `picture` is kept.

    Raises ObjectError if the encoder fails.
    """
    ds = copy.deepcopy(picture)
    _encode_htj2k(ds)
    return to_bytes(ds, HTJ2K)


def picture_for_destination(
    data: bytes, preferred: str | None, accepted: Mapping[str, Collection[str]]
) -> bytes:
    """Return an object in a transfer syntax that the destination accepted.

    `data` is a whole file; `accepted` maps each SOP class to its accepted transfer syntaxes. A
    lossless picture is sent in `preferred` if that syntax is lossless and accepted, and decoded
    otherwise. A lossy one is decoded if its syntax is not accepted. Every other object is returned
    unchanged. Raises ObjectError if a codec fails, and NotDicomError.
    """
    header = header_of(read_dataset(data, with_pixels=False))
    if header.sop_class_uid != SecondaryCaptureImageStorage:
        return data
    syntaxes = accepted.get(header.sop_class_uid, ())
    stored = header.transfer_syntax_uid
    if stored in syntaxes and (stored == preferred or stored not in (HTJ2K, *PLAIN_SYNTAXES)):
        return data
    plain = data if stored in PLAIN_SYNTAXES else uncompressed(data)
    is_lossless = stored in (HTJ2K, *PLAIN_SYNTAXES)
    if is_lossless and preferred and preferred in _PHOTOMETRICS and preferred in syntaxes:
        return losslessly_compressed(plain, preferred)
    return plain


def losslessly_compressed(data: bytes, syntax: str) -> bytes:
    """Return the same uncompressed instance in a lossless syntax. Raises ObjectError."""
    ds = read_dataset(data)
    if syntax == HTJ2K:
        _encode_htj2k(ds)
        ds.file_meta.TransferSyntaxUID = UID(HTJ2K)
        return _file(ds)
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
        if ds.file_meta.TransferSyntaxUID == HTJ2K:
            return _file(_decoded_htj2k(ds))
        with suppressed_warnings():
            ds.decompress(generate_instance_uid=False)
    except _CODEC_ERRORS as error:
        raise ObjectError(f"the picture cannot be decoded ({type(error).__name__})") from error
    return _file(ds)


def jpeg_copy(
    picture: Dataset, *, sop_instance_uid: str, series_instance_uid: str, series_number: int
) -> bytes:
    """Return a copy of a built Secondary Capture in JPEG baseline, as a whole file.

    The copy is an object of its own, with the given UIDs; `picture` is kept. Raises ObjectError if
    the encoder fails.
    """
    ds = copy.deepcopy(picture)
    encoded = _jpeg(ds)
    ratio = len(ds.PixelData) / len(encoded)
    _add_predecessor(ds)
    ds.SOPInstanceUID = UID(sop_instance_uid)
    ds.SeriesInstanceUID = series_instance_uid
    ds.SeriesNumber = series_number
    ds.DerivationDescription = short_text(
        f"JPEG baseline, quality {_JPEG_QUALITY}, {ratio:.1f}:1. {ds.DerivationDescription}"
    )
    _add_lossy_step(ds, ratio)
    ds.PhotometricInterpretation = "YBR_FULL_422"
    ds.PixelData = encapsulate([encoded])
    ds["PixelData"].is_undefined_length = True
    return to_bytes(ds, JPEG_BASELINE)


def _encode_htj2k(ds: Dataset) -> None:
    """Encode the pixels of a picture, with the reversible colour transform."""
    try:
        encoded = imagecodecs.htj2k_encode(_rgb(ds), reversible=True, rgb=True)
    except _CODEC_ERRORS as error:
        raise ObjectError(f"the picture cannot be compressed ({type(error).__name__})") from error
    ds.PhotometricInterpretation = _PHOTOMETRICS[HTJ2K]
    ds.PixelData = encapsulate([bytes(encoded)])
    ds["PixelData"].is_undefined_length = True


def _decoded_htj2k(ds: Dataset) -> Dataset:
    """Return the dataset with decoded pixels. Raises ValueError for pixels of another shape."""
    rgb = imagecodecs.htj2k_decode(get_frame(ds.PixelData, 0, number_of_frames=1))
    if rgb.shape != (ds.Rows, ds.Columns, 3) or rgb.dtype != np.uint8:
        raise ValueError(f"the pixels are {rgb.dtype} {rgb.shape}")
    pixels = rgb.tobytes()
    ds.PhotometricInterpretation = "RGB"
    ds.PixelData = pixels + b"\0" * (len(pixels) % 2)
    ds["PixelData"].is_undefined_length = False
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def _rgb(picture: Dataset) -> NDArray[np.uint8]:
    """Return the uncompressed pixels (rows, columns, 3)."""
    rgb = np.frombuffer(picture.PixelData, np.uint8)[: picture.Rows * picture.Columns * 3]
    return rgb.reshape(picture.Rows, picture.Columns, 3)


def _jpeg(picture: Dataset) -> bytes:
    bgr = cv2.cvtColor(_rgb(picture), cv2.COLOR_RGB2BGR)
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
