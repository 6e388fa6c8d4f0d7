"""The body of a request: read once, within a limit, before its endpoint runs."""

from urllib.parse import parse_qs

from starlette.requests import Request

MAX_BODY_BYTES = 64 * 1024
MAX_FIELDS = 2000
_BODY = "cxrd.body"


class BodyTooLongError(Exception):
    """The body exceeds the limit."""


async def read_body(request: Request, limit: int = MAX_BODY_BYTES) -> bytes:
    """Read the body and keep it for `form_of` and `raw_body`. Raises BodyTooLongError."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise BodyTooLongError
    request.scope[_BODY] = body
    return body


def raw_body(request: Request) -> bytes:
    """Return the body that `read_body` kept."""
    body: bytes = request.scope[_BODY]
    return body


def form_of(request: Request) -> dict[str, list[str]]:
    """Return the fields of a form, with all values of each; empty if it is malformed."""
    text = raw_body(request).decode("utf-8", "replace")
    try:
        return parse_qs(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        return {}


def wants_json(request: Request) -> bool:
    """Return True for a program: a path of the API, or a caller that accepts JSON and no HTML."""
    accepted = request.headers.get("accept", "")
    is_json = "application/json" in accepted and "text/html" not in accepted
    return request.url.path.startswith("/api/") or is_json
