"""Bytes of strangers → a pydicom dataset, in bounded time and memory.

pydicom's parser asks for the bytes of a header one after the other, sequences of undefined length
included: whoever hands them out sees how much work an object is. So an object is measured while it
is parsed, and refused when it turns out to be too much of it.
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
from dicom_io.read.warnings_off import quietly

MAX_INFLATED_BYTES = 1 << 30
"""The largest object that a deflated one may unpack to."""

MAX_HEADER_BYTES = 64 << 20
"""What a header may take that is read without its pixels, without the values skipped."""

MAX_READS = 500_000
"""How often the parser may ask for bytes: two or three times for each element and item."""

MAX_DEPTH = 32
"""How deep sequences may be nested in an object that is analysed."""

MAX_IN_SEQUENCES = 5_000
"""How many elements and items the sequences of such an object may have: some are copied into every
object that is made of it. Films have a few hundred."""

MAX_SEQUENCE_BYTES = 4 << 20
"""What the values in those sequences may take, lookup tables included."""

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
"""What pydicom raises on input that is not what it claims to be."""

_PREAMBLE = 128

_DEFLATED = DeflatedExplicitVRLittleEndian.encode()

# Where a deflated object names its transfer syntax, however broken the elements before it are.
_LONGEST_GUESS = 4096

_PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})

# (0008,0005) as both byte orders write it, and the longest value that names character sets.
_CHARACTER_SET = (b"\x08\x00\x05\x00", b"\x00\x08\x00\x05")

_LONGEST_CHARACTER_SET = 1024


def at_pixels(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    """Stop before the pixel data."""
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

    Without `stop_when` the whole of it is read; of the elements at top level `only` some, or all.
    Of a deflated object `max_inflated` bytes are unpacked, or as much as may be read. The result
    has `file_meta`, which may be empty. Raises NotDicomError where the bytes cannot be parsed or
    are more work than an object may be.
    """
    most = None if stop_when is None else MAX_HEADER_BYTES
    deflated = is_deflated(data)
    plain = _inflated(data, max_inflated or most) if deflated else data
    source = _Measured(plain, max_reads, most)

    def parse() -> Dataset:
        return read_partial(
            cast(BinaryIO, source), stop_when, force=True, specific_tags=list(only) or None
        )

    ds = _parsed(parse, source)
    if not hasattr(ds, "file_meta"):
        ds.file_meta = FileMetaDataset()
    if deflated:
        ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return ds


def parse_message(data: bytes, *, implicit_vr: bool, little_endian: bool) -> Dataset:
    """Parse the bare data set of a message, whose syntax was negotiated.

    Raises NotDicomError where the bytes are no data set.
    """
    source = _Measured(data, MAX_READS, MAX_HEADER_BYTES)
    return _parsed(lambda: read_dataset(cast(BinaryIO, source), implicit_vr, little_endian), source)


def refuse_excess(ds: Dataset) -> None:
    """Raise NotDicomError where sequences are nested too deep, or there is too much in them.

    Every sequence is parsed for it, so this belongs where it may take time.
    """
    level, elements, size = [ds], 0, 0
    for _ in range(MAX_DEPTH):
        level = [item for one in level for item in _items_of_all(one)]
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
    """How many bytes a value has that was read and not looked at yet; 0 for others."""
    element = ds.get_item(tag, keep_deferred=True)
    return len(element.value or b"") if isinstance(element, RawDataElement) else 0


def _items_of_all(ds: Dataset) -> Iterator[Dataset]:
    """The items of every sequence that can be parsed; what cannot be counts as absent."""
    for tag in list(ds.keys()):
        vr = ds.get_item(tag, keep_deferred=True).VR
        if vr == "SQ" or (vr in (None, "UN") and _is_sequence(tag)):
            try:
                with quietly():
                    value = ds[tag].value
            except PARSER_ERRORS:
                continue
            if isinstance(value, PydicomSequence):
                yield from value


def _is_sequence(tag: BaseTag) -> bool:
    return dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ"


class _Measured(BytesIO):
    """Bytes that are handed out until it is too much."""

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
        # pydicom splits and checks a character set at once, however long it is.
        if len(data) > _LONGEST_CHARACTER_SET and self._start in _CHARACTER_SET:
            self._refuse("its SpecificCharacterSet is no list of character sets")
        if len(data) == 8:
            self._start = data[:4]
        return data

    def _refuse(self, excess: str) -> None:
        self.excess = self.excess or excess
        raise ValueError(excess)


def _parsed(parse: Callable[[], Dataset], source: _Measured) -> Dataset:
    try:
        with quietly():
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
    """Whether the object is deflated (PS3.5 A.5).

    Raises NotDicomError where it says so and cannot be unpacked for lack of File Meta Information.
    """
    start = _end_of_file_meta(data)
    if start is None and _DEFLATED in data[:_LONGEST_GUESS]:
        raise NotDicomError("the deflated object has no sound File Meta Information")
    return start is not None and _DEFLATED in data[:start]


def _inflated(data: bytes, most: int | None) -> bytes:
    """A deflated object as one in explicit little endian.

    Only as many bytes as `most` are unpacked. Without a limit, one that unpacks to more than an
    object may have is refused while it is counted.
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
    """Offset of the data set by the File Meta Information Group Length (PS3.10 7.1)."""
    element = data[_PREAMBLE + 4 : _PREAMBLE + 16]
    if data[_PREAMBLE : _PREAMBLE + 4] != b"DICM" or element[:8] != b"\x02\0\0\0UL\x04\0":
        return None
    return int(_PREAMBLE + 16 + int.from_bytes(element[8:], "little"))
