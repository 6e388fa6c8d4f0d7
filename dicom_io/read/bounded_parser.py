"""Parses untrusted bytes into a pydicom dataset, in bounded time and memory.

pydicom reads the bytes of a header piece by piece, including sequences of undefined length. The
stream that it reads counts reads and bytes, and refuses the object when a limit is exceeded.
"""

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from typing import BinaryIO, cast

from pydicom import Dataset, FileMetaDataset
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_partial
from pydicom.sequence import Sequence as PydicomSequence
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from dicom_io.errors import NotDicomError
from dicom_io.read.warnings_off import suppressed_warnings

MAX_INFLATED_BYTES = 1 << 30
"""Bytes that a deflated object may inflate to."""
MAX_HEADER_BYTES = 64 << 20
"""Bytes of a header that is read without pixels; values that the parser skips do not count."""
MAX_READS = 500_000
"""Reads that the parser may make of one object: it makes two or three per element or item."""

MAX_DEPTH = 32
"""Levels of nested sequences in an object to analyse."""
MAX_IN_SEQUENCES = 5_000
"""Elements and items in the sequences of an object to analyse.

Some sequences are copied into each object built from it. Films have a few hundred elements.
"""
MAX_SEQUENCE_BYTES = 4 << 20
"""Bytes of the values in the sequences of an object to analyse, including lookup tables."""

StopWhen = Callable[[BaseTag, str | None, int], bool]

PARSER_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""Exceptions that pydicom raises on malformed input."""

_PREAMBLE = 128
_DEFLATED = DeflatedExplicitVRLittleEndian.encode()

# Bytes that are searched for the transfer syntax of an object with malformed File Meta Information.
_LONGEST_GUESS = 4096
_PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})

# Tag and group length of (0008,0005) in both byte orders, and the longest legitimate value.
_CHARACTER_SET = (b"\x08\x00\x05\x00", b"\x00\x08\x00\x05")
_LONGEST_CHARACTER_SET = 1024


def at_pixels(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    """Return True at the pixel data, where parsing stops."""
    return tag in _PIXEL_TAGS


def parse_file(
    data: bytes,
    *,
    stop_when: StopWhen | None = None,
    only: Sequence[int] = (),
    max_reads: int = MAX_READS,
    max_inflated: int | None = None,
) -> Dataset:
    """Parse an object with or without preamble and file meta information (PS3.10 7.1).

    Without `stop_when` the whole object is read. `only` restricts the elements kept at top level. A
    deflated object is inflated up to `max_inflated` bytes, by default up to the read limit.
    The result has `file_meta`, which may be empty. Raises NotDicomError if the bytes cannot be
    parsed or exceed a limit.
    """
    most = None if stop_when is None else MAX_HEADER_BYTES
    deflated = is_deflated(data)
    plain = _inflated(data, max_inflated or most) if deflated else data
    ds = _parsed_file(_LimitedStream(plain, max_reads, most), stop_when, only)
    if deflated:
        ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return ds


def inflated(data: bytes) -> bytes:
    """Return a deflated object as an object in explicit little endian, and any other as it is.

    Raises NotDicomError if the object cannot be unpacked or unpacks to more than
    MAX_INFLATED_BYTES.
    """
    return _inflated(data, None) if is_deflated(data) else data


def parse_up_to_pixels(plain: bytes) -> tuple[Dataset, int]:
    """Parse the header of an object that is not deflated.

    Returns it with the offset of the pixel data, or of the end if there is no pixel data. Raises
    NotDicomError as `parse_file` does.
    """
    source = _LimitedStream(plain, MAX_READS, MAX_HEADER_BYTES)
    ds = _parsed_file(source, at_pixels, ())
    return ds, source.tell()


def parse_message(data: bytes, *, implicit_vr: bool, little_endian: bool) -> Dataset:
    """Parse the bare data set of a message in the negotiated transfer syntax.

    Raises NotDicomError if the bytes are not a data set.
    """
    source = _LimitedStream(data, MAX_READS, MAX_HEADER_BYTES)
    return _parsed(lambda: read_dataset(cast(BinaryIO, source), implicit_vr, little_endian), source)


def refuse_oversized_sequences(ds: Dataset) -> None:
    """Raise NotDicomError if sequences are nested too deep or hold too many elements or bytes.

    Parses every sequence, so call it only where that time is acceptable.
    """
    level, elements, size = [ds], 0, 0
    for _ in range(MAX_DEPTH):
        level = [item for parent in level for item in _items_of_all(parent)]
        elements += len(level) + sum(len(item) for item in level)
        if elements > MAX_IN_SEQUENCES:
            raise NotDicomError(f"its sequences have more than {MAX_IN_SEQUENCES} elements")
        size += sum(raw_length(item, tag) for item in level for tag in list(item.keys()))
        if size > MAX_SEQUENCE_BYTES:
            raise NotDicomError(f"its sequences take more than {MAX_SEQUENCE_BYTES >> 20} MiB")
        if not level:
            return
    raise NotDicomError(f"its sequences are nested more than {MAX_DEPTH} deep")


def raw_length(ds: Dataset, tag: BaseTag) -> int:
    """Return the length in bytes of a value that is not decoded yet; 0 for a decoded value."""
    element = ds.get_item(tag, keep_deferred=True)
    return len(element.value or b"") if isinstance(element, RawDataElement) else 0


def _items_of_all(ds: Dataset) -> Iterator[Dataset]:
    """Yield the items of every sequence; a sequence that cannot be parsed counts as absent."""
    for tag in list(ds.keys()):
        vr = ds.get_item(tag, keep_deferred=True).VR
        if vr == "SQ" or (vr in (None, "UN") and _is_sequence(tag)):
            try:
                with suppressed_warnings():
                    value = ds[tag].value
            except PARSER_ERRORS:
                continue
            if isinstance(value, PydicomSequence):
                yield from value


def _is_sequence(tag: BaseTag) -> bool:
    return dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ"


class _LimitedStream(BytesIO):
    """A stream that refuses reads beyond a number of reads or bytes."""

    def __init__(self, data: bytes, max_reads: int, max_bytes: int | None) -> None:
        super().__init__(data)
        self._reads_left = max_reads
        self._bytes_left = max_bytes
        self._start = b""
        self.excess = ""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._reads_left -= 1
        if self._reads_left < 0:
            self._refuse("it has too many elements and sequence items")
        if self._bytes_left is not None:
            self._bytes_left -= len(data)
            if self._bytes_left < 0:
                self._refuse(f"its header is larger than {MAX_HEADER_BYTES >> 20} MiB")
        # pydicom splits a character set at once, whatever its length.
        if len(data) > _LONGEST_CHARACTER_SET and self._start in _CHARACTER_SET:
            self._refuse("its SpecificCharacterSet is no list of character sets")
        if len(data) == 8:
            self._start = data[:4]
        return data

    def _refuse(self, excess: str) -> None:
        self.excess = self.excess or excess
        raise ValueError(excess)


def _parsed_file(
    source: _LimitedStream, stop_when: StopWhen | None, only: Sequence[int]
) -> Dataset:
    def parse() -> Dataset:
        return read_partial(
            cast(BinaryIO, source), stop_when, force=True, specific_tags=list(only) or None
        )

    ds = _parsed(parse, source)
    if not hasattr(ds, "file_meta"):
        ds.file_meta = FileMetaDataset()
    return ds


def _parsed(parse: Callable[[], Dataset], source: _LimitedStream) -> Dataset:
    try:
        with suppressed_warnings():
            return parse()
    except PARSER_ERRORS as error:
        if source.excess:
            raise NotDicomError(f"the object cannot be read: {source.excess}") from error
        if isinstance(error, RecursionError):
            raise NotDicomError("its sequences are nested far too deep") from error
        raise NotDicomError(
            f"the bytes cannot be parsed as DICOM ({type(error).__name__}); "
            "the object is damaged or of another format"
        ) from error


def is_deflated(data: bytes) -> bool:
    """Return True if the object is deflated (PS3.5 A.5).

    Raises NotDicomError if it is deflated and its File Meta Information is malformed, because then
    the start of the data set is unknown.
    """
    start = _end_of_file_meta(data)
    if start is None and _DEFLATED in data[:_LONGEST_GUESS]:
        raise NotDicomError("the deflated object has no sound File Meta Information")
    return start is not None and _DEFLATED in data[:start]


def _inflated(data: bytes, most: int | None) -> bytes:
    """Return a deflated object as an object in explicit little endian.

    Inflates about `most` bytes. Without `most`, raises NotDicomError as soon as the object exceeds
    MAX_INFLATED_BYTES.
    """
    start = _end_of_file_meta(data) or 0
    meta = data[:start].replace(
        _DEFLATED, ExplicitVRLittleEndian.encode().ljust(len(_DEFLATED), b"\0")
    )
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    pending, pieces, total = data[start:], [meta], 0
    try:
        while pending and not unpacker.eof and (most is None or total < most):
            pieces.append(unpacker.decompress(pending, 1 << 20))
            total += len(pieces[-1])
            pending = unpacker.unconsumed_tail
            if total > MAX_INFLATED_BYTES:
                raise NotDicomError(
                    f"the deflated object unpacks to more than {MAX_INFLATED_BYTES >> 20} MiB"
                )
    except zlib.error as error:
        raise NotDicomError("the deflated object cannot be unpacked; it is damaged") from error
    return b"".join(pieces)


def _end_of_file_meta(data: bytes) -> int | None:
    """Return the offset of the data set by File Meta Information Group Length (PS3.10 7.1)."""
    element = data[_PREAMBLE + 4 : _PREAMBLE + 16]
    if data[_PREAMBLE : _PREAMBLE + 4] != b"DICM" or element[:8] != b"\x02\0\0\0UL\x04\0":
        return None
    return int(_PREAMBLE + 16 + int.from_bytes(element[8:], "little"))
