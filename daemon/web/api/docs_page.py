"""/api/docs: the OpenAPI document as a page to read, without a script."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daemon.web.api.document import Document

_EXAMPLES: Mapping[str, Any] = {"string": "…", "integer": 1, "number": 0.5, "boolean": True}


@dataclass(frozen=True, slots=True)
class Field:
    """A key of an object: its type in words, the object that it refers to, and its meaning."""

    name: str
    type: str
    links: tuple[str, ...]
    required: bool
    text: str


@dataclass(frozen=True, slots=True)
class ObjectView:
    """An object of the interface, with its keys or the values that it may have."""

    name: str
    text: str
    fields: tuple[Field, ...]
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """A method of a path."""

    anchor: str
    method: str
    path: str
    summary: str
    role: str
    parameters: tuple[Mapping[str, Any], ...]
    body: Field | None
    answer: Field | None
    statuses: tuple[tuple[str, str], ...]
    example: str


@dataclass(frozen=True, slots=True)
class DocsPage:
    """The contents of the page: operations by group, then the objects."""

    description: tuple[str, ...]
    groups: Mapping[str, Sequence[Operation]]
    objects: tuple[ObjectView, ...]


def docs_page(document: Document) -> DocsPage:
    """Return the contents of the page for a document of `document.openapi`."""
    groups: dict[str, list[Operation]] = {tag["name"]: [] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            groups[operation["tags"][0]].append(_operation(document, path, method, operation))
    return DocsPage(
        tuple(document["info"]["description"].strip().split("\n\n")),
        groups,
        tuple(
            _object(name, schema)
            for name, schema in sorted(document["components"]["schemas"].items())
        ),
    )


def _operation(document: Document, path: str, method: str, operation: Document) -> Operation:
    content = operation["responses"]["200"].get("content", {})
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    return Operation(
        anchor=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        role=operation.get("x-role", ""),
        parameters=tuple(operation["parameters"]),
        body=_field("body", body["schema"], required=True) if body else None,
        answer=(
            _field("answer", content["application/json"]["schema"], required=True)
            if content
            else None
        ),
        statuses=tuple(
            (status, answer["description"])
            for status, answer in operation["responses"].items()
            if status != "200"
        ),
        example=_example(document, path, method, operation, body),
    )


def _example(
    document: Document, path: str, method: str, operation: Document, body: Document | None
) -> str:
    """Return a command that makes the request."""
    query = "&".join(
        f"{one['name']}=…"
        for one in operation["parameters"]
        if one["in"] == "query" and one["required"]
    )
    filled = path.replace("{number}", "1").replace("{uid}", "1.2.3")
    parts = ["curl"]
    if operation["security"]:
        parts.append('-H "Authorization: Bearer $TOKEN"')
    if method == "post":
        parts.append("-X POST")
    if body is not None:
        shown = json.dumps(_sample(document, body["schema"]), ensure_ascii=False)
        parts.append(f"-H 'Content-Type: application/json' -d '{shown}'")
    parts.append(f'"$NODE{filled}{"?" + query if query else ""}"')
    return " ".join(parts)


def _sample(document: Document, schema: Document) -> Any:
    """Return a value of a schema, with the keys that it must have."""
    if "$ref" in schema:
        found = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return _sample(document, found)
    if "properties" in schema:
        required = schema.get("required", [])
        return {
            name: _sample(document, value)
            for name, value in schema["properties"].items()
            if name in required
        }
    if schema.get("type") == "array":
        return [_sample(document, schema.get("items", {}))]
    return _EXAMPLES.get(schema.get("type", ""))


def _object(name: str, schema: Document) -> ObjectView:
    required = schema.get("required", [])
    return ObjectView(
        name,
        schema.get("description", ""),
        tuple(
            _field(key, value, required=key in required)
            for key, value in schema.get("properties", {}).items()
        ),
        tuple(map(str, schema.get("enum", ()))),
    )


def _field(name: str, schema: Document, *, required: bool) -> Field:
    links: list[str] = []
    return Field(name, _type(schema, links), tuple(links), required, schema.get("description", ""))


def _type(schema: Document, links: list[str]) -> str:
    """Return the type of a schema in words, and add the objects that it names to `links`."""
    if "$ref" in schema:
        links.append(schema["$ref"].rpartition("/")[2])
        return links[-1]
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(_type(one, links) for one in schema[several])
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    match schema.get("type"):
        case "array" if "prefixItems" in schema:
            return f"({', '.join(_type(one, links) for one in schema['prefixItems'])})"
        case "array":
            return f"list of {_type(schema.get('items', {}), links)}"
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return f"object of {_type(schema['additionalProperties'], links)}"
        case "string" if "format" in schema:
            return f"string ({schema['format']})"
        case None:
            return "any value"
        case found:
            return str(found)
