"""All of the interface for programs that is not the twin of a page: acts and the description."""

from collections.abc import Sequence
from functools import cached_property

from starlette.requests import Request
from starlette.responses import Response

from daemon.web.access.roles import Role
from daemon.web.api.acts import act_entries
from daemon.web.api.docs_page import docs_page
from daemon.web.api.document import Document, openapi
from daemon.web.entry import Entry
from daemon.web.site import Site


def api_entries(site: Site, others: Sequence[Entry]) -> Sequence[Entry]:
    """Return the entries of the acts, and of the description of these and of the others."""
    pages = _Description(site)
    entries = [
        *act_entries(site),
        Entry(
            "/api/openapi.json",
            pages.document,
            Role.VIEWER,
            summary="This document (OpenAPI 3.1).",
        ),
        Entry("/api/docs", pages.page, Role.VIEWER, summary="This document as a page to read."),
    ]
    pages.entries = (*others, *entries)
    return entries


class _Description:
    """The description of the interface, made at the first request."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.entries: Sequence[Entry] = ()

    @cached_property
    def _openapi(self) -> Document:
        return openapi(self.entries)

    def document(self, _request: Request) -> Response:
        """Return the OpenAPI document."""
        return self._site.json(self._openapi)

    def page(self, request: Request) -> Response:
        """Return the page."""
        return self._site.render(request, "api/docs.html", docs=docs_page(self._openapi))
