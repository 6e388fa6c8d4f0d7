"""The list of studies: the page, the CSV file and the JSON twin."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from cxr_model.findings import LABELS
from daemon.web.access.roles import Role
from daemon.web.entry import Entry, Parameter, Place
from daemon.web.problems import BadRequestError
from daemon.web.site import Site
from daemon.web.studies.list_csv import csv_lines
from daemon.web.studies.list_view import STATE_WORDS, StudyList, list_of
from daemon.web.studies.search_form import (
    FIELDS,
    MOST_ROWS,
    PAGE_ROWS,
    PARAMETERS,
    Search,
    read_search,
    unknown_names,
)
from daemon.words.findings import title_of
from storage.audit.records import AuditKind
from storage.search.records import StudySort

_COLUMNS = (
    (StudySort.RECEIVED, "received"),
    (StudySort.STUDY_DATE, "study date"),
    (StudySort.ACCESSION_NUMBER, "accession number"),
    (StudySort.PATIENT_ID, "Patient ID"),
    (StudySort.PATIENT_NAME, "name"),
    (StudySort.MODALITY, "modality"),
    (StudySort.FILMS, "films"),
    (StudySort.STATE, "state"),
)
_FILE_NAME = "studies.csv"


def list_entries(site: Site) -> Sequence[Entry]:
    """Return the entries of the list of studies."""
    pages = _ListPages(site)
    paging = (
        Parameter("offset", Place.QUERY, "integer", "The number of studies to skip."),
        Parameter("limit", Place.QUERY, "integer", f"At most {MOST_ROWS}; {PAGE_ROWS} by default."),
    )
    page = Parameter("page", Place.QUERY, "integer", f"The page of {PAGE_ROWS} studies, from 1.")
    files = [
        Entry(
            path,
            pages.csv,
            Role.VIEWER,
            summary="The studies of a search as CSV, all of them; audited.",
            parameters=PARAMETERS,
        )
        for path in ("/studies.csv", "/api/studies.csv")
    ]
    return [
        Entry(
            "/studies",
            pages.page,
            Role.VIEWER,
            summary="The studies, searched, sorted and paged.",
            parameters=(*PARAMETERS, page),
        ),
        *files,
        Entry(
            "/api/studies",
            pages.api,
            Role.VIEWER,
            summary="The studies, searched, sorted and paged.",
            parameters=(*PARAMETERS, *paging),
            view=StudyList,
        ),
    ]


class _ListPages:
    """The endpoints. Each runs in a thread, because it waits for the store."""

    def __init__(self, site: Site) -> None:
        self._site = site
        config = site.config
        self._names = config.web.patient_names
        self._fields = [field for field in FIELDS if field.name != "name" or self._names]
        self._columns = [
            each for each in _COLUMNS if self._names or each[0] != StudySort.PATIENT_NAME
        ]
        sources = sorted({peer.source for peer in config.all_senders if peer.source})
        self._several_sources = len(sources) > 1
        self._choices = {
            "finding": [(label, title_of(label)) for label in LABELS],
            "state": [(state.value, words) for state, words in STATE_WORDS.items()],
            "modality": [(name, name) for name in ("CR", "DX", "OT")],
            "sender": [(name, name) for name in config.rules_by_sender],
            "source": [(name, name) for name in sources],
        }

    def page(self, request: Request) -> Response:
        """Return the list as a page; with messages and status 400 if a value cannot be used."""
        search = read_search(request.query_params, self._site.config)
        found, status = StudyList(0, False, 0, ()), 400
        if not search.problems:
            found, status = self._found(search, (search.page - 1) * PAGE_ROWS, PAGE_ROWS), 200
        text = "accession number, Patient ID, Study UID" + (", name" if self._names else "")
        # A film is the next that the caller looks at, and a reader takes a second to start.
        self._site.film_readers.warm_up()
        return self._site.render(
            request,
            "studies/list.html",
            status,
            search=search,
            found=found,
            fields=self._fields,
            choices=self._choices,
            columns=self._columns,
            text_label=text[0].upper() + text[1:],
            sort=StudySort,
            names=self._names,
            several_sources=self._several_sources,
            page_rows=PAGE_ROWS,
            pages=max(1, -(-found.total // PAGE_ROWS)),
        )

    def csv(self, request: Request) -> Response:
        """Return all studies of a search as CSV, in the order of the list."""
        search = self._checked(request, "page")
        # The values of the search may be a patient's.
        self._site.audit(
            request,
            AuditKind.DATA_EXPORTED,
            detail=f"the list of studies as CSV; searched by: {search.fields_used}",
        )
        parts = self._site.store.search.parts(
            search.selection, search.sort, descending=search.descending
        )
        return StreamingResponse(
            csv_lines(parts, LABELS, with_names=self._names),
            media_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{_FILE_NAME}"'},
        )

    def api(self, request: Request) -> Response:
        """Return a part of the list as JSON."""
        search = self._checked(request, "offset", "limit")
        offset = _number(request, "offset", 0, 0, 2**31)
        limit = _number(request, "limit", PAGE_ROWS, 1, MOST_ROWS)
        return self._site.json(self._found(search, offset, limit))

    def _found(self, search: Search, offset: int, limit: int) -> StudyList:
        page = self._site.store.search.studies(
            search.selection,
            search.sort,
            descending=search.descending,
            offset=offset,
            limit=limit,
        )
        return list_of(page, offset, with_names=self._names)

    def _checked(self, request: Request, *more: str) -> Search:
        """Return the search of a program. Raises BadRequestError for any value of no use."""
        query = request.query_params
        unknown = unknown_names(query, "sort", "order", *more)
        if unknown:
            raise BadRequestError(f"there is no parameter {unknown[0][:32]!r}")
        search = read_search(query, self._site.config)
        for name, problem in search.problems.items():
            raise BadRequestError(f"{name}: {problem}")
        return search


def _number(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name, "")
    if not text:
        return default
    if text.isascii() and text.isdecimal() and len(text) <= 10 and least <= int(text) <= most:
        return int(text)
    raise BadRequestError(f"{name}: a number from {least} to {most}")
