"""Errors that a caller sees, with their HTTP status.

WebError
├── BadRequestError  400  a value of the request cannot be used
├── ForbiddenError   403  the caller's role does not allow it
├── NotFoundError    404  the object does not exist
├── ConflictError    409  the object changed meanwhile
└── BusyError        503  a limit is reached; the same request can succeed later
"""


class WebError(Exception):
    """Base of the errors of the pages. The text is one sentence for the caller."""

    status = 500


class BadRequestError(WebError):
    """A value of the request cannot be used. The text names the value and what is allowed."""

    status = 400


class ForbiddenError(WebError):
    """The caller's role does not allow the request."""

    status = 403


class NotFoundError(WebError):
    """The object that the URL names does not exist."""

    status = 404


class ConflictError(WebError):
    """The object changed after the caller saw it."""

    status = 409


class BusyError(WebError):
    """A limit of this node is reached; the same request can succeed later."""

    status = 503
