"""The user agent of STOW-RS, QIDO-RS and WADO-RS (PS3.18 10.4 to 10.6).

    with DicomwebClient(endpoint) as client:
        answer = client.store(data)
        for study in client.search("studies", {"AccessionNumber": "A1"}, fields=("PatientID",)):
            ...
        client.retrieve(keep, study_uid)        # keep(data) for each instance

All methods raise HttpError: DicomwebError for what the server refuses or gets wrong, with its HTTP
status. Time and memory are bounded whatever the server sends.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Self

from dicom_io.dicomweb.dicom_json import JsonObject, objects_of_json
from dicom_io.dicomweb.multipart import (
    DICOM_FILE,
    DICOM_JSON,
    RELATED,
    Limits,
    MultipartReader,
    Part,
    media_type,
    new_boundary,
    related,
    written,
    written_size,
)
from dicom_io.dicomweb.store_answer import StoreAnswer, read_store_answer
from dicom_io.errors import DicomwebError, HttpError, MultipartError
from dicom_io.http.client import Endpoint, HttpClient, Reply
from dicom_io.read.header import read_header

LONGEST_STORE_ANSWER = 1 << 20
LONGEST_PAGE = 32 << 20
"""Bytes of an answer to a store request, and of one page of an answer to a query."""
_RETRIEVED_SECONDS = 4 * 3600.0
"""The total timeout of a retrieval, whose size is not known before."""

_ANY_SYNTAX = f'{RELATED}; type="{DICOM_FILE}"; transfer-syntax=*'
_LATER = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
_TOKEN_STATUSES = {
    HTTPStatus.UNAUTHORIZED: "refuses the token (HTTP 401); set a valid one",
    HTTPStatus.FORBIDDEN: "refuses the request (HTTP 403); allow it for this token or certificate",
}
_PATH_STATUSES = frozenset(
    {
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.GONE,
        HTTPStatus.NOT_IMPLEMENTED,
    }
)


@dataclass(frozen=True, slots=True)
class Retrieved:
    """Instances of a retrieval; `is_complete` is False if the server sent only a part (206)."""

    instances: int
    is_complete: bool


class DicomwebClient:
    """Requests to one DICOMweb server over one connection; a context manager."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._http = HttpClient(endpoint)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.__exit__(kind, error, trace)

    def store(self, data: bytes, on_progress: Callable[[], object] = lambda: None) -> StoreAnswer:
        """Store one object, a whole file, and return its fate (PS3.18 10.5).

        An HTTP status of failure whose body says nothing of the object raises DicomwebError, and
        so does a body that cannot be read. Raises NotDicomError for an object without a header.
        """
        uid = read_header(data).sop_instance_uid
        part, boundary = Part.of(data), new_boundary()
        headers = {
            "Accept": DICOM_JSON,
            "Content-Type": related(DICOM_FILE, boundary),
            "Content-Length": str(written_size([part], boundary)),
        }
        with self._http.request(
            "POST",
            "studies",
            headers=headers,
            content=written([part], boundary),
            on_progress=on_progress,
        ) as reply:
            answer = self._store_answer(reply, uid)
            if answer.status is None and reply.status >= HTTPStatus.BAD_REQUEST:
                raise self._refusal(reply, "studies")
            return answer

    def _store_answer(self, reply: Reply, uid: str) -> StoreAnswer:
        try:
            body = reply.read(LONGEST_STORE_ANSWER)
            return read_store_answer(reply.status, reply.content_type, body, uid, self._http.where)
        except HttpError:
            if reply.status >= HTTPStatus.BAD_REQUEST:
                # The status says enough; the body of a proxy's answer is anything.
                return StoreAnswer(reply.status, None)
            raise

    def search(
        self,
        path: str,
        query: Mapping[str, str],
        *,
        fields: Sequence[str] = (),
        page: int = 100,
        most: int = 100_000,
        on_progress: Callable[[], object] = lambda: None,
    ) -> Iterator[JsonObject]:
        """Yield the matches of a query in DICOM JSON, page by page (PS3.18 10.6).

        `path` is a resource like `studies` or `studies/UID/series`. `query` holds keys for
        matching, `fields` attributes to return besides. At most `page` matches are asked for at
        once. Raises DicomwebError after `most` matches.
        """
        base = [*query.items(), *(("includefield", field) for field in fields)]
        seen: set[int] = set()
        while True:
            params = [*base, ("limit", str(page)), ("offset", str(len(seen)))]
            found = self._page(path, params, on_progress)
            new = [each for each in found if _mark(each) not in seen]
            if not new:
                # Nothing is left, or the server does not know offset and has sent all before.
                return
            seen.update(_mark(each) for each in new)
            if len(seen) > most:
                raise DicomwebError(
                    f"{self._http.where} has more than {most} matches; narrow the query"
                )
            yield from new

    def test(self) -> None:
        """Ask for one study, of which nothing is kept."""
        self._page("studies", [("limit", "1")], lambda: None)

    def _page(
        self,
        path: str,
        params: list[tuple[str, str]],
        on_progress: Callable[[], object],
    ) -> list[JsonObject]:
        with self._http.request(
            "GET", path, params=params, headers={"Accept": DICOM_JSON}, on_progress=on_progress
        ) as reply:
            if reply.status == HTTPStatus.NO_CONTENT:
                return []
            if reply.status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
                raise self._refusal(reply, path)
            return objects_of_json(reply.read(LONGEST_PAGE), self._http.where)

    def holds(
        self, study_uid: str, uid: str, on_progress: Callable[[], object] = lambda: None
    ) -> bool:
        """Return True if the server finds an instance of a study."""
        path = f"studies/{study_uid}/instances"
        found = self._page(path, [("SOPInstanceUID", uid), ("limit", "1")], on_progress)
        return any(
            each.get("00080018", {}).get("Value") == [uid]
            for each in found
            if isinstance(each.get("00080018"), dict)
        )

    def retrieve(
        self,
        on_instance: Callable[[bytes], object],
        study_uid: str,
        series_uid: str | None = None,
        instance_uid: str | None = None,
        *,
        limits: Limits | None = None,
        seconds: float = _RETRIEVED_SECONDS,
        on_progress: Callable[[], object] = lambda: None,
    ) -> Retrieved:
        """Retrieve a study, a series or an instance in the form the server keeps (PS3.18 10.4).

        `on_instance` gets the file of each instance as soon as it is complete; its errors are
        raised. If the answer breaks off, the instances before that have been given. The caller
        checks that an instance is one that it asked for.
        """
        path = f"studies/{study_uid}"
        if series_uid is not None:
            path += f"/series/{series_uid}"
        if instance_uid is not None:
            path += f"/instances/{instance_uid}"
        with self._http.request(
            "GET",
            path,
            headers={"Accept": _ANY_SYNTAX},
            on_progress=on_progress,
            total=seconds,
        ) as reply:
            if reply.status == HTTPStatus.NO_CONTENT:
                return Retrieved(0, True)
            if reply.status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
                raise self._refusal(reply, path)
            count = self._instances(reply, on_instance, limits or Limits())
            return Retrieved(count, reply.status == HTTPStatus.OK)

    def _instances(
        self, reply: Reply, on_instance: Callable[[bytes], object], limits: Limits
    ) -> int:
        if media_type(reply.content_type).name == DICOM_FILE:
            on_instance(reply.read(limits.part_bytes))
            return 1
        count = 0
        try:
            reader = MultipartReader(reply.content_type, limits)
            for chunk in reply.chunks():
                for part in reader.feed(chunk):
                    if part.media_type.name != DICOM_FILE:
                        raise MultipartError(
                            f"part {count + 1} of the multipart body is not {DICOM_FILE}"
                        )
                    on_instance(part.data)
                    count += 1
            reader.finish()
        except MultipartError as error:
            raise DicomwebError(
                f"{self._http.where} sent an unusable answer: {error}",
                retryable=not error.is_too_large,
                status=reply.status,
            ) from None
        return count

    def _refusal(self, reply: Reply, path: str) -> DicomwebError:
        """Return the error for a status of failure; a path with UIDs is not shown."""
        status = reply.status
        where = self._http.where
        if status in _TOKEN_STATUSES:
            return DicomwebError(f"{where} {_TOKEN_STATUSES[HTTPStatus(status)]}", status=status)
        if status in _PATH_STATUSES:
            problem = (
                "does not hold what was asked for, or url has a wrong path"
                if "/" in path
                else f"has nothing at /{path} below url; check the path in url"
            )
            return DicomwebError(f"{where} {problem} (HTTP {status})", status=status)
        later = status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR
        return DicomwebError(
            f"{where} answered with HTTP {status} {_phrase(status)}",
            retryable=later,
            status=status,
            retry_after=reply.retry_after,
        )


def _mark(match: JsonObject) -> int:
    """Return a number that differs for different matches, so that no page need be kept."""
    return hash(json.dumps(match, sort_keys=True))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(an unknown status)"
