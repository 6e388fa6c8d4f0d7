"""Blocks of the Minimal Lower Layer Protocol (HL7 v2.5.1, appendix C): VT, content, FS, CR."""

from collections.abc import Iterator

from daemon.errors import MllpError

START = b"\x0b"
END = b"\x1c\r"
_BETWEEN = b"\r\n"
"""Bytes between two blocks that some senders add; they are ignored."""


def block(content: bytes) -> bytes:
    """Return the content as a block. The content holds neither VT nor FS."""
    return START + content + END


class BlockReader:
    """Splits received bytes into the contents of blocks of at most `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._searched = 0
        self.is_too_large = False

    @property
    def is_inside(self) -> bool:
        """True while a block has begun and not ended."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the content of each block that `data` completes.

        Raises MllpError for bytes outside a block and for a block that is too large; the
        connection is of no use then.
        """
        self._buffer += data
        while True:
            if self._buffer[:1] != START:
                del self._buffer[: len(self._buffer) - len(self._buffer.lstrip(_BETWEEN))]
            if not self._buffer:
                return
            if self._buffer[:1] != START:
                raise MllpError("bytes outside an MLLP block (no 0x0B before them)")
            end = self._buffer.find(END, self._searched)
            length = (end if end >= 0 else len(self._buffer)) - len(START)
            if length > self._max_bytes:
                self.is_too_large = True
                raise MllpError(f"a message of more than {self._max_bytes // 1024} KiB")
            if end < 0:
                # The next bytes may complete an END whose first byte is the last one here.
                self._searched = max(0, len(self._buffer) - 1)
                return
            content = bytes(self._buffer[len(START) : end])
            del self._buffer[: end + len(END)]
            self._searched = 0
            yield content
