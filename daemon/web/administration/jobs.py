"""/jobs: the queue by filter, in pages; and each job with its history."""

from collections.abc import Sequence
from enum import StrEnum

from starlette.requests import Request
from starlette.responses import Response

from daemon.web.access.identity import principal_of
from daemon.web.access.roles import Role
from daemon.web.administration import query
from daemon.web.administration.job_views import JobRow, JobsView, JobView, job_view
from daemon.web.entry import Entry, Parameter, Place
from daemon.web.overview.rows import parked_rows
from daemon.web.problems import NotFoundError
from daemon.web.site import Site
from storage.errors import UnknownJobError
from storage.queue.listing import JobFilter, JobSort
from storage.records import JobKind, JobState

ROWS = 50
MOST_ROWS = 500
MOST_PAGES = 1_000_000


class Order(StrEnum):
    """Values of `order`."""

    ASCENDING = "asc"
    DESCENDING = "desc"


_PARAMETERS = (
    Parameter("state", Place.QUERY, "string", f"one of {', '.join(JobState)}"),
    Parameter("kind", Place.QUERY, "string", f"one of {', '.join(JobKind)}"),
    Parameter("destination", Place.QUERY, "string", "the name of a destination or peer"),
    Parameter("error", Place.QUERY, "string", "a part of the last error; … stands for any text"),
    Parameter("sort", Place.QUERY, "string", f"one of {', '.join(JobSort)}"),
    Parameter("order", Place.QUERY, "string", "asc or desc"),
    Parameter("page", Place.QUERY, "integer", "the number of the page, from 1"),
    Parameter("rows", Place.QUERY, "integer", f"jobs of a page, at most {MOST_ROWS}"),
)
_NUMBER = Parameter("number", Place.PATH, "integer", "the number of the job", True)


def job_entries(site: Site) -> Sequence[Entry]:
    """Return the entries of the jobs."""
    pages = _Pages(site)
    return [
        Entry("/jobs", pages.page, Role.VIEWER, summary="The queue.", parameters=_PARAMETERS),
        Entry(
            "/jobs/{number}",
            pages.job_page,
            Role.VIEWER,
            summary="One job.",
            parameters=(_NUMBER,),
        ),
        Entry(
            "/api/jobs",
            pages.document,
            Role.VIEWER,
            summary="Jobs by filter, what needs a person first.",
            parameters=_PARAMETERS,
            view=JobsView,
        ),
        Entry(
            "/api/jobs/{number}",
            pages.job_document,
            Role.VIEWER,
            summary="One job with its history.",
            parameters=(_NUMBER,),
            view=JobView,
        ),
    ]


class _Pages:
    def __init__(self, site: Site) -> None:
        self._site = site

    def page(self, request: Request) -> Response:
        """Return the page of the list."""
        view = self._list(request)
        values = {
            "state": view.filter.state,
            "kind": view.filter.kind,
            "destination": view.filter.lane,
            "error": view.filter.error,
            "rows": request.query_params.get("rows"),
        }
        order = {
            "sort": request.query_params.get("sort"),
            "order": request.query_params.get("order"),
        }

        def link(**changes: object) -> str:
            return f"jobs?{query.query_of({**values, **order, **changes})}"

        return self._site.render(
            request,
            "administration/jobs.html",
            view=view,
            link=link,
            lanes=self._site.store.job_list.lanes(),
            kinds=list(JobKind),
            states=list(JobState),
            has_worklists=bool(self._site.config.worklists),
        )

    def document(self, request: Request) -> Response:
        """Return the same as JSON."""
        return self._site.json(self._list(request))

    def job_page(self, request: Request) -> Response:
        """Return the page of one job."""
        return self._site.render(request, "administration/job.html", view=self._job(request))

    def job_document(self, request: Request) -> Response:
        """Return the same as JSON."""
        return self._site.json(self._job(request))

    def _list(self, request: Request) -> JobsView:
        wanted = JobFilter(
            state=query.choice(request, "state", JobState),
            kind=query.choice(request, "kind", JobKind),
            lane=query.words(request, "destination") or None,
            error=query.words(request, "error"),
        )
        sort = query.choice(request, "sort", JobSort) or JobSort.URGENCY
        descending = query.choice(request, "order", Order) is not Order.ASCENDING
        rows = query.number(request, "rows", ROWS, 1, MOST_ROWS)
        page = query.number(request, "page", 1, 1, MOST_PAGES)
        jobs = self._site.store.job_list
        found = jobs.page(wanted, rows, (page - 1) * rows, sort, descending=descending)
        return JobsView(
            filter=wanted,
            sort=found.sort,
            descending=descending,
            page=page,
            pages=max(1, -(-found.total // rows)),
            total=found.total,
            is_partial=found.is_partial,
            jobs=tuple(JobRow.of(listed) for listed in found.jobs),
            parked=parked_rows(jobs.parked()),
        )

    def _job(self, request: Request) -> JobView:
        text = request.path_params["number"]
        number = int(text) if text.isascii() and text.isdecimal() and len(text) < 18 else 0
        store = self._site.store
        try:
            listed = store.job_list.listed(store.jobs.get(number))
        except UnknownJobError:
            raise NotFoundError("There is no such job.") from None
        may_read = self._site.config.web.patient_names
        return job_view(
            listed,
            store.job_list.delivery(number),
            store.audit_list.of_job(number),
            with_comments=may_read or principal_of(request).role >= Role.OPERATOR,
        )
