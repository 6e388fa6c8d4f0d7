"""Pages that retry and discard jobs: the confirmation, and the form that acts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from daemon.actions.jobs import JobsOutcome, discard_jobs, retry_jobs
from daemon.web.access.identity import principal_of
from daemon.web.access.roles import Role
from daemon.web.actions.leave import leave
from daemon.web.actions.messages import Message
from daemon.web.actions.own_page import own_page
from daemon.web.actions.requested import (
    MAX_JOBS,
    actor_of,
    chosen_jobs,
    number_of,
    only,
)
from daemon.web.actions.views import jobs_to_change
from daemon.web.entry import Entry, Parameter, Place
from daemon.web.problems import BadRequestError, NotFoundError
from daemon.web.request_body import form_of
from daemon.web.site import Site
from storage.queue.listing import JobFilter
from storage.records import JobKind, JobState

_PARAMETERS = (
    Parameter("job", Place.QUERY, "integer", "The number of a job; may be repeated."),
    Parameter("state", Place.QUERY, "string", "Instead of numbers: the state of the jobs."),
    Parameter("kind", Place.QUERY, "string", "Their kind."),
    Parameter("lane", Place.QUERY, "string", "Their destination or peer."),
    Parameter("error", Place.QUERY, "string", "A part of their last error."),
    Parameter("back", Place.QUERY, "string", "The page of this site to go back to."),
)


@dataclass(frozen=True, slots=True)
class _Words:
    """The words of an act on jobs."""

    path: str
    verb: str
    done: str
    effect: str


_RETRY = _Words(
    "retry",
    "Retry",
    "queued again",
    "They are queued again, due now, with no attempts counted. A delivery may reach its destination"
    " a second time if the attempt before got through unnoticed.",
)
_DISCARD = _Words(
    "discard",
    "Discard",
    "discarded",
    "They are given up for good, and their rows stay as a record: what they would have analysed,"
    " reported or sent is not.",
)


def job_entries(site: Site) -> Sequence[Entry]:
    """Return the entries of the pages that act on jobs."""
    entries = []
    for words in (_RETRY, _DISCARD):
        path = f"/actions/{words.path}"
        entries += [
            Entry(
                path,
                partial(_ask, site, words),
                Role.OPERATOR,
                summary=f"Asks to confirm: {words.path} jobs.",
                parameters=_PARAMETERS,
            ),
            Entry(
                path,
                partial(_act, site, words),
                Role.OPERATOR,
                method="POST",
                summary=f"Acts: {words.path} jobs, as the form names them.",
            ),
        ]
    return entries


def _ask(site: Site, words: _Words, request: Request) -> Response:
    """Show the jobs that would be changed."""
    wanted = [number_of(text, "job") for text in request.query_params.getlist("job")]
    total = len(wanted)
    if not wanted:
        listed = _filter(request)
        wanted = list(site.store.job_list.numbers(listed, MAX_JOBS))
        total = site.store.job_list.page(listed, limit=1).total
    jobs = jobs_to_change(site.store, wanted[:MAX_JOBS])
    if not jobs:
        raise NotFoundError("There are no such jobs: they may have been done meanwhile.")
    return site.render(
        request,
        "actions/jobs.html",
        words=words,
        jobs=jobs,
        left=total - len(jobs) if not request.query_params.getlist("job") else 0,
        back=own_page(request.query_params.get("back", "")),
    )


def _filter(request: Request) -> JobFilter:
    query = request.query_params
    state, kind = query.get("state", ""), query.get("kind", "")
    if state not in list(JobState):
        raise BadRequestError(f"name jobs, or a state: {', '.join(JobState)}")
    if kind and kind not in list(JobKind):
        raise BadRequestError(f"kind is one of {', '.join(JobKind)}")
    return JobFilter(
        JobState(state),
        JobKind(kind) if kind else None,
        query.get("lane") or None,
        query.get("error", ""),
    )


def _act(site: Site, words: _Words, request: Request) -> Response:
    """Change the jobs of the form, and go back with the result."""
    form = form_of(request)
    chosen = chosen_jobs(form.get("job", []))
    act = retry_jobs if words is _RETRY else discard_jobs
    outcome = act(site.config, site.store, chosen, actor_of(request))
    site.messages.leave(principal_of(request), _message(outcome, words))
    return leave(request, only(form, "back"), is_long=len(outcome.refused) > 1)


def _message(outcome: JobsOutcome, words: _Words) -> Message:
    count = len(outcome.done)
    done = f"{count} job{'' if count == 1 else 's'} {words.done}."
    if count == 1:
        done = f"Job {outcome.done[0]} is {words.done}."
    refused = [f"Job {one.job} stays as it is: {one.reason}" for one in outcome.refused]
    if not outcome.done:
        done = f"No job is {words.done}."
    return Message(done, refused)
