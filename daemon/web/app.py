"""The web application: joins the entries of all pages behind the guard."""

from collections.abc import Callable, Sequence
from datetime import datetime

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from daemon.config.settings import Config
from daemon.statistics.counter import FilmCounter
from daemon.web.access.authenticator import Authenticator, OnLogin
from daemon.web.access.guard import Guard
from daemon.web.access.login import LoginPages, login_entries
from daemon.web.actions.pages import action_entries
from daemon.web.administration.audit import audit_entries
from daemon.web.administration.configuration import configuration_entries
from daemon.web.administration.hosts import host_entries
from daemon.web.administration.jobs import job_entries
from daemon.web.administration.model import model_entries
from daemon.web.api.pages import api_entries
from daemon.web.dicomweb.answers import PATH
from daemon.web.dicomweb.clients import Clients
from daemon.web.dicomweb.service import DicomwebService
from daemon.web.entry import Entry, EntryTable
from daemon.web.films.pages import film_entries
from daemon.web.films.readers import FilmReaders
from daemon.web.health.checks import Health
from daemon.web.health.endpoints import health_entries
from daemon.web.overview.page import overview_entries
from daemon.web.overview.totals import KeptTotals
from daemon.web.problems import WebError
from daemon.web.reviews.pages import review_entries
from daemon.web.site import Site
from daemon.web.static_files import static_entries
from daemon.web.statistics.page import statistics_entries
from daemon.web.studies.list_pages import list_entries
from daemon.web.studies.study_pages import study_entries
from daemon.web.worklists.page import worklist_entries
from storage.errors import StorageError
from storage.files.spool import Spool
from storage.store import Store

_MESSAGES = {
    404: "There is no such page.",
    405: "This page does not answer requests of this method.",
}


def build_app(
    config: Config,
    store: Store,
    spool: Spool,
    authenticator: Authenticator,
    clock: Callable[[], datetime] | None = None,
    counter: FilmCounter | None = None,
    readers: FilmReaders | None = None,
    totals: KeptTotals | None = None,
    on_login: OnLogin | None = None,
) -> ASGIApp:
    """Build the application; its clock is that of the store, unless another is given.

    `counter` counts the films; the caller runs it. `readers` decode the films; the caller ends
    them. `totals` are of the overview; the caller may count them before the first page. `on_login`
    is told of the clients of DICOMweb, of which there are none without it. Raises ConfigError for a
    token of theirs that cannot be used.
    """
    clock = clock or store.now
    counter = counter or FilmCounter(store, clock)
    readers = readers or FilmReaders(config.analyst)
    totals = totals or KeptTotals(store, clock)
    health = Health(config, store, spool, clock)
    site = Site(config, store, spool, health, clock, readers, totals)
    table = EntryTable(all_entries(site, authenticator, counter))

    def explain(request: Request, error: Exception) -> Response:
        if isinstance(error, WebError):
            return site.error(request, error.status, str(error))
        if isinstance(error, StorageError):
            return site.unavailable(request, error)
        if not isinstance(error, HTTPException):
            return site.error(request, 500, "This node made a mistake; its log has the details.")
        message = _MESSAGES.get(error.status_code, f"{error.detail}.")
        answer = site.error(request, error.status_code, message)
        answer.headers.update(error.headers or {})
        if error.status_code == 405:
            answer.headers["Allow"] = ", ".join(table.methods(request.scope))
        return answer

    # Starlette raises an unexpected error again after the answer, so that it is logged.
    handlers = dict.fromkeys((StorageError, WebError, HTTPException, Exception), explain)
    app = Starlette(routes=table.routes, exception_handlers=handlers)
    # A redirect would name this node as the request did, not as a proxy in front does.
    app.router.redirect_slashes = False
    login = LoginPages(site, authenticator)
    services: dict[str, ASGIApp] = {}
    if config.dicomweb.clients and on_login is not None:
        services[PATH] = DicomwebService(site, Clients(config.dicomweb, on_login))
    return Guard(app, table, authenticator, site, login, services)


def all_entries(site: Site, authenticator: Authenticator, counter: FilmCounter) -> Sequence[Entry]:
    """Return the entries of all pages. The first that matches a path answers it."""
    pages = [
        *static_entries(),
        *login_entries(site, authenticator),
        *health_entries(site, counter),
        *overview_entries(site),
        *list_entries(site),
        *study_entries(site),
        *review_entries(site),
        *action_entries(site),
        *job_entries(site),
        *audit_entries(site),
        *configuration_entries(site),
        *film_entries(site),
        *statistics_entries(site, counter),
        *model_entries(site),
        *host_entries(site),
        *worklist_entries(site),
    ]
    return [*pages, *api_entries(site, pages)]
