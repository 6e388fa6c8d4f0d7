"""Sends the stored pixels of a film piece by piece, packed where the caller accepts it."""

import asyncio
import json
import logging
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

if TYPE_CHECKING:
    from daemon.analyse.reader.look_messages import StoredPixels

log = logging.getLogger("web")
CHUNK_BYTES = 256 * 1024
MOST_TRANSFERS = 3
"""Films whose pixels are sent at once; each takes the memory of its pixels."""
TRANSFER_SECONDS = 300.0
"""Time in which a caller must have taken the pixels."""

ALIGNED = 8
_LEVEL = 1
# RFC 1952, in the numbering of zlib.
_GZIP_WINDOW = 31


def facts_header(facts: dict[str, Any]) -> bytes:
    """Return the facts as JSON behind its length (uint32, little-endian), filled to 8 bytes."""
    text = json.dumps(facts, allow_nan=False).encode()
    rest = -(len(text) + 4) % ALIGNED
    return struct.pack("<I", len(text) + rest) + text + b" " * rest


class PixelResponse(StreamingResponse):
    """The pixels of a film, row by row and little-endian; `release` is called at the end."""

    def __init__(
        self, stored: "StoredPixels", head: bytes, *, packed: bool, release: Callable[[], None]
    ) -> None:
        """`head` goes before the pixels; `packed` sends all of it with gzip."""
        size = len(head) + stored.facts.size
        headers: dict[str, Any] = {"Vary": "Accept-Encoding"}
        headers |= {"Content-Encoding": "gzip"} if packed else {"Content-Length": str(size)}
        # The viewer shows its progress by it.
        headers["X-Uncompressed-Length"] = str(size)
        parts = _parts(stored, head)
        super().__init__(
            _packed(parts) if packed else parts,
            media_type="application/octet-stream",
            headers=headers,
        )
        self._stored = stored
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pixels within the time limit, and give their memory back (ASGI)."""
        try:
            async with asyncio.timeout(TRANSFER_SECONDS):
                await super().__call__(scope, receive, send)
        except TimeoutError:
            log.warning("a film was not sent within %g s: the transfer ends", TRANSFER_SECONDS)
        finally:
            self._stored.pages.close()
            self._release()


class Transfers:
    """Counts the transfers under way; thread-safe."""

    def __init__(self, most: int = MOST_TRANSFERS) -> None:
        self._places = threading.BoundedSemaphore(most)

    def begin(self) -> bool:
        """Take a place; False if none is free. `end` gives it back."""
        return self._places.acquire(blocking=False)

    def end(self) -> None:
        """Give a place back."""
        self._places.release()


def _parts(stored: "StoredPixels", head: bytes) -> Iterator[bytes]:
    if head:
        yield head
    place, size = 0, stored.facts.size
    while place < size:
        part = stored.pages.chunk(min(CHUNK_BYTES, size - place), place)
        if not part:
            raise EOFError("the kept pixels are shorter than the image")
        place += len(part)
        yield part


def _packed(parts: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    for part in parts:
        packed = packer.compress(part)
        if packed:
            yield packed
    yield packer.flush()
