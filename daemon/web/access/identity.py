"""The caller of a request, as the guard found it, and what the server says of its connection."""

from dataclasses import dataclass

from starlette.requests import HTTPConnection
from starlette.types import Scope

from daemon.web.access.roles import Role

PRINCIPAL = "cxrd.principal"
"""Key of the scope; its value is the Principal, or None without a login."""

CERTIFICATE = "cxrd.certificate"
"""Key of the scope; its value is the SHA-256 of the certificate that the caller showed, if any."""
PREFIX = "cxrd.prefix"
"""Key of the scope; its value is the path below which a trusted proxy serves this node."""
PATIENCE = "cxrd.patience"
"""Key of the scope; its value is the Patience of the connection."""


@dataclass(slots=True)
class Patience:
    """While `is_long`, the application itself limits the time of a request's body."""

    is_long: bool = False


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller with a login.

    `csrf` is the secret that a form of this caller must contain. It is empty for a program, which
    sends its token with each request: no other site can make a browser send that. `by_proxy` is
    True if the caller logged in at a proxy, so that there is no session here to end.
    """

    name: str
    role: Role
    csrf: str = ""
    by_proxy: bool = False


def principal_of(request: HTTPConnection) -> Principal:
    """Return the caller. Raises LookupError for a request without a login."""
    principal: Principal | None = request.scope[PRINCIPAL]
    if principal is None:
        raise LookupError("the request has no login")
    return principal


def is_known(request: HTTPConnection) -> bool:
    """Return True if the caller has a login."""
    return request.scope[PRINCIPAL] is not None


def host_of(scope: Scope) -> str:
    """Return the client's address of a request."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"
