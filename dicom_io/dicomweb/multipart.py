"""The multipart/related bodies of DICOMweb (PS3.18 8.6.1.2, RFC 2046 5.1, RFC 2387).

To read a body whose chunks arrive one by one, from a synchronous or asynchronous source:

    reader = MultipartReader(content_type, limits)
    for chunk in chunks:                    # or: async for
        for part in reader.feed(chunk):     # complete parts, in the order of the body
            keep(part.media_type.name, part.data)
    reader.finish()                         # raises MultipartError if the body was cut short

To write a body:

    boundary = new_boundary()
    header = related(DICOM_FILE, boundary)  # the value of Content-Type
    chunks = written(parts, boundary)       # an iterator of bytes; `written_size` gives the length

A reader holds one part and one chunk at a time. Each error is one line without content of the body.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from enum import Enum, auto
from types import MappingProxyType

from dicom_io.errors import MultipartError

DICOM_FILE = "application/dicom"
"""The media type of a DICOM file (PS3.10), RFC 3240."""
DICOM_JSON = "application/dicom+json"
"""The media type of a DICOM JSON object (PS3.18 Annex F)."""
DICOM_XML = "application/dicom+xml"
"""The media type of a Native DICOM Model (PS3.19 A.1)."""
RELATED = "multipart/related"

_LINE = b"\r\n"
_END_OF_HEADER = b"\r\n\r\n"
_LONGEST_BOUNDARY = 200  # RFC 2046 5.1.1 has 70, and Orthanc makes one of 73.
_PLAIN_ENCODINGS = frozenset({"", "7bit", "8bit", "binary"})


@dataclass(frozen=True, slots=True)
class MediaType:
    """A media type: `name` in lower case, and its parameters by their name in lower case."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a reader accepts.

    `parts` is a number of parts, `part_bytes` the bytes of one part, `header_bytes` those of one
    part's header, and `total_bytes` those of the whole body (None: no limit).
    """

    parts: int = 10_000
    part_bytes: int = 512 * 2**20
    header_bytes: int = 8192
    total_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a body; the names in `headers` are in lower case."""

    headers: Mapping[str, str]
    data: bytes

    @property
    def media_type(self) -> MediaType:
        """Return the type of the part; RFC 2046 5.1 makes it text/plain without a header."""
        return media_type(self.headers.get("content-type", "text/plain"))

    @classmethod
    def of(cls, data: bytes, content_type: str = DICOM_FILE, location: str = "") -> "Part":
        """Return a part with a Content-Type and, where one is given, a Content-Location."""
        headers = {"content-type": content_type}
        if location:
            headers["content-location"] = location
        return cls(headers, data)


class _State(Enum):
    PREAMBLE = auto()
    DELIMITER = auto()
    HEADER = auto()
    DATA = auto()
    EPILOGUE = auto()


class MultipartReader:
    """Reads the parts of a body from its chunks, within limits."""

    def __init__(self, content_type: str, limits: Limits | None = None) -> None:
        """`content_type` is the header of the whole body.

        Raises MultipartError if it is not multipart/related or has no valid boundary.
        """
        self._delimiter = _LINE + b"--" + boundary_of(content_type)
        self._limits = limits or Limits()
        self._state = _State.PREAMBLE
        # A body may start with its first delimiter, which has no line end before it.
        self._buffer = bytearray(_LINE)
        self._searched = 0
        self._total = 0
        self._parts = 0
        self._headers: Mapping[str, str] = {}

    def feed(self, chunk: bytes) -> list[Part]:
        """Return the parts that are complete with this chunk. Raises MultipartError."""
        self._total += len(chunk)
        if self._limits.total_bytes is not None and self._total > self._limits.total_bytes:
            raise _too_large(f"is longer than {self._limits.total_bytes} bytes")
        self._buffer += chunk
        parts: list[Part] = []
        while True:
            before = self._state, len(self._buffer)
            part = self._step()
            if part is not None:
                parts.append(part)
            if (self._state, len(self._buffer)) == before:
                return parts

    def finish(self) -> None:
        """Raise MultipartError unless the body has ended with its last delimiter."""
        if self._state is not _State.EPILOGUE:
            raise MultipartError(f"the multipart body was cut short in part {max(self._parts, 1)}")

    def _step(self) -> Part | None:
        """Read as much as one state can. Return a part if one ended."""
        match self._state:
            case _State.PREAMBLE:
                self._skip_preamble()
            case _State.DELIMITER:
                self._end_delimiter()
            case _State.HEADER:
                self._read_header()
            case _State.DATA:
                return self._read_data()
            case _State.EPILOGUE:
                if len(self._buffer) > self._limits.header_bytes:
                    raise _too_large("goes on after its last delimiter")
        return None

    def _skip_preamble(self) -> None:
        found = self._find(self._delimiter)
        if max(found, len(self._buffer) if found < 0 else 0) > (
            self._limits.header_bytes + len(self._delimiter)
        ):
            raise _too_large("has no delimiter where its first part should start")
        if found >= 0:
            self._drop(found + len(self._delimiter))
            self._state = _State.DELIMITER

    def _end_delimiter(self) -> None:
        """Read the rest of the line of a delimiter, which says if another part follows."""
        if len(self._buffer) < len(_LINE):
            return
        if self._buffer.startswith(b"--"):
            self._drop(2)
            self._state = _State.EPILOGUE
            return
        found = self._find(_LINE)
        padding = self._buffer if found < 0 else self._buffer[:found]
        if len(padding) > self._limits.header_bytes or padding.strip(b" \t\r"):
            raise MultipartError("the line of a multipart delimiter is malformed")
        if found < 0:
            return
        self._parts += 1
        if self._parts > self._limits.parts:
            raise _too_large(f"has more than {self._limits.parts} parts")
        # The line end stays: with it, an empty header ends like any other.
        self._drop(found)
        self._state = _State.HEADER

    def _read_header(self) -> None:
        found = self._find(_END_OF_HEADER)
        end = len(self._buffer) - len(_END_OF_HEADER) + 1 if found < 0 else found
        if end - len(_LINE) > self._limits.header_bytes:
            raise _too_large(
                f"has a header of more than {self._limits.header_bytes} bytes in part {self._parts}"
            )
        if found < 0:
            return
        self._headers = _headers_of(bytes(self._buffer[:found]), self._parts)
        # A part without data has its delimiter right here, so the last line end stays.
        self._drop(found + len(_LINE))
        self._state = _State.DATA

    def _read_data(self) -> Part | None:
        found = self._find(self._delimiter)
        held = (len(self._buffer) - len(self._delimiter) if found < 0 else found) - len(_LINE)
        if held > self._limits.part_bytes:
            raise _too_large(f"has more than {self._limits.part_bytes} bytes in part {self._parts}")
        if found < 0:
            return None
        with memoryview(self._buffer) as view:
            data = bytes(view[len(_LINE) : found])
        self._drop(found + len(self._delimiter))
        self._state = _State.DELIMITER
        return Part(self._headers, data)

    def _find(self, wanted: bytes) -> int:
        """Return the place of `wanted`, or -1; what was searched is not searched again."""
        found = self._buffer.find(wanted, self._searched)
        if found < 0:
            self._searched = max(0, len(self._buffer) - len(wanted) + 1)
        return found

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._searched = 0


def media_type(text: str) -> MediaType:
    """Return the parsed value of a Content-Type or of one choice of an Accept header.

    The name is empty if the value is none.
    """
    message = Message()
    message["content-type"] = " ".join(text.split())
    name, *parameters = message.get_params([("", "")]) or [("", "")]
    return MediaType(
        name[0].lower(),
        MappingProxyType({key.lower(): str(value) for key, value in parameters}),
    )


def boundary_of(content_type: str) -> bytes:
    """Return the boundary of a multipart/related Content-Type. Raises MultipartError."""
    parsed = media_type(content_type)
    if parsed.name != RELATED:
        raise MultipartError(f"the body is not {RELATED}")
    boundary = parsed.parameters.get("boundary", "").rstrip(" ")
    if not boundary or not boundary.isascii() or not boundary.isprintable():
        raise MultipartError("the Content-Type of the multipart body has no valid boundary")
    if len(boundary) > _LONGEST_BOUNDARY:
        raise MultipartError(f"the multipart boundary is longer than {_LONGEST_BOUNDARY} bytes")
    return boundary.encode("ascii")


def related(part_type: str, boundary: str) -> str:
    """Return the Content-Type of a body whose parts have a media type (RFC 2387)."""
    return f'{RELATED}; type="{part_type}"; boundary={boundary}'


def new_boundary() -> str:
    """Return a boundary that no content holds: 128 random bits."""
    return f"cxrd-{secrets.token_hex(16)}"


def written(parts: Iterable[Part], boundary: str) -> Iterator[bytes]:
    """Yield the body in pieces; a part's data is one piece and is not copied."""
    for part in parts:
        yield _head(part, boundary)
        yield part.data
        yield _LINE
    yield _last(boundary)


def written_size(parts: Iterable[Part], boundary: str) -> int:
    """Return the length in bytes of what `written` yields, for Content-Length."""
    size = sum(len(_head(part, boundary)) + len(part.data) + len(_LINE) for part in parts)
    return size + len(_last(boundary))


def _head(part: Part, boundary: str) -> bytes:
    lines = [f"--{boundary}", *(f"{name.title()}: {text}" for name, text in part.headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def _last(boundary: str) -> bytes:
    return f"--{boundary}--\r\n".encode("ascii")


def _headers_of(block: bytes, number: int) -> Mapping[str, str]:
    """Return the headers of a part. Raises MultipartError."""
    headers: dict[str, str] = {}
    for line in block.decode("latin-1").split("\r\n"):
        if not line:
            continue
        name, separator, text = line.partition(":")
        if not separator or not name.strip() or line[0] in " \t" or not line.isprintable():
            raise MultipartError(f"part {number} of the multipart body has a malformed header")
        headers[name.strip().lower()] = text.strip()
    if headers.get("content-transfer-encoding", "").lower() not in _PLAIN_ENCODINGS:
        raise MultipartError(
            f"part {number} of the multipart body has a Content-Transfer-Encoding other than binary"
        )
    return MappingProxyType(headers)


def _too_large(problem: str) -> MultipartError:
    return MultipartError(f"the multipart body {problem}", is_too_large=True)
