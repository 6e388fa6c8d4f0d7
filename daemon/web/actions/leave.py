"""The way back after an act, and the page of a long result."""

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from daemon.web.access.roles import Role
from daemon.web.actions.own_page import own_page
from daemon.web.entry import Entry, Parameter, Place
from daemon.web.site import Site, root_of

_RESULT = "actions/result"


def leave(request: Request, back: str, *, is_long: bool = False) -> Response:
    """Return the redirection to the page that the act was begun on.

    A long result has a page of its own, which leads back there.
    """
    root = root_of(request.url.path)
    if not is_long:
        return RedirectResponse(root + own_page(back), 303)
    return RedirectResponse(f"{root}{_RESULT}?{urlencode({'back': own_page(back)})}", 303)


def result_entry(site: Site) -> Entry:
    """Return the entry of the page of a long result."""

    def page(request: Request) -> Response:
        back = own_page(request.query_params.get("back", ""))
        return site.render(request, "actions/result.html", back=back)

    return Entry(
        f"/{_RESULT}",
        page,
        Role.OPERATOR,
        summary="Shows the result of an act on many jobs, once.",
        parameters=(Parameter("back", Place.QUERY, "string", "The page to go back to."),),
    )
