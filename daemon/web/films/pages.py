"""The URLs of a film: its pictures, its stored pixels, and the viewer."""

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from daemon.web.access.roles import Role
from daemon.web.entry import Entry, Parameter, Place
from daemon.web.films.film import find_film, find_object
from daemon.web.films.outlines import Outlines, outlines_of
from daemon.web.films.panel import film_panel
from daemon.web.films.pixels import PixelResponse, Transfers, facts_header
from daemon.web.films.placeholder import placeholder
from daemon.web.looks import Looks
from daemon.web.problems import BadRequestError, BusyError, WebError
from daemon.web.site import Site
from storage.audit.records import AuditKind, subject_of
from storage.records import Instance

if TYPE_CHECKING:
    from daemon.web.films.pictures import FilmPictures

SCREEN_SIDE = 1200
"""Pixels of the longer side of a picture on a page."""
SMALLEST_SIDE, LARGEST_SIDE = 16, 4096
RETRY_SECONDS = 3

_PATH = "/studies/{uid}/films/{number}"
_FILM = (
    Parameter("uid", Place.PATH, "string", "Study Instance UID.", required=True),
    Parameter("number", Place.PATH, "integer", "Number of the film.", required=True),
    Parameter("source", Place.QUERY, "string", "Source of the study."),
)
_SIDE = Parameter(
    "side",
    Place.QUERY,
    "integer",
    f"Most pixels of the longer side, {SMALLEST_SIDE} to {LARGEST_SIDE}.",
)
_FINDING = Parameter("finding", Place.QUERY, "string", "Label of the finding.", required=True)


def film_entries(site: Site) -> Sequence[Entry]:
    """Return the entries of films."""
    pages = FilmPages(site)
    shown, told = pages.shown, pages.told

    def entry(
        name: str, endpoint: Callable[[Request], Response], summary: str, *more: Parameter
    ) -> Entry:
        return Entry(
            f"{_PATH}/{name}", endpoint, Role.VIEWER, summary=summary, parameters=(*_FILM, *more)
        )

    return [
        Entry(_PATH, pages.page, Role.VIEWER, summary="A film alone.", parameters=_FILM),
        entry("picture.png", shown(pages.picture), "The film upright, as it was analysed.", _SIDE),
        entry(
            "overlay.png",
            shown(pages.overlay),
            "The overlay of a finding: transparent, on the pixels of picture.png.",
            _FINDING,
            _SIDE,
            Parameter("contour", Place.QUERY, "boolean", "False leaves out the outline."),
            Parameter("film", Place.QUERY, "boolean", "True draws the film below it."),
        ),
        entry(
            "object.png",
            shown(pages.object),
            "A heatmap or summary sheet of the film, as it is in its DICOM object.",
            Parameter("uid", Place.QUERY, "string", "Its SOP Instance UID.", required=True),
            _SIDE,
        ),
        Entry(
            f"{_PATH}/contours.json",
            told(pages.contours),
            Role.VIEWER,
            summary="The outlines of the findings, as shares of the upright film.",
            parameters=_FILM,
            view=Outlines,
        ),
        entry("pixels.json", told(pages.facts), "How to show the stored pixels of the film."),
        entry(
            "pixels",
            told(pages.pixels),
            "The stored pixels, row by row, little-endian: uint8, uint16 or int16, or RGB.",
            Parameter("facts", Place.QUERY, "boolean", "True puts pixels.json before them."),
        ),
        entry("view", pages.view, "The viewer of the film."),
    ]


class FilmPages:
    """The endpoints. Starlette runs each in a thread, because they wait for store and readers."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._made: FilmPictures | None = None
        self._making = threading.Lock()
        self._looks = Looks(site, AuditKind.FILM_VIEWED)
        self._transfers = Transfers()

    def shown(self, make: Callable[[Request], Response]) -> Callable[[Request], Response]:
        """Return an endpoint of a picture; its errors are pictures for an `img` element."""

        def endpoint(request: Request) -> Response:
            try:
                return make(request)
            except WebError as error:
                if not _wants_picture(request):
                    return self._failed(request, error)
                return Response(
                    placeholder(f"{error}."), error.status, _retry(error), "image/svg+xml"
                )

        return endpoint

    def told(self, make: Callable[[Request], Response]) -> Callable[[Request], Response]:
        """Return an endpoint for programs; its errors are JSON."""

        def endpoint(request: Request) -> Response:
            try:
                return make(request)
            except WebError as error:
                answer = self._site.json({"error": f"{error}."}, error.status)
                answer.headers.update(_retry(error))
                return answer

        return endpoint

    def picture(self, request: Request) -> Response:
        """Return the film as a PNG."""
        film = self._film(request)
        shown = self._pictures.film(film, _side(request))
        self._looked(request, film)
        return _png(shown.png)

    def overlay(self, request: Request) -> Response:
        """Return the overlay of a finding as a PNG, alone or on the film."""
        film = self._film(request)
        label, side = request.query_params.get("finding", ""), _side(request)
        if _flag(request, "film", default=False):
            made = self._pictures.laid_over(film, label, side)
        else:
            contour = _flag(request, "contour", default=True)
            made = self._pictures.overlay(film, label, side, contour=contour)
        self._looked(request, film)
        return _png(made)

    def object(self, request: Request) -> Response:
        """Return a picture that was made of the film as a PNG."""
        film = self._film(request)
        made = find_object(film, request.query_params.get("uid", ""))
        shown = self._pictures.made(made, _side(request))
        self._looked(request, film)
        return _png(shown.png)

    def contours(self, request: Request) -> Response:
        """Return the outlines of the findings."""
        film = self._film(request)
        shown = self._pictures.film(film, SCREEN_SIDE)
        self._looked(request, film)
        return self._site.json(outlines_of(film, shown))

    def facts(self, request: Request) -> Response:
        """Return the way to show the stored pixels."""
        film = self._film(request)
        stored = self._pictures.pixels(film)
        stored.pages.close()
        self._looked(request, film)
        return self._site.json(stored.plain_facts())

    def pixels(self, request: Request) -> Response:
        """Return the stored pixels."""
        film = self._film(request)
        if not self._transfers.begin():
            raise BusyError("other films are being sent: try again in some seconds")
        try:
            stored = self._pictures.pixels(film)
            try:
                self._looked(request, film)
                head = (
                    facts_header(stored.plain_facts())
                    if _flag(request, "facts", default=False)
                    else b""
                )
                packed = "gzip" in request.headers.get("accept-encoding", "")
                return PixelResponse(stored, head, packed=packed, release=self._transfers.end)
            except BaseException:
                stored.pages.close()
                raise
        except BaseException:
            self._transfers.end()
            raise

    def page(self, request: Request) -> Response:
        """Return the page of one film."""
        panel = film_panel(self._site, self._film(request))
        return self._site.render(request, "films/film.html", film=panel, here="studies")

    def view(self, request: Request) -> Response:
        """Return the page of the viewer."""
        film = self._film(request)
        self._site.film_readers.warm_up()
        return self._site.render(
            request, "films/viewer.html", film=film_panel(self._site, film), here="studies"
        )

    @property
    def _pictures(self) -> "FilmPictures":
        """The pictures of films. The first use loads the libraries that make them."""
        with self._making:
            if self._made is None:
                from daemon.web.films.pictures import FilmPictures

                self._made = FilmPictures(self._site, self._site.film_readers)
            return self._made

    def _film(self, request: Request) -> Instance:
        values = request.path_params
        source = request.query_params.get("source")
        return find_film(self._site, values["uid"], values["number"], source)

    def _looked(self, request: Request, film: Instance) -> None:
        """Record the look. Raises StorageError: then no film is shown."""
        subject = subject_of(
            study=film.study_instance_uid,
            instance=film.sop_instance_uid,
            sop_class=film.sop_class_uid,
        )
        self._looks.record(request, subject, f"film {film.id}")

    def _failed(self, request: Request, error: WebError) -> Response:
        answer = self._site.error(request, error.status, f"{error}.")
        answer.headers.update(_retry(error))
        return answer


def _png(data: bytes) -> Response:
    return Response(data, media_type="image/png")


def _retry(error: WebError) -> dict[str, str]:
    return {"Retry-After": str(RETRY_SECONDS)} if isinstance(error, BusyError) else {}


def _wants_picture(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    return "image/" in accepted and "text/html" not in accepted


def _side(request: Request) -> int:
    given = request.query_params.get("side")
    if given is None:
        return SCREEN_SIDE
    is_number = given.isascii() and given.isdigit() and len(given) <= len(str(LARGEST_SIDE))
    if not is_number or not SMALLEST_SIDE <= int(given) <= LARGEST_SIDE:
        raise BadRequestError(f"side is a number from {SMALLEST_SIDE} to {LARGEST_SIDE}")
    return int(given)


def _flag(request: Request, name: str, *, default: bool) -> bool:
    given = request.query_params.get(name)
    if given is None:
        return default
    if given not in ("true", "false"):
        raise BadRequestError(f"{name} is true or false")
    return given == "true"
