"""The parts that every page uses: store, templates, answers, and the audit of looks."""

import dataclasses
import json
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from daemon.config.settings import Config
from daemon.version import own_version
from daemon.web.access.identity import PRINCIPAL, Principal, host_of
from daemon.web.access.roles import Role
from daemon.web.actions.messages import Messages
from daemon.web.actions.own_page import page_of
from daemon.web.films.readers import FilmReaders
from daemon.web.formats import add_filters, plain
from daemon.web.health.checks import Health
from daemon.web.overview.totals import KeptTotals
from daemon.web.request_body import wants_json
from storage.audit.records import AuditKind, AuditOutcome
from storage.errors import StorageError
from storage.files.spool import Spool
from storage.store import Store

RETRY_SECONDS = 10
"""Time after which a browser asks again while the store is unavailable."""


@dataclasses.dataclass(frozen=True)
class Site:
    """The node behind the pages. One object for all requests; thread-safe."""

    config: Config
    store: Store
    spool: Spool
    health: Health
    clock: Callable[[], datetime]
    film_readers: FilmReaders
    totals: KeptTotals
    messages: Messages = dataclasses.field(default_factory=Messages)

    def render(
        self, request: Request, template: str, status: int = 200, **values: Any
    ) -> HTMLResponse:
        """Return a page made of a template.

        Each template also has `root` (the relative path to /), `page` (this page, as a way back to
        it), `caller` (the Principal, or None), `csrf`, `ae_title`, `version`, `roles`, and `told`:
        the result of the caller's act before, or None.
        """
        caller: Principal | None = request.scope[PRINCIPAL]
        html = self._templates.get_template(template).render(
            root=root_of(request.url.path),
            page=page_of(request.url.path, request.url.query),
            told=self.messages.take(caller),
            caller=caller,
            csrf=caller.csrf if caller else "",
            ae_title=self.config.listener.ae_title,
            version=own_version(),
            roles=Role,
            **values,
        )
        return HTMLResponse(html, status)

    def json(self, view: object, status: int = 200) -> Response:
        """Return a view as JSON: dataclasses as objects, datetimes in ISO 8601."""
        text = json.dumps(plain(view), allow_nan=False, ensure_ascii=False)
        return Response(text, status, media_type="application/json")

    def error(self, request: Request, status: int, message: str) -> Response:
        """Return an error as a page, or as JSON to a program."""
        if wants_json(request):
            return self.json({"error": message}, status)
        return self.render(request, "error.html", status, status_code=status, message=message)

    def unavailable(self, request: Request, error: StorageError) -> Response:
        """Report that the store or the spool is unavailable; a browser then reloads the page."""
        if wants_json(request):
            return self.json({"error": str(error)}, 503)
        return PlainTextResponse(
            f"cxrd: {error}\n", status_code=503, headers={"Refresh": str(RETRY_SECONDS)}
        )

    def audit(
        self,
        request: Request,
        kind: AuditKind,
        subject: str = "",
        detail: str = "",
        outcome: AuditOutcome = AuditOutcome.SUCCESS,
    ) -> None:
        """Record an event with the caller's name and address. Raises StorageError."""
        caller: Principal | None = request.scope[PRINCIPAL]
        self.store.audit.record(
            kind,
            outcome=outcome,
            actor=caller.name if caller else "",
            host=host_of(request.scope),
            subject=subject,
            detail=detail,
        )

    @cached_property
    def _templates(self) -> Environment:
        templates = Environment(
            loader=PackageLoader("daemon.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        add_filters(templates)
        return templates


def root_of(path: str) -> str:
    """Return the relative path from a page to /: a proxy may serve the pages below a path."""
    depth = path.count("/") - 1
    return "../" * depth if depth > 0 else "./"
