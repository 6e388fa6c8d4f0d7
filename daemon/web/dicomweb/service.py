"""The application of the DICOMweb service: finds the client, then the resource (PS3.18 chapter 10).

No page is behind it and no login of a page counts here: its callers are the listed clients.
"""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anyio import CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from daemon.config.partners.dicomweb import DicomwebClientConfig
from daemon.web.access.identity import CERTIFICATE, PRINCIPAL, Principal, host_of
from daemon.web.access.roles import Role
from daemon.web.dicomweb.answers import PATH, DicomwebError, busy, not_found, refused
from daemon.web.dicomweb.catalogue import Catalogue
from daemon.web.dicomweb.clients import Clients, UnknownClientError
from daemon.web.dicomweb.query import Level
from daemon.web.dicomweb.retrieving import Retrievals
from daemon.web.dicomweb.searching import Searches
from daemon.web.dicomweb.transfer import TransferResponse
from daemon.web.dicomweb.uploads import Uploads
from daemon.web.looks import Looks
from daemon.web.site import Site
from storage.audit.records import AuditKind, subject_of
from storage.errors import IntegrityError, StorageError
from storage.offered.records import OfferedInstance

if TYPE_CHECKING:
    from daemon.web.dicomweb.storing import Storing

log = logging.getLogger("web")

MOST_READERS = 4
"""Requests that read the store or files at once; further ones wait."""
_REALM = {"WWW-Authenticate": 'Bearer realm="cxrd DICOMweb"'}
_UID = r"[0-9.]{1,64}"
_STUDY = rf"/studies/(?P<study>{_UID})"
_SERIES = rf"{_STUDY}/series/(?P<series>{_UID})"
_INSTANCE = rf"{_SERIES}/instances/(?P<instance>{_UID})"

_LEVELS = {
    "search_studies": Level.STUDY,
    "search_series": Level.SERIES,
    "search_instances": Level.INSTANCE,
}
Answer = tuple[Response, list[OfferedInstance]]


@dataclass(frozen=True, slots=True)
class _Resource:
    """The paths of one resource, and the name of the method that answers each."""

    pattern: re.Pattern[str]
    get: str = ""
    post: str = ""


_RESOURCES = tuple(
    _Resource(re.compile(pattern), get, post)
    for pattern, get, post in (
        ("/studies", "search_studies", "store"),
        ("/series", "search_series", ""),
        ("/instances", "search_instances", ""),
        (_STUDY, "files", "store"),
        (f"{_STUDY}/series", "search_series", ""),
        (f"{_STUDY}/instances", "search_instances", ""),
        (f"{_STUDY}/metadata", "metadata", ""),
        (_SERIES, "files", ""),
        (f"{_SERIES}/instances", "search_instances", ""),
        (f"{_SERIES}/metadata", "metadata", ""),
        (_INSTANCE, "files", ""),
        (f"{_INSTANCE}/metadata", "metadata", ""),
        (f"{_INSTANCE}/rendered", "rendered", ""),
        (rf"{_INSTANCE}/frames/(?P<frames>[^/]{{1,8000}})", "frames", ""),
        (rf"{_INSTANCE}/bulkdata/(?P<element>.{{1,2000}})", "bulk_data", ""),
    )
)


class DicomwebService:
    """The ASGI application of the clients in the configuration."""

    def __init__(self, site: Site, clients: Clients) -> None:
        self._site = site
        self._clients = clients
        self._catalogue = Catalogue(site.store, site.spool)
        self._searches = Searches(self._catalogue)
        self._retrievals = Retrievals(self._catalogue, site.film_readers)
        self._uploads = Uploads(site.config.listener, self._make_storing)
        self._threads = CapacityLimiter(MOST_READERS)
        self._retrieved = Looks(site, AuditKind.INSTANCES_RETRIEVED)
        self._viewed = Looks(site, AuditKind.STUDY_VIEWED)
        self._searched = Looks(site, AuditKind.STUDIES_SEARCHED)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        request = Request(scope, receive, send)
        try:
            answer: ASGIApp = await self._answer(request)
        except DicomwebError as error:
            answer = refused(error)
        except IntegrityError as error:
            log.error("a DICOMweb request is answered 500: %s", error)
            answer = refused(DicomwebError(500, "the file of the object is lost or damaged"))
        except StorageError as error:
            log.error("a DICOMweb request is answered 503: %s", error)
            answer = refused(busy("the store of this node is not available now"))
        except ClientDisconnect:
            return
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        client = self._client(request)
        path = str(request.scope["path"]).removeprefix(PATH)
        for resource in _RESOURCES:
            found = resource.pattern.fullmatch(path)
            if found is not None:
                return await self._of_resource(request, client, resource, found)
        raise not_found()

    def _client(self, request: Request) -> DicomwebClientConfig:
        host = host_of(request.scope)
        certificate = request.scope.get(CERTIFICATE, "")
        try:
            client = self._clients.find(request.headers, host, certificate)
        except UnknownClientError as error:
            if error.wait_seconds:
                wait = str(round(error.wait_seconds) + 1)
                raise DicomwebError(429, str(error), {"Retry-After": wait}) from None
            raise DicomwebError(401, str(error), _REALM) from None
        request.scope[PRINCIPAL] = Principal(client.name, Role.METRICS)
        return client

    async def _of_resource(
        self,
        request: Request,
        client: DicomwebClientConfig,
        resource: _Resource,
        found: re.Match[str],
    ) -> Response:
        methods = {"GET": resource.get, "HEAD": resource.get, "POST": resource.post}
        name = methods.get(request.method, "")
        if not name:
            allowed = ", ".join(method for method, named in methods.items() if named)
            raise DicomwebError(405, "this resource has no such method", {"Allow": allowed})
        values = found.groupdict()
        if name == "store":
            if not client.stores:
                raise DicomwebError(403, "this client may not store: set stores")
            return await self._uploads.store(request, client, values.get("study"))
        if not client.sources:
            raise DicomwebError(403, "this client may not read: set reads")

        def answer() -> Response:
            return self._read(request, client, name, values)

        return await to_thread.run_sync(answer, limiter=self._threads)

    def _read(
        self, request: Request, client: DicomwebClientConfig, name: str, values: dict[str, str]
    ) -> Response:
        """Answer a search or a retrieval, and record it before a byte of it leaves."""
        level = _LEVELS.get(name)
        if level is not None:
            response, count = self._searches.answer(
                request, client, level, values.get("study"), values.get("series")
            )
            detail = f"{level.name.lower()} level by QIDO-RS: {count} result(s)"
            self._searched.record(request, subject_of(study=values.get("study")), detail)
            return response
        path = [values[key] for key in ("study", "series", "instance") if key in values]
        retrievals = self._retrievals
        makers: dict[str, Callable[[], Answer]] = {
            "files": lambda: retrievals.files(request, client, path),
            "metadata": lambda: retrievals.metadata(request, client, path),
            "rendered": lambda: retrievals.rendered(request, client, path),
            "frames": lambda: retrievals.frames(request, client, path, values["frames"]),
            "bulk_data": lambda: retrievals.bulk_data(request, client, path, values["element"]),
        }
        response, found = makers[name]()
        try:
            self._record(request, name, found, is_one=len(path) == 3)
        except BaseException:
            if isinstance(response, TransferResponse):
                response.give_up()
            raise
        return response

    def _record(
        self, request: Request, name: str, found: list[OfferedInstance], *, is_one: bool
    ) -> None:
        looks = self._viewed if name == "metadata" else self._retrieved
        one = found[0]
        looks.record(
            request,
            subject_of(
                study=one.study_instance_uid,
                instance=one.sop_instance_uid if is_one else None,
                sop_class=one.sop_class_uid if is_one else None,
            ),
            f"{name.replace('_', ' ')} by WADO-RS: {len(found)} instance(s)",
        )

    def _make_storing(self) -> "Storing":
        from daemon.web.dicomweb.storing import Storing

        return Storing(self._site.config, self._site.store, self._site.spool)
