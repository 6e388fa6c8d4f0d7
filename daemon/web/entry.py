"""The table of routes: each URL with its method, and the least role that may use it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from daemon.web.access.roles import Role

Endpoint = Callable[[Request], Response] | Callable[[Request], Awaitable[Response]]


class Place(StrEnum):
    """The place of a parameter in a request."""

    PATH = "path"
    QUERY = "query"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value in the path or in the query of a URL, for the description of the interface.

    `kind` is its JSON type: string, integer, number or boolean.
    """

    name: str
    place: Place
    kind: str
    summary: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One URL and method. Only an entry can be reached.

    Attributes:
        path: the path, with `{name}` for a variable part, as Starlette writes it.
        endpoint: answers the request; a plain function runs in a thread, because it may wait.
        role: the least role that may use it; None: anybody, without a login.
        method: GET also answers HEAD.
        summary: one line for the description of the interface.
        parameters: the values that the URL may contain.
        view: the class of the JSON answer, if the answer is JSON.
        body: the class of the JSON body of the request, if it has one.
    """

    path: str
    endpoint: Endpoint
    role: Role | None
    method: str = "GET"
    summary: str = ""
    parameters: Sequence[Parameter] = ()
    view: Any = None
    body: Any = None


class EntryTable:
    """Finds the entry of a request."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = tuple(entries)
        self.routes = [
            Route(entry.path, entry.endpoint, methods=[entry.method]) for entry in self.entries
        ]

    def find(self, scope: Scope) -> Entry | None:
        """Return the entry of the path and method of a request, or None."""
        for entry, route in zip(self.entries, self.routes, strict=True):
            match, _ = route.matches(scope)
            if match is Match.FULL:
                return entry
        return None

    def methods(self, scope: Scope) -> list[str]:
        """Return the methods that the path of a request answers, for its header Allow."""
        found = {
            method
            for route in self.routes
            if route.matches(scope)[0] is not Match.NONE
            for method in route.methods or ()
        }
        return sorted(found)
