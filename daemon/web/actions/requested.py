"""Values of a request for an act, checked: numbers of jobs, the name of a study, what was seen."""

from collections.abc import Mapping, Sequence

from starlette.requests import Request

from daemon.actions.actor import Actor
from daemon.actions.jobs import ChosenJob
from daemon.web.access.identity import host_of, principal_of
from daemon.web.problems import BadRequestError, NotFoundError
from storage.errors import AmbiguousStudyError, UnknownRecordError
from storage.images.by_hand.seen import SeenStudy
from storage.queue.seen import SeenJob
from storage.records import StudyKey
from storage.store import Store

MAX_JOBS = 1000
"""Most jobs that one request changes."""
MOST_DIGITS = 18
_MOST_LENGTH = 64
"""A UID has at most 64 characters (PS3.5 9.1)."""

Form = Mapping[str, Sequence[str]]


def actor_of(request: Request) -> Actor:
    """Return the caller as the operator who acts."""
    return Actor(principal_of(request).name, host_of(request.scope))


def number_of(text: str, name: str) -> int:
    """Return a number of the store. Raises BadRequestError."""
    if not text.isascii() or not text.isdecimal() or len(text) > MOST_DIGITS:
        raise BadRequestError(f"{name} is a number of at most {MOST_DIGITS} digits")
    return int(text)


def only(form: Form, name: str) -> str:
    """Return the one value of a field; '' without one. Raises BadRequestError for several."""
    values = form.get(name, [""])
    if len(values) != 1:
        raise BadRequestError(f"{name} is given {len(values)} times: give it once")
    return values[0]


def chosen_jobs(values: Sequence[str]) -> list[ChosenJob]:
    """Return the jobs of a form, `NUMBER:SEEN` each. Raises BadRequestError."""
    if not values:
        raise BadRequestError("the form names no job")
    if len(values) > MAX_JOBS:
        raise BadRequestError(f"one form changes at most {MAX_JOBS} jobs")
    chosen = []
    for value in values:
        number, _, seen = value.partition(":")
        chosen.append(ChosenJob(number_of(number, "job"), seen_job(seen)))
    return chosen


def seen_job(text: str) -> SeenJob:
    """Return the state of a job that a form carries. Raises BadRequestError."""
    try:
        return SeenJob.parse(text)
    except ValueError as error:
        raise BadRequestError(f"seen: {error}") from error


def seen_study(text: str) -> SeenStudy:
    """Return the state of a study that a form carries. Raises BadRequestError."""
    try:
        return SeenStudy.parse(text)
    except ValueError as error:
        raise BadRequestError(f"seen: {error}") from error


def study_key(store: Store, uid: str, source: str | None) -> StudyKey:
    """Return the name of a study. Raises BadRequestError, NotFoundError."""
    if not uid or len(uid) > _MOST_LENGTH:
        raise BadRequestError("study is a Study Instance UID")
    try:
        return store.studies.key(uid, source)
    except UnknownRecordError as error:
        raise NotFoundError(f"{error}") from error
    except AmbiguousStudyError as error:
        raise BadRequestError(f"source: {error}") from error
