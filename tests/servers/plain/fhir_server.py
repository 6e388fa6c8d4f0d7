"""A FHIR server in memory that validates every resource by fhir.resources.

It takes transactions whole or not at all, honours conditional creates and conditional references,
and answers a search for an identifier. A test can have it fail, lie or wait.
"""

import contextlib
import copy
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from fhir.resources.bundle import Bundle
from fhir.resources.R4B.bundle import Bundle as R4BBundle
from pydantic import ValidationError

from tests.tools.ports import HOST

Resource = dict[str, Any]
MODELS: dict[str, Any] = {"5.0.0": Bundle, "4.3.0": R4BBundle, "4.0.1": R4BBundle}
TOKEN = "secret-token"  # noqa: S105


class RefusedError(Exception):
    """A request that the server refuses, with its HTTP status."""

    def __init__(self, status: int, diagnostics: str) -> None:
        super().__init__(diagnostics)
        self.status = status


@dataclass
class Answer:
    """An answer: status, JSON, headers."""

    status: int
    content: Any
    headers: dict[str, str] = field(default_factory=dict)


class FhirServer:
    """The resources of a server by type and id, and the answers that a test puts before its own.

    `before` are answers given, one for each transaction, instead of doing anything. `arrived` is
    called with each transaction. `twist` changes the answer to one that was done, and `committed`
    is called before that answer leaves.
    """

    def __init__(self, version: str = "5.0.0") -> None:
        self.version = version
        self.url = ""
        self.resources: dict[str, dict[str, Resource]] = {}
        self.transactions = 0
        self.before: list[Answer] = []
        self.twist: Callable[[Resource], Any] = lambda answer: answer
        self.arrived: Callable[[Resource], object] = lambda bundle: None
        self.committed: Callable[[Resource], object] = lambda bundle: None
        self._lock = threading.Lock()

    def add(self, resource: Resource) -> str:
        """Keep a resource; return type and id."""
        kind = resource["resourceType"]
        kept = self.resources.setdefault(kind, {})
        number = f"{kind.lower()}-{len(kept) + 1}"
        kept[number] = {**resource, "id": number}
        return f"{kind}/{number}"

    def add_patient(self, system: str, value: str) -> str:
        return self.add(
            {"resourceType": "Patient", "identifier": [{"system": system, "value": value}]}
        )

    def of(self, kind: str) -> list[Resource]:
        return list(self.resources.get(kind, {}).values())

    def counts(self) -> dict[str, int]:
        return {kind: len(kept) for kind, kept in self.resources.items()}

    def capability(self) -> Resource:
        return {
            "resourceType": "CapabilityStatement",
            "status": "active",
            "date": "2024-01-01",
            "kind": "instance",
            "software": {"name": "test server"},
            "fhirVersion": self.version,
            "format": ["json"],
            "rest": [{"mode": "server", "interaction": [{"code": "transaction"}]}],
        }

    def transaction(self, bundle: Resource) -> Answer:
        """Do a transaction, or nothing."""
        self.arrived(bundle)
        with self._lock:
            self.transactions += 1
            if self.before:
                return self.before.pop(0)
            kept = copy.deepcopy(self.resources)
            try:
                answer = self._transact(bundle)
            except RefusedError:
                self.resources = kept
                raise
        self.committed(bundle)
        return Answer(200, self.twist(answer))

    def search(self, kind: str, query: str) -> list[str]:
        """Return the ids of the resources of a type with the identifier that a query names."""
        [(name, token)] = parse_qsl(query)
        if name != "identifier":
            raise RefusedError(400, f"unknown search parameter {name}")
        system, _, value = _split(token)
        return [
            number
            for number, resource in self.resources.get(kind, {}).items()
            if any(
                (one.get("system", ""), one.get("value")) == (system, value)
                for one in resource.get("identifier", ())
            )
        ]

    def _transact(self, bundle: Resource) -> Resource:
        try:
            MODELS[self.version].model_validate(bundle)
        except ValidationError as error:
            raise RefusedError(422, f"invalid: {error}") from error
        if bundle["type"] != "transaction":
            raise RefusedError(400, "only transactions are taken")
        places: dict[str, str] = {}
        responses = []
        for entry in bundle["entry"]:
            kind = entry["resource"]["resourceType"]
            request = entry["request"]
            if (request["method"], request["url"]) != ("POST", kind):
                raise RefusedError(400, "only creates are taken")
            found = self.search(kind, request["ifNoneExist"])
            if len(found) > 1:
                raise RefusedError(412, f"{len(found)} resources match")
            place = f"{kind}/{found[0]}" if found else self.add(entry["resource"])
            places[entry["fullUrl"]] = place
            status = "200 OK" if found else "201 Created"
            responses.append({"response": {"status": status, "location": f"{place}/_history/1"}})
        for kind, kept in self.resources.items():
            for number, resource in kept.items():
                self.resources[kind][number] = self._resolved(resource, places)
        return {"resourceType": "Bundle", "type": "transaction-response", "entry": responses}

    def _resolved(self, part: Any, places: dict[str, str]) -> Any:
        if isinstance(part, list):
            return [self._resolved(one, places) for one in part]
        if not isinstance(part, dict):
            return part
        made = {name: self._resolved(one, places) for name, one in part.items()}
        reference = made.get("reference")
        if isinstance(reference, str) and reference.startswith("urn:"):
            if reference not in places:
                raise RefusedError(400, f"nothing has the full URL {reference}")
            made["reference"] = places[reference]
        elif isinstance(reference, str) and "?" in reference:
            kind, _, query = reference.partition("?")
            found = self.search(kind, query)
            if len(found) != 1:
                raise RefusedError(
                    412 if found else 400, f'{len(found)} resources match the URL "{reference}"'
                )
            made["reference"] = f"{kind}/{found[0]}"
        return made


def outcome(text: str) -> Resource:
    """Return an OperationOutcome with one error."""
    issue = {"severity": "error", "code": "processing", "diagnostics": text}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def _split(token: str) -> tuple[str, str, str]:
    """Return system, separator and value of a token; a backslash escapes the next character."""
    parts, escaped = [""], False
    for character in token:
        if escaped or character not in "\\|":
            parts[-1] += character
            escaped = False
        elif character == "\\":
            escaped = True
        else:
            parts.append("")
    system, value = parts
    return system, "|", value


@contextlib.contextmanager
def fhir_server(version: str = "5.0.0") -> Iterator[FhirServer]:
    """Run a server for the block; it demands TOKEN."""
    server = FhirServer(version)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_GET(self) -> None:
            path = urlsplit(self.path)
            if path.path == "/fhir/metadata":
                self._send(Answer(200, server.capability()))
            else:
                self._send(Answer(404, outcome(f"nothing at {path.path}")))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self._send(Answer(401, outcome("no token")))
            elif self.path.rstrip("/") != "/fhir":
                self._send(Answer(404, outcome(f"nothing at {self.path}")))
            elif not self.headers["Content-Type"].startswith("application/fhir+json"):
                self._send(Answer(415, outcome("not application/fhir+json")))
            else:
                try:
                    self._send(server.transaction(json.loads(body)))
                except RefusedError as error:
                    self._send(Answer(error.status, outcome(str(error))))

        def _send(self, answer: Answer) -> None:
            content = answer.content
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            with contextlib.suppress(OSError):
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/fhir+json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the output of the tests free of access lines."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

    with Quiet((HOST, 0), Handler) as httpd:
        server.url = f"http://{HOST}:{httpd.server_address[1]}/fhir"
        running = threading.Thread(target=httpd.serve_forever, args=(0.05,), daemon=True)
        running.start()
        try:
            yield server
        finally:
            httpd.shutdown()
            running.join()
