"""The parts that every page uses: store, templates, answers, and the audit of looks."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import date, datetime, timedelta
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from daemon.config.settings import Config
from daemon.version import own_version
from daemon.web.access.identity import PRINCIPAL, Principal, host_of
from daemon.web.access.roles import Role
from daemon.web.actions.messages import Messages
from daemon.web.actions.own_page import page_of
from daemon.web.films.readers import FilmReaders
from daemon.web.formats import add_filters
from daemon.web.health.checks import Health
from daemon.web.overview.totals import KeptTotals
from daemon.web.request_body import wants_json
from storage.audit.records import AuditKind, AuditOutcome
from storage.files.spool import Spool
from storage.store import Store


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
        templates.filters.update(moment=moment, span=span, size=size)
        add_filters(templates)
        return templates


def root_of(path: str) -> str:
    """Return the relative path from a page to /: a proxy may serve the pages below a path."""
    depth = path.count("/") - 1
    return "../" * depth if depth > 0 else "./"


def plain(value: object) -> Any:
    """Return a view as values that JSON knows. Raises TypeError for another class."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | Set):
        return [plain(item) for item in value]
    raise TypeError(f"a value of {type(value).__name__} has no form in JSON")


def moment(value: datetime) -> str:
    """Format a time in UTC, without its zone."""
    return f"{value:%Y-%m-%d %H:%M:%S}"


def span(value: timedelta) -> str:
    """Format a duration in the largest unit of which it has at least two."""
    seconds = value.total_seconds()
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def size(count: int) -> str:
    """Format a number of bytes in decimal units, as on a disk's label."""
    for length, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB")):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count} bytes"
