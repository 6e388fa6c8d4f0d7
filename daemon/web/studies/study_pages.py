"""The page of one study and its JSON twin, its reports as pages, and its objects as files."""

from collections.abc import Sequence
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from daemon.config.picture_form import names_priors
from daemon.web.access.roles import Role
from daemon.web.entry import Entry, Parameter, Place
from daemon.web.films.panel import film_panel
from daemon.web.looks import Looks
from daemon.web.problems import ConflictError, NotFoundError
from daemon.web.reviews.sent_review import MOST_CHARACTERS
from daemon.web.site import Site
from daemon.web.studies.model_words import ModelCard
from daemon.web.studies.report_reader import ReportReader
from daemon.web.studies.study_builder import StudyBuilder
from daemon.web.studies.study_view import StudyDetails
from daemon.words.findings import A_FINDING_IS
from storage.audit.records import AuditKind, subject_of
from storage.errors import IntegrityError
from storage.records import ObjectKind, ObjectRecord, StudyKey
from storage.search.study_records import StudyView

_UID = Parameter("uid", Place.PATH, "string", "The Study Instance UID.", required=True)
_OBJECT = Parameter(
    "object", Place.PATH, "string", "The SOP Instance UID of an object made here.", required=True
)
_SOURCE = Parameter("source", Place.QUERY, "string", "The source, if several hold the study.")


def study_entries(site: Site) -> Sequence[Entry]:
    """Return the entries of one study."""
    pages = _StudyPages(site)
    return [
        Entry(
            "/studies/{uid}",
            pages.page,
            Role.VIEWER,
            summary="A study: films, findings, report, deliveries and history; audited.",
            parameters=(_UID, _SOURCE),
        ),
        Entry(
            "/studies/{uid}/reports/{object}",
            pages.report,
            Role.VIEWER,
            summary="A report of the study as text.",
            parameters=(_UID, _OBJECT, _SOURCE),
        ),
        Entry(
            "/studies/{uid}/objects/{object}",
            pages.file,
            Role.VIEWER,
            summary="A report or picture made here, as a DICOM file; audited.",
            parameters=(_UID, _OBJECT, _SOURCE),
        ),
        Entry(
            "/api/studies/{uid}",
            pages.api,
            Role.VIEWER,
            summary="A study: films, findings, report, deliveries and history; audited.",
            parameters=(_UID, _SOURCE),
            view=StudyDetails,
        ),
    ]


class _StudyPages:
    """The endpoints. Each runs in a thread, because it waits for the store."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._looks = Looks(site, AuditKind.STUDY_VIEWED)
        self._reports = ReportReader(site.spool)
        self._builder = StudyBuilder(site.config, ModelCard(site.config))

    def page(self, request: Request) -> Response:
        """Return the page of a study, or a choice where several sources hold it."""
        keys = self._keys(request)
        if len(keys) > 1:
            return self._site.render(request, "studies/choice.html", keys=keys)
        found = self._look(request, keys[0])
        return self._site.render(
            request,
            "studies/study.html",
            study=self._details(found),
            panels={
                film.instance.id: film_panel(self._site, film.instance, title=f"Film {film.number}")
                for film in found.films
            },
            destinations=self._builder.destinations(keys[0].source),
            a_finding_is=A_FINDING_IS,
            most_remark=MOST_CHARACTERS,
        )

    def api(self, request: Request) -> Response:
        """Return a study as JSON."""
        return self._site.json(self._details(self._look(request, self._only_key(request))))

    def report(self, request: Request) -> Response:
        """Return a report as a page."""
        found = self._look(request, self._only_key(request))
        report = self._object(request, found)
        if report.kind is not ObjectKind.REPORT:
            raise NotFoundError("This object is no report.")
        parts = self._reports.parts(report)
        if parts is None:
            raise NotFoundError(_absence(report))
        return self._site.render(
            request, "studies/report.html", study=found.key, report=report, parts=parts
        )

    def file(self, request: Request) -> Response:
        """Return an object made here as a DICOM file."""
        found = self._found(self._only_key(request))
        record = self._object(request, found)
        if record.purged_at is not None:
            raise NotFoundError(_absence(record))
        try:
            data = self._site.spool.read(record.spool_path, record.sha256)
        except IntegrityError:
            # The text of the error names a path.
            raise NotFoundError(_absence(record)) from None
        subject = subject_of(
            study=record.study_instance_uid,
            instance=record.sop_instance_uid,
            sop_class=record.sop_class_uid,
        )
        self._site.audit(request, AuditKind.DATA_EXPORTED, subject, f"{record.kind} as a file")
        name = quote(record.sop_instance_uid, safe="")
        return Response(
            data,
            media_type="application/dicom",
            headers={"Content-Disposition": f'attachment; filename="{name}.dcm"'},
        )

    def _keys(self, request: Request) -> Sequence[StudyKey]:
        """Return the studies of the URL. Raises NotFoundError."""
        source = request.query_params.get("source")
        keys = self._site.store.search.keys_of(request.path_params["uid"])
        keys = tuple(key for key in keys if source in (None, key.source))
        if not keys:
            raise NotFoundError(
                "No study with this UID is here. It may have been sent to another node, or refused:"
                " search for the accession number, or look at the overview."
            )
        return keys

    def _only_key(self, request: Request) -> StudyKey:
        keys = self._keys(request)
        if len(keys) > 1:
            named = ", ".join(repr(key.source) for key in keys)
            raise ConflictError(f"Several sources hold this study: add source, one of {named}.")
        return keys[0]

    def _found(self, key: StudyKey) -> StudyView:
        found = self._site.store.search.study(key)
        if found is None:
            raise NotFoundError("No study with this UID is here.")
        return found

    def _look(self, request: Request, key: StudyKey) -> StudyView:
        """Return a study, after its caller's look is recorded."""
        found = self._found(key)
        self._looks.record(request, subject_of(study=key.study_instance_uid, source=key.source))
        return found

    def _details(self, found: StudyView) -> StudyDetails:
        shown = shown_report([made.record for made in found.reports])
        return self._builder.details(found, self._reports.parts(shown) if shown else None)

    def _object(self, request: Request, found: StudyView) -> ObjectRecord:
        uid = request.path_params["object"]
        for made in found.objects:
            if made.record.sop_instance_uid == uid:
                return made.record
        raise NotFoundError("The study has no object with this UID that was made here.")


def shown_report(reports: Sequence[ObjectRecord]) -> ObjectRecord | None:
    """Return the last report of a study, in the form that names earlier reports if it has one.

    `reports` are in the order of their recording; the forms of a report follow its default form.
    """
    last = [number for number, report in enumerate(reports) if not report.form]
    if not last:
        return None
    forms = reports[last[-1] :]
    return next((report for report in forms if names_priors(report.form)), forms[0])


def _absence(record: ObjectRecord) -> str:
    if record.purged_at is not None:
        return (
            f"The file was deleted on {record.purged_at:%Y-%m-%d}, after its retention time."
            " Where it was sent is listed on the page of the study."
        )
    return "The file is damaged or lost: `cxrd verify` names it."
