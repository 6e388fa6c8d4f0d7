"""Sends the files of instances one by one: one is in memory at a time, for a bounded time."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterable

from anyio import CapacityLimiter, to_thread
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from daemon.web.dicomweb.answers import DicomwebError
from dicom_io.dicomweb.multipart import Part, written
from storage.errors import StorageError

log = logging.getLogger("web")

MOST_TRANSFERS = 4
"""Answers with files that are sent at once."""
PART_SECONDS = 120.0
"""Time in which a client must have taken one part."""
CHUNK_BYTES = 256 * 1024

MakePart = Callable[[], Part]
"""Reads and forms one part, in a thread."""


class _CutShortError(Exception):
    """A part of an answer that has begun cannot be read."""


class Transfers:
    """Counts the transfers under way, and has the threads that read for them; thread-safe."""

    def __init__(self, most: int = MOST_TRANSFERS) -> None:
        self._places = threading.BoundedSemaphore(most)
        self.threads = CapacityLimiter(most)

    def begin(self) -> bool:
        """Take a place; False if none is free. `end` gives it back."""
        return self._places.acquire(blocking=False)

    def end(self) -> None:
        """Give a place back."""
        self._places.release()


class TransferResponse(StreamingResponse):
    """An answer that is sent in pieces for a bounded time, and then gives its place back."""

    def __init__(
        self, body: AsyncIterator[bytes], content_type: str, transfers: Transfers, status: int = 200
    ) -> None:
        """The caller has begun a transfer, which ends with this answer."""
        super().__init__(body, status)
        self.headers["Content-Type"] = content_type
        self._transfers = transfers
        self._limit: asyncio.Timeout | None = None

    def give_up(self) -> None:
        """End the transfer of an answer that is not sent."""
        self._transfers.end()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the parts (ASGI)."""
        try:
            async with asyncio.timeout(PART_SECONDS) as self._limit:
                await super().__call__(scope, receive, send)
        except _CutShortError as error:
            # The server closes the connection of an answer that is not complete.
            log.error("an answer of DICOMweb was cut short: %s", error)
        except TimeoutError:
            log.warning(
                "a client did not take a part of an answer within %g s: the transfer ends",
                PART_SECONDS,
            )
        finally:
            self._transfers.end()


class PartResponse(TransferResponse):
    """One part alone, without a multipart body around it."""

    def __init__(self, part: Part, transfers: Transfers) -> None:
        """The caller has begun a transfer, which ends with this answer."""
        super().__init__(self._body(part), part.headers["content-type"], transfers)
        self.headers["Content-Length"] = str(len(part.data))

    async def _body(self, part: Part) -> AsyncIterator[bytes]:
        for piece in _pieces(part.data):
            yield piece


class PartsResponse(TransferResponse):
    """A multipart body whose first part is read; each further part is read when it is sent.

    A part that cannot be read ends the connection, so that the caller sees that the body is cut.
    """

    def __init__(
        self,
        first: Part,
        further: Iterable[MakePart],
        boundary: str,
        content_type: str,
        transfers: Transfers,
        *,
        status: int = 200,
    ) -> None:
        """The caller has begun a transfer, which ends with this answer."""
        super().__init__(self._body(first, further, boundary), content_type, transfers, status)

    async def _body(
        self, first: Part, further: Iterable[MakePart], boundary: str
    ) -> AsyncIterator[bytes]:
        for chunk in _of_part(first, boundary):
            yield chunk
        for make in further:
            try:
                part = await to_thread.run_sync(make, limiter=self._transfers.threads)
            except (StorageError, DicomwebError) as error:
                raise _CutShortError(str(error)) from error
            if self._limit is not None:
                self._limit.reschedule(asyncio.get_running_loop().time() + PART_SECONDS)
            for chunk in _of_part(part, boundary):
                yield chunk
        for chunk in written((), boundary):
            yield chunk


def _of_part(part: Part, boundary: str) -> Iterable[bytes]:
    """Yield one part without the end of the body, in pieces."""
    head, data, line, _last = written((part,), boundary)
    yield head
    yield from _pieces(data)
    yield line


def _pieces(data: bytes) -> Iterable[bytes]:
    with memoryview(data) as view:
        for place in range(0, len(view), CHUNK_BYTES):
            yield bytes(view[place : place + CHUNK_BYTES])
