"""Answers of FHIR servers: to a transaction, to a request that failed, to a question for abilities.

A server can answer with anything. Texts from it are cut and cleaned before a person reads them.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from daemon.errors import FhirError
from daemon.fhir.datatypes import Json

_LONGEST_TEXT = 300
_MOST_ISSUES = 3
_WORST = ("fatal", "error")
_MASK = "…"
_SHORTEST_MASKED = 3
_LOCATION = re.compile(
    r"(?:^|/)(?P<kind>[A-Z][A-Za-z]+)/(?P<id>[A-Za-z0-9\-.]{1,64})(?:/_history/[^/]+)?$"
)
_DIGITS = re.compile(r"\d{3}")


class RefusedEntryError(FhirError):
    """The server answered a transaction with success, but refused a part of it.

    `status` is the HTTP status of that part.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Accepted:
    """A transaction that the server holds.

    `report` names the DiagnosticReport at the server. `created` and `known` count the resources
    that it made and those that it had.
    """

    report: str
    created: int
    known: int

    def __str__(self) -> str:
        return f"{self.report}, {self.created} created, {self.known} known"


@dataclass(frozen=True, slots=True)
class Capability:
    """The abilities of a server: its FHIR version, its name, and that it takes transactions."""

    version: str
    software: str
    takes_transactions: bool


def read_accepted(body: bytes, sent: Json, private: Iterable[str] = ()) -> Accepted:
    """Return what the server says of each entry of a transaction (FHIR, http.html#trules).

    `private` is as for `said`. Raises FhirError if the answer does not say that each was kept, and
    RefusedEntryError if it says that one was not.
    """
    answer = _resource(body)
    kinds = [one["resource"]["resourceType"] for one in sent["entry"]]
    if (answer.get("resourceType"), answer.get("type")) != ("Bundle", "transaction-response"):
        raise FhirError("the answer is not a transaction-response of FHIR")
    entries = answer.get("entry")
    if not isinstance(entries, list) or len(entries) != len(kinds):
        count = len(entries) if isinstance(entries, list) else 0
        raise FhirError(f"the answer names {count} of {len(kinds)} resources")
    statuses: Counter[int] = Counter()
    report = ""
    for kind, entry in zip(kinds, entries, strict=True):
        response = entry.get("response") if isinstance(entry, dict) else None
        if not isinstance(response, dict):
            raise FhirError("the answer says nothing of a resource")
        statuses[_kept(kind, response, private)] += 1
        named = _located(kind, response)
        report = named if kind == "DiagnosticReport" else report
    created = statuses[201]
    return Accepted(report or "DiagnosticReport", created, len(kinds) - created)


def said(body: bytes, private: Iterable[str] = ()) -> str:
    """Return the first errors of an OperationOutcome as one line; empty for any other body.

    `private` are values of the request that the line must not repeat.
    """
    try:
        outcome = _resource(body)
    except FhirError:
        return ""
    return _errors(outcome, private)


def read_capability(body: bytes) -> Capability:
    """Return the abilities in a CapabilityStatement. Raises FhirError for any other body."""
    statement = _resource(body)
    if statement.get("resourceType") != "CapabilityStatement":
        raise FhirError("the answer is no CapabilityStatement of FHIR")
    version = statement.get("fhirVersion")
    software = statement.get("software")
    named = software.get("name") if isinstance(software, dict) else None
    rest = statement.get("rest")
    modes = [one for one in rest if isinstance(one, dict)] if isinstance(rest, list) else []
    interactions = [
        one.get("code")
        for mode in modes
        if isinstance(mode.get("interaction"), list)
        for one in mode["interaction"]
        if isinstance(one, dict)
    ]
    return Capability(
        _clean(version) if isinstance(version, str) else "",
        _clean(named) if isinstance(named, str) else "",
        "transaction" in interactions,
    )


def _resource(body: bytes) -> Json:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise FhirError("the answer is no JSON of FHIR") from None
    if not isinstance(found, dict):
        raise FhirError("the answer is no JSON of FHIR")
    return found


def _kept(kind: str, response: Json, private: Iterable[str]) -> int:
    """Return the HTTP status of an entry. Raises FhirError if the resource is not kept."""
    match = _DIGITS.match(str(response.get("status", "")))
    status = int(match[0]) if match else 0
    if status in (200, 201):
        return status
    if status == 0:
        raise FhirError(f"the answer gives no status for {kind}")
    outcome = response.get("outcome")
    errors = _errors(outcome, private) if isinstance(outcome, dict) else ""
    raise RefusedEntryError(
        f"it did not keep a {kind} (HTTP {status}): {errors or 'no reason'}", status
    )


def _located(kind: str, response: Json) -> str:
    """Return type and id of the resource at the server; empty if the answer has no location."""
    location = response.get("location")
    if location is None:
        return ""
    match = _LOCATION.search(location) if isinstance(location, str) else None
    if match is None or match["kind"] != kind:
        raise FhirError(f"the answer names another resource than the {kind} that was sent")
    return f"{kind}/{match['id']}"


def _errors(outcome: Json, private: Iterable[str]) -> str:
    issues = outcome.get("issue")
    if outcome.get("resourceType") != "OperationOutcome" or not isinstance(issues, list):
        return ""
    worst = [one for one in issues if isinstance(one, dict) and one.get("severity") in _WORST]
    texts = []
    for issue in worst[:_MOST_ISSUES]:
        details = issue.get("details")
        spoken = details.get("text") if isinstance(details, dict) else None
        found = issue.get("diagnostics") or spoken or issue.get("code")
        if isinstance(found, str):
            texts.append(_clean(_masked(found, private)))
    return "; ".join(texts)


def _masked(text: str, private: Iterable[str]) -> str:
    for value in sorted({one for one in private if one}, key=len, reverse=True):
        if len(value) >= _SHORTEST_MASKED:
            text = re.sub(re.escape(value), _MASK, text, flags=re.IGNORECASE)
        else:
            text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", _MASK, text, flags=re.IGNORECASE)
    return text


def _clean(text: str) -> str:
    printable = "".join(c if c.isprintable() else " " for c in text[: 10 * _LONGEST_TEXT])
    line = " ".join(printable.split())
    return line if len(line) <= _LONGEST_TEXT else f"{line[:_LONGEST_TEXT]}…"
