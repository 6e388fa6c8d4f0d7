"""STOW-RS (PS3.18 10.5): reads the instances of a request one by one, within limits.

A part is kept before the next one is read. So a request that ends early leaves the whole parts
before its end, which the client may send again, and no trace of the part that was cut.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from anyio import CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from daemon.config.partners.dicomweb import DicomwebClientConfig
from daemon.config.sections.roles import ListenerConfig
from daemon.web.access.identity import PATIENCE, Patience, host_of
from daemon.web.dicomweb.accept import takes_json
from daemon.web.dicomweb.answers import (
    FULL_RETRY_SECONDS,
    DicomwebError,
    busy,
    json_answer,
    service_url,
)
from dicom_io.dicomweb.attributes import DicomJson, dicom_json
from dicom_io.dicomweb.multipart import (
    DICOM_FILE,
    DICOM_JSON,
    DICOM_XML,
    RELATED,
    Limits,
    MultipartReader,
    Part,
    media_type,
)
from dicom_io.errors import MultipartError
from dicom_io.receive.limits import MAX_MESSAGE_SECONDS, MIN_BYTES_PER_SECOND, MemoryBudget

if TYPE_CHECKING:
    from daemon.web.dicomweb.storing import Stored, Storing

log = logging.getLogger("web")

MOST_UPLOADS = 4
"""Requests that are read at once."""
MOST_PARTS = 1000
"""Instances of one request."""
MOST_DRAINED_BYTES = 64 << 20
DRAIN_SECONDS = 10.0
"""Limits of the rest of a body that is read and thrown away, so that its sender sees the answer."""


class Uploads:
    """Answers STOW-RS requests."""

    def __init__(self, listener: ListenerConfig, make: Callable[[], "Storing"]) -> None:
        """`listener` has the limits of a film; `make` is called in a thread, at the first part."""
        self._limits = Limits(parts=MOST_PARTS, part_bytes=listener.max_instance_mb << 20)
        self._budget = MemoryBudget(listener.max_receiving_mb << 20)
        self._stall_seconds = listener.stall_seconds
        self._make = make
        self._making = threading.Lock()
        self._made: Storing | None = None
        self._under_way = 0
        self._threads = CapacityLimiter(MOST_UPLOADS)

    async def store(
        self, request: Request, client: DicomwebClientConfig, study: str | None
    ) -> Response:
        """Return the answer to a request. Raises DicomwebError or ClientDisconnect."""
        reader = self._reader(request)
        if self._under_way >= MOST_UPLOADS:
            raise busy("other films are being received: try again in some seconds")
        self._under_way += 1
        patience = request.scope.get(PATIENCE) or Patience()
        patience.is_long = True
        upload = _Upload(client, host_of(request.scope), study)
        try:
            problem = await self._read(request, reader, upload)
        except ClientDisconnect:
            log.warning(
                "a STOW-RS request of %s was cut short: %d instance(s) before are kept",
                client.name,
                sum(one.failure is None for one in upload.stored),
            )
            raise
        finally:
            patience.is_long = False
            self._under_way -= 1
        return _answer(request, upload, problem)

    def _reader(self, request: Request) -> MultipartReader:
        """Return a reader for a body that this service takes. Raises DicomwebError."""
        headers = request.headers
        if not takes_json(headers.get("accept", "")):
            raise DicomwebError(406, f"the answer to a store is {DICOM_JSON}: accept it")
        content = media_type(headers.get("content-type", ""))
        of_parts = content.parameters.get("type", DICOM_FILE).lower()
        if of_parts in (DICOM_JSON, DICOM_XML):
            raise DicomwebError(
                415,
                f"metadata with bulk data is not taken: send each instance as {DICOM_FILE}",
                {"Accept": f'{RELATED}; type="{DICOM_FILE}"'},
            )
        if content.name != RELATED or of_parts != DICOM_FILE:
            raise DicomwebError(
                415,
                f'send the instances as {RELATED}; type="{DICOM_FILE}"',
                {"Accept": f'{RELATED}; type="{DICOM_FILE}"'},
            )
        if "content-length" not in headers and "transfer-encoding" not in headers:
            raise DicomwebError(411, "the request has neither a length nor chunks")
        try:
            return MultipartReader(headers["content-type"], self._limits)
        except MultipartError as error:
            raise DicomwebError(400, str(error)) from None

    async def _read(
        self, request: Request, reader: MultipartReader, upload: "_Upload"
    ) -> DicomwebError | None:
        """Keep the parts of a body. Return the fault that ended it early, or None."""
        held = 0
        body = _Body(request, self._stall_seconds)
        try:
            async for chunk in body.chunks():
                if not self._budget.reserve(len(chunk)):
                    await body.drain()
                    return busy("too much is being received at once: try again in some seconds")
                held += len(chunk)
                for part in reader.feed(chunk):
                    stored = await self._keep(part, upload)
                    if stored.is_short_of_resources:
                        await body.drain()
                        return busy("this node has no space for films now", FULL_RETRY_SECONDS)
                    self._budget.release(held)
                    held = 0
            reader.finish()
        except MultipartError as error:
            await body.drain()
            return DicomwebError(413 if error.is_too_large else 400, str(error))
        except TimeoutError:
            return DicomwebError(408, "the request came too slowly", {"Connection": "close"})
        finally:
            self._budget.release(held)
        return None

    async def _keep(self, part: Part, upload: "_Upload") -> "Stored":
        def keep() -> "Stored":
            return self._storing().keep(part, upload.client, upload.host, upload.study)

        stored = await to_thread.run_sync(keep, limiter=self._threads)
        upload.stored.append(stored)
        return stored

    def _storing(self) -> "Storing":
        with self._making:
            if self._made is None:
                self._made = self._make()
            return self._made


class _Body:
    """The body of a request, whose sender may be slow or vanish."""

    def __init__(self, request: Request, stall_seconds: float) -> None:
        self._request = request
        self._stall_seconds = stall_seconds
        self._has_ended = False

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body. Raises TimeoutError if it stalls or crawls, as a C-STORE may not.

        The time in which a part is kept does not count. Raises ClientDisconnect.
        """
        loop = asyncio.get_running_loop()
        total = window = 0.0
        window_bytes = 0
        while not self._has_ended:
            begin = loop.time()
            async with asyncio.timeout(self._stall_seconds):
                chunk = await self._next()
            waited = loop.time() - begin
            total, window = total + waited, window + waited
            window_bytes += len(chunk)
            if window >= self._stall_seconds:
                if window_bytes < MIN_BYTES_PER_SECOND * window:
                    raise TimeoutError
                window, window_bytes = 0.0, 0
            if total > MAX_MESSAGE_SECONDS:
                raise TimeoutError
            if chunk:
                yield chunk

    async def drain(self) -> None:
        """Read and forget the rest: a sender that is still sending does not see an answer."""
        left = MOST_DRAINED_BYTES
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while left > 0 and not self._has_ended:
                    left -= len(await self._next())

    async def _next(self) -> bytes:
        message = await self._request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        self._has_ended = not message.get("more_body", False)
        return bytes(message.get("body", b""))


class _Upload:
    """One request: the client, and the outcome of each part."""

    def __init__(self, client: DicomwebClientConfig, host: str, study: str | None) -> None:
        self.client = client
        self.host = host
        self.study = study
        self.stored: list[Stored] = []


def _answer(request: Request, upload: _Upload, problem: DicomwebError | None) -> Response:
    """Return the Store Instances Response (PS3.18 10.5.3, Annex I.2)."""
    kept = [one for one in upload.stored if one.failure is None]
    failed = [one for one in upload.stored if one.failure is not None]
    if problem is not None:
        if not upload.stored:
            raise problem
        return json_answer(_outcome(request, upload), problem.status, problem.headers)
    if not upload.stored:
        raise DicomwebError(400, "the request has no instance")
    status = 200 if not failed else 202 if kept else 409
    return json_answer(_outcome(request, upload), status)


def _outcome(request: Request, upload: _Upload) -> DicomJson:
    client = upload.client
    may_read = client.effective_source in client.sources
    url = service_url(request)
    values: dict[str, object] = {"RetrieveURL": ""}
    kept, failed, unknown = [], [], []
    for one in upload.stored:
        names = {
            "ReferencedSOPClassUID": one.sop_class_uid,
            "ReferencedSOPInstanceUID": one.sop_instance_uid,
        }
        if one.failure is None:
            address = f"{url}/studies/{one.study_instance_uid}"
            kept.append(dicom_json({**names, "RetrieveURL": address if may_read else ""}))
        elif one.sop_instance_uid:
            failed.append(dicom_json({**names, "FailureReason": one.failure}))
        else:
            unknown.append(dicom_json({"FailureReason": one.failure}))
    for keyword, items in (
        ("ReferencedSOPSequence", kept),
        ("FailedSOPSequence", failed),
        ("OtherFailuresSequence", unknown),
    ):
        if items:
            values[keyword] = items
    studies = {one.study_instance_uid for one in upload.stored if one.failure is None}
    if may_read and len(studies) == 1:
        values["RetrieveURL"] = f"{url}/studies/{studies.pop()}"
    return dicom_json(values)
