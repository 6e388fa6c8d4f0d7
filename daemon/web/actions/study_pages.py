"""Pages that act on a study: release, analyse again, send again."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from daemon.actions.studies import analyse_again, release_study, send_again
from daemon.errors import UsageError
from daemon.web.access.identity import principal_of
from daemon.web.access.roles import Role
from daemon.web.actions.leave import leave
from daemon.web.actions.messages import Message
from daemon.web.actions.own_page import own_page
from daemon.web.actions.requested import (
    Form,
    actor_of,
    number_of,
    only,
    seen_study,
    study_key,
)
from daemon.web.actions.views import study_acts
from daemon.web.entry import Entry, Parameter, Place
from daemon.web.problems import BadRequestError
from daemon.web.request_body import form_of
from daemon.web.site import Site
from storage.errors import ChangedMeanwhileError, StudyHeldError, UnknownRecordError
from storage.images.by_hand.repetition import Repetition
from storage.images.by_hand.seen import SeenStudy
from storage.records import StudyKey

_STUDY = (
    Parameter("study", Place.QUERY, "string", "The Study Instance UID.", required=True),
    Parameter("source", Place.QUERY, "string", "Its source, if several hold the study."),
    Parameter("back", Place.QUERY, "string", "The page of this site to go back to."),
)
_FILM = Parameter("film", Place.QUERY, "integer", "Only this film; may be repeated.")
_TO = Parameter("to", Place.QUERY, "string", "The destination.", required=True)

Act = Callable[[Site, Request, StudyKey, Form, SeenStudy], Message]


def study_entries(site: Site) -> Sequence[Entry]:
    """Return the entries of the pages that act on a study."""
    acts: Mapping[str, tuple[Act, tuple[Parameter, ...]]] = {
        "release": (_release, ()),
        "analyse-again": (_analyse, (_FILM,)),
        "send-again": (_send, (_TO,)),
    }
    entries = []
    for name, (act, further) in acts.items():
        path = f"/actions/{name}"
        entries += [
            Entry(
                path,
                partial(_ask, site, name),
                Role.OPERATOR,
                summary=f"Asks to confirm: {name.replace('-', ' ')}.",
                parameters=(*_STUDY, *further),
            ),
            Entry(
                path,
                partial(_act, site, act),
                Role.OPERATOR,
                method="POST",
                summary=f"Acts: {name.replace('-', ' ')}, as the form names the study.",
            ),
        ]
    return entries


def _ask(site: Site, name: str, request: Request) -> Response:
    """Show what would be done, or why it cannot be."""
    query = request.query_params
    key = study_key(site.store, query.get("study", ""), query.get("source"))
    acts = study_acts(site.config, site.store, key)
    films = [number_of(text, "film") for text in query.getlist("film")]
    to = query.get("to", "")
    if name == "send-again" and to not in acts.destinations:
        names = ", ".join(acts.destinations) or "none"
        raise BadRequestError(f"the destinations of this study are: {names}")
    return site.render(
        request,
        f"actions/{name}.html",
        acts=acts,
        films=[film for film in acts.films if not films or film.number in films],
        one_film=bool(films),
        to=to,
        back=own_page(query.get("back", "")) or _page_of_study(key),
    )


def _act(site: Site, act: Act, request: Request) -> Response:
    """Act as the form says, and go back with the result."""
    form = form_of(request)
    key = study_key(site.store, only(form, "study"), only(form, "source"))
    seen = seen_study(only(form, "seen"))
    back = own_page(only(form, "back")) or _page_of_study(key)
    try:
        message = act(site, request, key, form, seen)
    except (ChangedMeanwhileError, StudyHeldError, UnknownRecordError, UsageError) as error:
        message = Message("Not done.", [str(error)])
    site.messages.leave(principal_of(request), message)
    return leave(request, back)


def _page_of_study(key: StudyKey) -> str:
    return f"studies/{quote(key.study_instance_uid)}?{urlencode({'source': key.source})}"


def _release(site: Site, request: Request, key: StudyKey, form: Form, seen: SeenStudy) -> Message:
    set_aside = form.get("set_aside", [])
    release_study(site.config, site.store, key, set_aside, actor_of(request), seen)
    return Message(
        f"The study is released, {len(set_aside)} film(s) set aside; its report is made again."
    )


def _analyse(site: Site, request: Request, key: StudyKey, form: Form, seen: SeenStudy) -> Message:
    films = [number_of(text, "film") for text in form.get("film", [])]
    done = analyse_again(site.config, site.store, key, actor_of(request), films or None, seen)
    return _message(done, "film", "analysed again")


def _send(site: Site, request: Request, key: StudyKey, form: Form, seen: SeenStudy) -> Message:
    to = only(form, "to")
    done = send_again(site.config, site.store, key, to, actor_of(request), seen)
    return _message(done, "object", f"sent to {to} again")


def _message(done: Repetition, what: str, act: str) -> Message:
    count = len(done.queued)
    words = f"{count or 'No'} {what}{'s are' if count > 1 else ' is'} {act}."
    refused = [f"{what.capitalize()} {uid}: {reason}" for uid, reason in done.refused.items()]
    return Message(words, refused)
