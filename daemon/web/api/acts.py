"""The acts of operators for programs: the JSON twins of the pages below /actions."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from daemon.actions.actor import Actor
from daemon.actions.jobs import ChosenJob, JobsOutcome, discard_jobs, retry_jobs
from daemon.actions.studies import analyse_again, release_study, send_again
from daemon.config.settings import Config
from daemon.errors import UsageError
from daemon.web.access.roles import Role
from daemon.web.actions.requested import (
    actor_of,
    number_of,
    seen_job,
    seen_study,
    study_key,
)
from daemon.web.actions.views import StudyActs, study_acts
from daemon.web.api.bodies import AnalyseAgain, JobAct, JobsAct, Release, SendAgain, body_of
from daemon.web.entry import Entry, Parameter, Place
from daemon.web.problems import BadRequestError, ConflictError, NotFoundError
from daemon.web.site import Site
from storage.errors import (
    ChangedMeanwhileError,
    StudyHeldError,
    UnknownJobError,
    UnknownRecordError,
)
from storage.images.by_hand.repetition import Repetition
from storage.images.by_hand.seen import SeenStudy
from storage.records import StudyKey
from storage.store import Store

_NUMBER = Parameter("number", Place.PATH, "integer", "The number of the job.", required=True)
_UID = Parameter("uid", Place.PATH, "string", "The Study Instance UID.", required=True)
_SOURCE = Parameter("source", Place.QUERY, "string", "Its source, if several hold the study.")

_Act = Callable[[Config, Store, Sequence[ChosenJob], Actor], JobsOutcome]


@dataclass(frozen=True, slots=True)
class RefusedPart:
    """A film or an object that stays as it is, by its SOP Instance UID, with the reason."""

    uid: str
    reason: str


@dataclass(frozen=True, slots=True)
class QueuedWork:
    """The SOP Instance UIDs of films or objects whose work is queued, and the refused ones."""

    queued: tuple[str, ...]
    refused: tuple[RefusedPart, ...]


@dataclass(frozen=True, slots=True)
class ReleasedStudy:
    """A study that was released, and the films that were set aside."""

    study_instance_uid: str
    source: str
    set_aside: tuple[str, ...]


def act_entries(site: Site) -> Sequence[Entry]:
    """Return the entries of the acts for programs."""
    acts = _Acts(site)
    entries = [
        Entry(
            "/api/studies/{uid}/acts",
            acts.possible,
            Role.OPERATOR,
            summary="The acts that are possible on a study, and its state to send back as `seen`.",
            parameters=(_UID, _SOURCE),
            view=StudyActs,
        )
    ]
    for name, act in (("retry", retry_jobs), ("discard", discard_jobs)):
        entries += [
            _post(
                f"/api/jobs/{name}",
                acts.on_jobs(act),
                f"{name.capitalize()} many jobs; a job that is refused does not stop the rest.",
                JobsAct,
                JobsOutcome,
            ),
            _post(
                f"/api/jobs/{{number}}/{name}",
                acts.on_job(act),
                f"{name.capitalize()} one job.",
                JobAct,
                JobsOutcome,
                _NUMBER,
            ),
        ]
    studies = "/api/studies/{uid}/"
    return [
        *entries,
        _post(
            f"{studies}release",
            acts.release,
            "Release a held study: set films aside, and report the rest.",
            Release,
            ReleasedStudy,
            _UID,
        ),
        _post(
            f"{studies}analyse-again",
            acts.analyse_again,
            "Analyse films of a study again, then report it.",
            AnalyseAgain,
            QueuedWork,
            _UID,
        ),
        _post(
            f"{studies}send-again",
            acts.send_again,
            "Send the last report of a study and its pictures to one destination again.",
            SendAgain,
            QueuedWork,
            _UID,
        ),
    ]


def _post(
    path: str,
    endpoint: Callable[[Request], Response],
    summary: str,
    body: type,
    view: type,
    *parameters: Parameter,
) -> Entry:
    return Entry(path, endpoint, Role.OPERATOR, "POST", summary, parameters, view, body)


class _Acts:
    """The endpoints. Each runs in a thread, because it waits for the store."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def possible(self, request: Request) -> Response:
        """Return what can be done with a study."""
        source = request.query_params.get("source")
        key = study_key(self._site.store, request.path_params["uid"], source)
        return self._site.json(study_acts(self._site.config, self._site.store, key))

    def on_job(self, act: _Act) -> Callable[[Request], Response]:
        """Return the endpoint of an act on one job."""

        def endpoint(request: Request) -> Response:
            number = number_of(request.path_params["number"], "the number of a job")
            seen = body_of(request, JobAct).seen
            chosen = ChosenJob(number, seen_job(seen) if seen is not None else None)
            try:
                self._site.store.jobs.get(number)
            except UnknownJobError:
                raise NotFoundError(f"there is no job {number}") from None
            outcome = act(self._site.config, self._site.store, [chosen], actor_of(request))
            if outcome.refused:
                raise ConflictError(outcome.refused[0].reason)
            return self._site.json(outcome)

        return endpoint

    def on_jobs(self, act: _Act) -> Callable[[Request], Response]:
        """Return the endpoint of an act on many jobs."""

        def endpoint(request: Request) -> Response:
            chosen = [
                ChosenJob(one.job, seen_job(one.seen) if one.seen is not None else None)
                for one in body_of(request, JobsAct).jobs
            ]
            return self._site.json(
                act(self._site.config, self._site.store, chosen, actor_of(request))
            )

        return endpoint

    def release(self, request: Request) -> Response:
        """Release a study."""
        body = body_of(request, Release)
        key, seen = self._study(request, body.source, body.seen)
        with _refusals():
            release_study(
                self._site.config,
                self._site.store,
                key,
                body.set_aside,
                actor_of(request),
                seen,
            )
        return self._site.json(
            ReleasedStudy(key.study_instance_uid, key.source, tuple(body.set_aside))
        )

    def analyse_again(self, request: Request) -> Response:
        """Analyse films again."""
        body = body_of(request, AnalyseAgain)
        key, seen = self._study(request, body.source, body.seen)
        with _refusals():
            done = analyse_again(
                self._site.config,
                self._site.store,
                key,
                actor_of(request),
                body.films,
                seen,
            )
        return self._queued(done)

    def send_again(self, request: Request) -> Response:
        """Send results again."""
        body = body_of(request, SendAgain)
        if body.to not in {peer.name for peer in self._site.config.receivers}:
            raise BadRequestError("to: it is not the name of a destination")
        key, seen = self._study(request, body.source, body.seen)
        with _refusals():
            done = send_again(
                self._site.config, self._site.store, key, body.to, actor_of(request), seen
            )
        return self._queued(done)

    def _study(
        self, request: Request, source: str | None, seen: str | None
    ) -> tuple[StudyKey, SeenStudy | None]:
        key = study_key(self._site.store, request.path_params["uid"], source)
        return key, seen_study(seen) if seen is not None else None

    def _queued(self, done: Repetition) -> Response:
        refused = tuple(RefusedPart(uid, reason) for uid, reason in done.refused.items())
        if not done.queued:
            reasons = "; ".join(f"{part.uid}: {part.reason}" for part in refused[:3])
            raise ConflictError(f"nothing is queued: {reasons or 'the study has no film'}")
        return self._site.json(QueuedWork(done.queued, refused))


@contextmanager
def _refusals() -> Iterator[None]:
    """Raise the refusal of an act as the error that a caller sees."""
    try:
        yield
    except (ChangedMeanwhileError, StudyHeldError, UsageError) as error:
        raise ConflictError(str(error)) from error
    except UnknownRecordError as error:
        raise NotFoundError(str(error)) from error
