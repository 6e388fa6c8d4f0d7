"""DICOM objects as DICOM JSON (PS3.18 Annex F), with their bulk data by reference.

Values of at most INLINE_BYTES bytes stand in the JSON; a longer one, and the pixels, are named by a
BulkDataURI that ends in the path of the element: `7FE00010`, or `00880200/0/7FE00010` within the
first item of a sequence.
"""

import math
import struct
from collections.abc import Callable
from io import BytesIO

from pydicom import Dataset
from pydicom.dataelem import DataElement
from pydicom.encaps import generate_frames
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicom_io.dicomweb.attributes import DicomJson
from dicom_io.errors import DicomError, NotDicomError
from dicom_io.read.bounded_parser import PARSER_ERRORS
from dicom_io.read.header import number, read_dataset
from dicom_io.read.warnings_off import suppressed_warnings

INLINE_BYTES = 4096
PIXEL_DATA = "7FE00010"
_BULK_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_DEEPEST = 32

CONVERTED_SYNTAXES = frozenset({str(ImplicitVRLittleEndian), str(DeflatedExplicitVRLittleEndian)})
"""The transfer syntaxes from which an object is converted to Explicit VR Little Endian."""


class NotEncodedSoError(DicomError):
    """The object's pixels are not stored in a form that can be sent."""


def metadata(data: bytes, address: Callable[[str], str]) -> DicomJson:
    """Return an object as DICOM JSON without its file meta information (PS3.18 10.4.1.1.2).

    `address` returns the URI of the bulk data at the path of an element. An element whose value
    cannot be read is left out. Raises NotDicomError.
    """
    ds = read_dataset(data, with_pixels=False)
    with suppressed_warnings():
        found = _data_set(ds, "", address, 0)
        if "Rows" in ds:
            is_compressed = UID(str(ds.file_meta.TransferSyntaxUID)).is_compressed
            vr = "OB" if is_compressed else "OW"
            found[PIXEL_DATA] = {"vr": vr, "BulkDataURI": address(PIXEL_DATA)}
    return found


def bulk_data(data: bytes, path: str) -> bytes:
    """Return the bytes of the element at a path. Raises NotDicomError if it has none."""
    ds = read_dataset(data)
    *sequence, last = path.split("/")
    with suppressed_warnings():
        try:
            for tag, item in zip(sequence[::2], sequence[1::2], strict=True):
                ds = ds[int(tag, 16)].value[int(item)]
            value = ds[int(last, 16)].value
        except (*PARSER_ERRORS, ValueError):
            raise NotDicomError("the object has no such bulk data") from None
    if not isinstance(value, bytes):
        raise NotDicomError("the object has no such bulk data")
    return value


def frames(data: bytes, numbers: list[int]) -> tuple[list[bytes], str]:
    """Return frames (from 1) as they are stored, and the transfer syntax of their bytes.

    Native pixels are little endian, in the syntax Explicit VR Little Endian. Raises NotDicomError
    if the object has no such frame, NotEncodedSoError for pixels that cannot be cut into frames.
    """
    ds = read_dataset(data)
    syntax = UID(str(ds.file_meta.TransferSyntaxUID))
    count = int(number(ds, "NumberOfFrames") or 1)
    if "PixelData" not in ds or not all(1 <= one <= count for one in numbers):
        raise NotDicomError("the object has no such frame")
    if syntax == ExplicitVRBigEndian:
        raise NotEncodedSoError("the pixels are big endian")
    with suppressed_warnings():
        pixels = bytes(ds.PixelData)
        if syntax.is_encapsulated:
            return _encapsulated(pixels, count, numbers), str(syntax)
    bits = int(number(ds, "BitsAllocated") or 0)
    samples = int(number(ds, "SamplesPerPixel") or 1)
    size = int(number(ds, "Rows") or 0) * int(number(ds, "Columns") or 0) * samples * bits // 8
    if bits % 8 or not size or size * count > len(pixels):
        raise NotEncodedSoError("the pixels do not have the size that the header gives")
    native = [pixels[(one - 1) * size : one * size] for one in numbers]
    return native, str(ExplicitVRLittleEndian)


def explicit_little_endian(data: bytes, transfer_syntax_uid: str) -> bytes:
    """Return a file in Implicit VR or deflated as one in Explicit VR Little Endian.

    Raises NotDicomError, or NotEncodedSoError for a file in another transfer syntax.
    """
    if transfer_syntax_uid not in CONVERTED_SYNTAXES:
        raise NotEncodedSoError("the object is not converted to Explicit VR Little Endian")
    ds = read_dataset(data)
    written = BytesIO()
    with suppressed_warnings():
        try:
            ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            ds.save_as(written, implicit_vr=False, little_endian=True, enforce_file_format=True)
        except PARSER_ERRORS as error:
            raise NotEncodedSoError("the object cannot be written anew") from error
    return written.getvalue()


def _encapsulated(pixels: bytes, count: int, numbers: list[int]) -> list[bytes]:
    try:
        found = list(generate_frames(pixels, number_of_frames=count))
        return [found[one - 1] for one in numbers]
    except (*PARSER_ERRORS, ValueError, IndexError, struct.error):
        raise NotEncodedSoError("the compressed pixels are damaged") from None


def _data_set(ds: Dataset, path: str, address: Callable[[str], str], depth: int) -> DicomJson:
    found: DicomJson = {}
    for tag in sorted(ds.keys()):
        if tag.element == 0 or tag.group <= 2:
            continue
        name = f"{int(tag):08X}"
        try:
            found[name] = _element(ds[tag], path + name, address, depth)
        except (*PARSER_ERRORS, ValueError, TypeError, OverflowError):
            continue
    return found


def _element(
    element: DataElement, path: str, address: Callable[[str], str], depth: int
) -> DicomJson:
    if element.VR == "SQ":
        if depth >= _DEEPEST:
            raise ValueError("nested too deeply")
        items = [
            _data_set(item, f"{path}/{index}/", address, depth + 1)
            for index, item in enumerate(element.value)
        ]
        return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
    is_bulk = element.VR in _BULK_VRS and isinstance(element.value, bytes)
    if is_bulk and len(element.value) > INLINE_BYTES:
        return {"vr": element.VR, "BulkDataURI": address(path)}
    found = element.to_json_dict(None, INLINE_BYTES)
    numbers = (value for value in found.get("Value", ()) if isinstance(value, float))
    if not all(map(math.isfinite, numbers)):
        raise ValueError("JSON has no such number")
    return found
