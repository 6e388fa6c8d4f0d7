"""Receives reviews: the form of a study's page, and the JSON twin."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from daemon.web.access.identity import host_of, principal_of
from daemon.web.access.roles import Role
from daemon.web.actions.messages import Message
from daemon.web.api.bodies import FilmReview, body_of
from daemon.web.entry import Entry, Parameter, Place
from daemon.web.problems import BadRequestError, ConflictError, NotFoundError
from daemon.web.request_body import form_of
from daemon.web.reviews.sent_review import SentReview, check_review, of_form
from daemon.web.site import Site, root_of
from storage.errors import StudyChangedError, UnknownRecordError
from storage.records import Instance, StudyKey, Verdict
from storage.reviews import FILM, NewReview, Review

_PATH = "/studies/{uid}/films/{number}/review"
_MOST_DIGITS = 18


@dataclass(frozen=True, slots=True)
class FilmReviews:
    """The reviews of a film that count, of every reviewer."""

    study_instance_uid: str
    film: int
    reviews: tuple[Review, ...]


def review_entries(site: Site) -> Sequence[Entry]:
    """Return the entries that receive reviews."""
    pages = _ReviewPages(site)
    parameters = (
        Parameter("uid", Place.PATH, "string", "The Study Instance UID.", required=True),
        Parameter("number", Place.PATH, "integer", "The number of the film.", required=True),
    )
    return [
        Entry(
            _PATH,
            pages.save,
            Role.OPERATOR,
            method="POST",
            summary="Saves the caller's verdicts and remark on a film; the fields of a form.",
            parameters=parameters,
        ),
        Entry(
            f"/api{_PATH}",
            pages.api,
            Role.OPERATOR,
            method="POST",
            summary="Saves the caller's verdicts and remark on a film.",
            parameters=parameters,
            view=FilmReviews,
            body=FilmReview,
        ),
    ]


class _ReviewPages:
    """The endpoints. Each runs in a thread, because it waits for the store."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def save(self, request: Request) -> Response:
        """Save the review of a form, then show the study again."""
        film = self._film(request)
        changes = self._record(request, film, of_form(form_of(request), film))
        words = (
            f"Your review of film {film.id} is saved" if changes else "There was no change to save"
        )
        self._site.messages.leave(principal_of(request), Message(f"{words}."))
        study = quote(film.study_instance_uid, safe="")
        query = urlencode({"source": film.source})
        return RedirectResponse(
            f"{root_of(request.url.path)}studies/{study}?{query}#film-{film.id}", 303
        )

    def api(self, request: Request) -> Response:
        """Save the review of a program; return the reviews of the film."""
        film = self._film(request)
        body = body_of(request, FilmReview)
        self._record(request, film, check_review(body.verdicts, body.seen, body.remark, film))
        found = tuple(each for each in self._reviews(film) if each.instance_id == film.id)
        return self._site.json(FilmReviews(film.study_instance_uid, film.id, found))

    def _film(self, request: Request) -> Instance:
        number, uid = request.path_params["number"], request.path_params["uid"]
        if number.isascii() and number.isdecimal() and len(number) <= _MOST_DIGITS:
            try:
                film = self._site.store.results.instance(int(number))
            except UnknownRecordError:
                film = None
            if film is not None and film.study_instance_uid == uid:
                return film
        raise NotFoundError("The study has no film of this number.")

    def _reviews(self, film: Instance) -> Sequence[Review]:
        return self._site.store.reviews.of_study(StudyKey(film.source, film.study_instance_uid))

    def _record(self, request: Request, film: Instance, sent: SentReview) -> int:
        """Record what differs from the caller's own review; return the number of changes."""
        reviewer = principal_of(request).name
        mine = {
            each.label: each
            for each in self._reviews(film)
            if each.instance_id == film.id and each.reviewer == reviewer
        }
        changes = [
            NewReview(film.id, label, verdict, "", reviewer, sent.seen.get(label))
            for label, verdict in sent.verdicts.items()
            if verdict is not _verdict_of(mine.get(label))
        ]
        before = mine[FILM].remark if FILM in mine else ""
        if sent.remark is not None and sent.remark != before:
            changes.append(NewReview(film.id, FILM, None, sent.remark, reviewer))
        try:
            for change in changes:
                self._site.store.reviews.record(change, host_of(request.scope))
        except StudyChangedError as error:
            raise ConflictError(f"{error}. What was saved before it stays.") from error
        except UnknownRecordError as error:
            raise BadRequestError(str(error)) from error
        return len(changes)


def _verdict_of(review: Review | None) -> Verdict | None:
    return review.verdict if review is not None else None
