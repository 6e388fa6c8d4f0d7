"""/audit: the audit trail by filter, its verification in the background, and its export."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from daemon.audit.streams import csv_stream, message_stream
from daemon.web.access.identity import principal_of
from daemon.web.access.roles import Role
from daemon.web.administration import query
from daemon.web.administration.verification import Verification, VerificationView
from daemon.web.api.bodies import TrailVerification, body_of
from daemon.web.entry import Entry, Parameter, Place
from daemon.web.problems import BadRequestError, ConflictError
from daemon.web.request_body import form_of, wants_json
from daemon.web.site import Site
from storage.audit.listing import AuditFilter
from storage.audit.records import AuditHead, AuditKind, AuditOutcome, AuditRow, parse_subject

ROWS = 100
MOST_ROWS = 1000
MOST_NUMBER = 10**17
_SECRET = re.compile(r'scrypt:[0-9a-f]+|(?<="salt":")[0-9a-f]+')


class ExportForm(StrEnum):
    """The forms of an export."""

    CSV = "csv"
    DICOM_XML = "dicom-xml"


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """A row of the trail. Hashes of secrets in `detail` are hidden; an export has them.

    `study` and `source` name the study of the event, if it has one.
    """

    number: int
    recorded_at: str
    kind: str
    outcome: str
    actor: str
    host: str
    subject: str
    detail: str
    hash: str
    study: str
    source: str

    @classmethod
    def of(cls, row: AuditRow) -> "AuditEvent":
        """Return the event of a row."""
        names = parse_subject(str(row.subject))
        return cls(
            number=row.number,
            recorded_at=str(row.recorded_at),
            kind=str(row.kind),
            outcome=str(row.outcome),
            actor=str(row.actor),
            host=str(row.host),
            subject=str(row.subject),
            detail=_SECRET.sub("…", str(row.detail)),
            hash=str(row.hash),
            study=names.get("study", ""),
            source=names.get("source", ""),
        )


@dataclass(frozen=True, slots=True)
class AuditView:
    """A page of events, newest first.

    `before` is the value of the parameter for the next page, or None at the end of the trail.
    `looked_to` is the number of the oldest row that was looked through, if the page is not full and
    older rows are left.
    """

    filter: AuditFilter
    events: tuple[AuditEvent, ...]
    before: int | None
    looked_to: int | None


_TIMES = (
    Parameter("since", Place.QUERY, "string", "recorded at or after: 2026-03-01 or with a time"),
    Parameter("until", Place.QUERY, "string", "recorded before; a day alone is included"),
)
_PARAMETERS = (
    Parameter("kind", Place.QUERY, "string", "the kind of event"),
    Parameter("outcome", Place.QUERY, "string", "success or failure"),
    Parameter("actor", Place.QUERY, "string", "a part of the actor"),
    Parameter("host", Place.QUERY, "string", "a part of the host"),
    Parameter("subject", Place.QUERY, "string", "a part of the subject, for example a study's UID"),
    *_TIMES,
    Parameter("before", Place.QUERY, "integer", "only rows with a smaller number"),
    Parameter("rows", Place.QUERY, "integer", f"events of a page, at most {MOST_ROWS}"),
)


def audit_entries(site: Site) -> Sequence[Entry]:
    """Return the entries of the audit trail."""
    pages = _Pages(site)
    form = Parameter("form", Place.QUERY, "string", f"one of {', '.join(ExportForm)}")
    return [
        Entry("/audit", pages.page, Role.ADMIN, summary="The trail.", parameters=_PARAMETERS),
        Entry(
            "/audit/export",
            pages.export,
            Role.ADMIN,
            summary="The trail as CSV, or as DICOM audit messages one a line; recorded.",
            parameters=(form, *_TIMES),
        ),
        Entry(
            "/audit/verification",
            pages.verify,
            Role.ADMIN,
            "POST",
            summary="Verify the hash chain in the background.",
        ),
        Entry(
            "/api/audit",
            pages.document,
            Role.ADMIN,
            summary="Events of the audit trail by filter, newest first.",
            parameters=_PARAMETERS,
            view=AuditView,
        ),
        Entry(
            "/api/audit/verification",
            pages.verification,
            Role.ADMIN,
            summary="The progress and the result of the last verification.",
            view=VerificationView,
        ),
        Entry(
            "/api/audit/verification",
            pages.verify,
            Role.ADMIN,
            "POST",
            summary="Begin a verification, whose answer is 202 and its first state.",
            view=VerificationView,
            body=TrailVerification,
        ),
    ]


class _Pages:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._verification = Verification(site.store, site.clock)

    def page(self, request: Request) -> Response:
        """Return the page of the trail."""
        view = self._list(request)
        shown = ("kind", "outcome", "actor", "host", "subject", "since", "until", "rows")
        values = {name: request.query_params.get(name) for name in shown}

        def link(**changes: object) -> str:
            return f"audit?{query.query_of({**values, **changes})}"

        return self._site.render(
            request,
            "administration/audit.html",
            view=view,
            values=values,
            link=link,
            is_first=not request.query_params.get("before"),
            kinds=sorted(AuditKind),
            outcomes=list(AuditOutcome),
            head=str(self._site.store.audit.head()),
            verification=self._verification.view,
        )

    def document(self, request: Request) -> Response:
        """Return the same as JSON."""
        return self._site.json(self._list(request))

    def verification(self, _request: Request) -> Response:
        """Return the state of the last verification."""
        return self._site.json(self._verification.view)

    def verify(self, request: Request) -> Response:
        """Begin a verification."""
        is_json = wants_json(request)
        head: str | None = form_of(request).get("head", [""])[0]
        if is_json:
            head = body_of(request, TrailVerification).head
        try:
            noted = AuditHead.parse(head) if head else None
        except ValueError as error:
            raise BadRequestError(f"head: {error}") from None
        if not self._verification.start(principal_of(request).name, noted):
            raise ConflictError("A verification is running: wait for its result.")
        if is_json:
            return self._site.json(self._verification.view, 202)
        return RedirectResponse("../audit#verification", 303)

    def export(self, request: Request) -> Response:
        """Return the trail as a file."""
        form = query.choice(request, "form", ExportForm) or ExportForm.CSV
        span = self._span(request)

        def record(outcome: AuditOutcome, detail: str) -> None:
            self._site.audit(
                request, AuditKind.AUDIT_EXPORTED, detail=f"{form}: {detail}", outcome=outcome
            )

        store, config = self._site.store, self._site.config
        content: Iterator[bytes] = (
            csv_stream(store, *span, record)
            if form is ExportForm.CSV
            else message_stream(config, store, *span, record)
        )
        name, kind = ("audit.csv", "text/csv; charset=utf-8")
        if form is ExportForm.DICOM_XML:
            name, kind = ("audit.xml", "application/octet-stream")
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return StreamingResponse(content, media_type=kind, headers=headers)

    def _list(self, request: Request) -> AuditView:
        since, until = self._span(request)
        wanted = AuditFilter(
            kind=query.choice(request, "kind", AuditKind),
            outcome=query.choice(request, "outcome", AuditOutcome),
            actor=query.words(request, "actor"),
            host=query.words(request, "host"),
            subject=query.words(request, "subject"),
            since=since,
            until=until,
        )
        before = query.number(request, "before", 0, 1, MOST_NUMBER) or None
        rows = query.number(request, "rows", ROWS, 1, MOST_ROWS)
        found = self._site.store.audit_list.page(wanted, before, rows)
        events = tuple(AuditEvent.of(row) for row in found.rows)
        return AuditView(wanted, events, found.before, found.looked_to)

    def _span(self, request: Request) -> tuple[datetime | None, datetime | None]:
        return query.moment(request, "since"), query.moment(request, "until", is_end=True)
