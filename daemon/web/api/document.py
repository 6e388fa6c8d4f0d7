"""The OpenAPI document (3.1), made from the table of routes."""

import re
from collections.abc import Sequence
from typing import Any

from daemon.version import own_version
from daemon.web.access.roles import Role
from daemon.web.access.sessions import COOKIE
from daemon.web.api.schemas import schemas_of
from daemon.web.entry import Entry, Parameter, Place

Document = dict[str, Any]

HEALTH = ("/healthz", "/readyz", "/metrics")
_VARIABLE = re.compile(r"\{(\w+)(?::\w+)?\}")
_ERRORS = {
    400: "A value of the request cannot be used.",
    401: "A token is needed, or it is not known.",
    403: "The role of the caller does not allow this.",
    404: "There is no such object.",
    409: "The object has changed since it was seen, or its state does not allow this.",
    413: "The body is longer than 64 KiB.",
    503: "The store is unavailable; the same request can succeed later.",
}
DESCRIPTION = """\
The interface of a cxrd node for programs. RESEARCH USE ONLY: no result is a diagnosis.

Each request carries a token in its header, Authorization: Bearer TOKEN. The token has a role, and
each operation names the least role that it needs: metrics < status < viewer < operator < admin.
An error is a JSON object with the key "error". All times are in UTC, durations in seconds.
New keys and new paths may be added; paths, parameters and keys that are here stay within this
version of the document.
"""


def described(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries that the document describes: those for programs, and files."""
    return [entry for entry in entries if is_for_programs(entry)]


def is_for_programs(entry: Entry) -> bool:
    """Return True for a path below /api, and for the file of a study, a film or a list."""
    is_file = "." in entry.path.rpartition("/")[2] and not entry.path.startswith("/static/")
    return entry.path.startswith("/api/") or entry.path in HEALTH or is_file


def openapi(entries: Sequence[Entry]) -> Document:
    """Return the document of the entries for programs."""
    chosen = described(entries)
    by_class, shared = schemas_of(
        [entry.view for entry in chosen if entry.view is not None],
        [entry.body for entry in chosen if entry.body is not None],
    )
    paths: dict[str, Any] = {}
    for entry in chosen:
        operation = _operation(entry)
        if entry.view is not None:
            schema = by_class[entry.view, "serialization"]
            operation["responses"]["200"]["content"] = {"application/json": {"schema": schema}}
        if entry.body is not None:
            schema = by_class[entry.body, "validation"]
            is_required = bool(_resolved(schema, shared).get("required"))
            operation["requestBody"] = {
                "required": is_required,
                "content": {"application/json": {"schema": schema}},
            }
        paths.setdefault(path_of(entry), {})[entry.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "cxrd", "version": own_version(), "description": DESCRIPTION},
        "servers": [{"url": "..", "description": "this node"}],
        "paths": paths,
        "components": {
            "schemas": {
                **shared,
                "Error": {
                    "type": "object",
                    "properties": {"error": {"type": "string"}},
                    "required": ["error"],
                },
            },
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": COOKIE,
                    "description": "The session of a browser; a change also needs X-CSRF-Token.",
                },
            },
        },
        "tags": [{"name": name} for name in dict.fromkeys(group_of(entry) for entry in chosen)],
    }


def path_of(entry: Entry) -> str:
    """Return the path with its variables as OpenAPI writes them."""
    return _VARIABLE.sub(r"{\1}", entry.path)


def group_of(entry: Entry) -> str:
    """Return the group of an entry: the first word of its path."""
    if entry.path in HEALTH:
        return "health"
    group = entry.path.removeprefix("/api").split("/")[1].partition(".")[0]
    return "description" if group in ("docs", "openapi") else group


def _operation(entry: Entry) -> Document:
    name = _VARIABLE.sub(r"\1", entry.path).strip("/")
    operation: Document = {
        "operationId": re.sub(r"\W+", "_", f"{entry.method.lower()}_{name}"),
        "tags": [group_of(entry)],
        "summary": entry.summary,
        "parameters": [_parameter(one) for one in _parameters(entry)],
        "responses": {
            "200": {"description": "Done." if entry.method == "POST" else entry.summary},
            **{str(status): _error(entry, status) for status in _statuses(entry)},
        },
    }
    if entry.role is None:
        operation["security"] = []
    else:
        operation["security"] = [{"token": []}, {"session": []}]
        operation["description"] = f"Least role: {entry.role}."
        operation["x-role"] = str(entry.role)
    return operation


def _parameters(entry: Entry) -> list[Parameter]:
    """Return the parameters, also of variables of the path that the entry does not describe."""
    named = {one.name for one in entry.parameters}
    missing = [name for name in _VARIABLE.findall(entry.path) if name not in named]
    return [*entry.parameters, *(Parameter(name, Place.PATH, "string", "") for name in missing)]


def _parameter(parameter: Parameter) -> Document:
    return {
        "name": parameter.name,
        "in": str(parameter.place),
        "description": parameter.summary,
        "required": parameter.required or parameter.place is Place.PATH,
        "schema": {"type": parameter.kind},
    }


def _statuses(entry: Entry) -> list[int]:
    statuses = [503]
    if entry.role is not None:
        statuses.append(401)
        if entry.role > Role.METRICS:
            statuses.append(403)
    if entry.parameters or entry.body is not None:
        statuses.append(400)
    if _VARIABLE.search(entry.path):
        statuses.append(404)
    if entry.method == "POST":
        statuses += [409, 413]
    return sorted(statuses)


def _error(entry: Entry, status: int) -> Document:
    answer: Document = {"description": _ERRORS[status]}
    if entry.path.startswith("/api/"):
        schema = {"$ref": "#/components/schemas/Error"}
        answer["content"] = {"application/json": {"schema": schema}}
    return answer


def _resolved(schema: Document, shared: Document) -> Document:
    """Return a schema, or the shared one that it refers to."""
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    found: Document = shared.get(name, schema)
    return found
