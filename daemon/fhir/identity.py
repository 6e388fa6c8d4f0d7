"""Identity of the resources of a report: the same report makes the same identifiers."""

import uuid
from dataclasses import dataclass, field
from urllib.parse import quote

from daemon.fhir.datatypes import URI_SYSTEM, Json, identifier
from dicom_io.objects.codes import PRIVATE_SCHEME_UID

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, PRIVATE_SCHEME_UID)


@dataclass(frozen=True, slots=True)
class Identity:
    """The source of the identifiers: UUIDs of version 5 over destination, report and part."""

    destination: str
    report_uid: str

    def urn(self, part: str) -> str:
        """Return the identifier of a part of the report, as `urn:uuid:`."""
        return uuid.uuid5(_NAMESPACE, f"{self.destination}\n{self.report_uid}\n{part}").urn


@dataclass(frozen=True, slots=True)
class Entry:
    """A resource of a transaction, to be created unless the server has it.

    `search` finds the resource by the identifier that no other resource has.
    """

    full_url: str
    resource: Json = field(repr=False)
    search: str = field(repr=False)

    @property
    def reference(self) -> Json:
        """Return a reference from another resource of the same transaction."""
        return {"reference": self.full_url, "type": self.resource["resourceType"]}

    def as_json(self) -> Json:
        """Return the entry with its request: a conditional create (FHIR, RESTful API)."""
        kind = self.resource["resourceType"]
        request = {"method": "POST", "url": kind, "ifNoneExist": self.search}
        return {"fullUrl": self.full_url, "resource": self.resource, "request": request}


def entry(urn: str, resource: Json) -> Entry:
    """Return the entry of a resource; its URN becomes its first identifier."""
    named = [identifier(URI_SYSTEM, urn), *resource.get("identifier", ())]
    head = {"resourceType": resource["resourceType"], "identifier": named}
    return Entry(urn, {**head, **resource, "identifier": named}, by_identifier(URI_SYSTEM, urn))


def by_identifier(system: str, value: str) -> str:
    """Return the search for an identifier, as part of a URL (FHIR, Search, token)."""
    return f"identifier={_token(system)}|{_token(value)}"


def _token(text: str) -> str:
    for special in "\\,|$":
        text = text.replace(special, f"\\{special}")
    return quote(text, safe=":/.")
