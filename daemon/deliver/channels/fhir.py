"""A FHIR server as destination: a report as one transaction (FHIR, http.html#transaction)."""

import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Self

from daemon.config.destinations import endpoint_of
from daemon.config.partners.destination import DestinationConfig
from daemon.config.partners.fhir_version import FhirVersion
from daemon.config.settings import Config
from daemon.deliver.channels.channel import Probe, Sent
from daemon.errors import ChannelError, FhirError
from daemon.fhir.answers import RefusedEntryError, read_accepted, read_capability, said
from daemon.fhir.bundle import transaction
from daemon.fhir.context import private_values
from daemon.fhir.datatypes import Json
from daemon.fhir.target import FhirTarget
from dicom_io.errors import HttpError, ObjectError
from dicom_io.http.client import HttpClient, Reply
from dicom_io.report.reading.reader import read_report
from dicom_io.send.store_status import Disposition

LONGEST_ANSWER, LONGEST_ENTRY = 4 << 20, 16 << 10
"""Bytes of an answer: a part for all, and a part for each resource sent."""
LONGEST_CAPABILITY = 16 << 20
_LONGEST_OUTCOME = 1 << 18

_MEDIA_TYPE = "application/fhir+json"
_REFUSES_NODE = {
    HTTPStatus.UNAUTHORIZED: "refuses the token (HTTP 401); set a valid one",
    HTTPStatus.FORBIDDEN: "refuses the request (HTTP 403); allow it for this token or certificate",
}
_NOT_THERE = frozenset(
    {
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.GONE,
        HTTPStatus.NOT_IMPLEMENTED,
    }
)
_BUSY = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
_LATER = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY})


class FhirChannel:
    """Transactions with a FHIR server over one connection. Raises CertificateError.

    A refused token or address is not retryable: the server would refuse each report until an
    administrator changes one of the sides.
    """

    def __init__(self, config: Config, destination: DestinationConfig) -> None:
        self._endpoint = endpoint_of(config, destination)
        self._target = FhirTarget(
            destination.name,
            destination.version or FhirVersion.R5,
            patient_system=destination.patient_system or "",
            patient_issuer=destination.patient_issuer or "",
            accession_system=destination.accession_system or "",
        )
        self._opened = ExitStack()
        self._client: HttpClient | None = None

    def __enter__(self) -> Self:
        try:
            self._client = self._opened.enter_context(HttpClient(self._endpoint))
        except HttpError as error:
            raise ChannelError(str(error), retryable=error.retryable) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client = None
        self._opened.close()

    @property
    def is_open(self) -> bool:
        """Return True after entering: each request opens a connection if there is none."""
        return self._client is not None

    def send(self, data: bytes, on_progress: Callable[[], object]) -> Sent:
        """Send the transaction of one report; a repeat creates no resource that is there."""
        if self._client is None:
            raise ChannelError("the connection is no longer open", retryable=True)
        try:
            report = read_report(data)
            bundle = transaction(report, self._target)
        except (ObjectError, FhirError) as error:
            return Sent(Disposition.PARK, str(error))
        content = json.dumps(bundle, ensure_ascii=False, separators=(",", ":")).encode()
        headers = {
            "Content-Type": _MEDIA_TYPE,
            "Accept": _MEDIA_TYPE,
            "Prefer": "return=minimal",
        }
        question = _Question(self._client.where, bundle, private_values(report))
        try:
            with self._client.request(
                "POST", "", headers=headers, content=content, on_progress=on_progress
            ) as reply:
                return question.judged(reply)
        except HttpError as error:
            raise ChannelError(
                str(error), retryable=error.retryable, retry_after=error.retry_after
            ) from error

    def probe(self) -> Probe:
        """Test the server by its CapabilityStatement, whose FHIR version must fit."""
        try:
            with HttpClient(self._endpoint) as client:
                return self._probed(client)
        except HttpError as error:
            return Probe(False, str(error))

    def _probed(self, client: HttpClient) -> Probe:
        with client.request("GET", "metadata", headers={"Accept": _MEDIA_TYPE}) as reply:
            if reply.status != HTTPStatus.OK:
                return Probe(False, _problem(client.where, reply.status, _outcome(reply, ())))
            try:
                found = read_capability(reply.read(LONGEST_CAPABILITY))
            except FhirError as error:
                return Probe(False, f"{client.where}: {error}; check the path in url")
        software = f" ({found.software})" if found.software else ""
        known = f"{client.where} runs FHIR {found.version or '?'}{software}"
        version = self._target.version
        if not version.fits(found.version):
            return Probe(False, f"{known}, but version is {version}: set that of the server")
        if not found.takes_transactions:
            detail = f"{known}, but does not say that it takes transactions"
            return Probe(True, detail, is_warning=True)
        return Probe(True, f"{known} and takes transactions")


@dataclass(frozen=True, slots=True)
class _Question:
    """A transaction that was sent: where, what, and the values that no message may repeat."""

    where: str
    bundle: Json
    private: frozenset[str]

    def judged(self, reply: Reply) -> Sent:
        """Return what became of the report. Raises ChannelError and HttpError."""
        status = reply.status
        if status == HTTPStatus.OK:
            return self._accepted(reply)
        text = _outcome(reply, self.private)
        problem = _problem(self.where, status, text)
        if status in _REFUSES_NODE or (status in _NOT_THERE and not text):
            raise ChannelError(problem, retryable=False)
        if status in _BUSY:
            raise ChannelError(problem, retryable=True, retry_after=reply.retry_after)
        if status < HTTPStatus.BAD_REQUEST:
            return Sent(Disposition.RETRY, problem, is_unmatched=True)
        disposition = Disposition.RETRY if _is_passing(status) else Disposition.PARK
        return Sent(disposition, problem, retry_after=reply.retry_after)

    def _accepted(self, reply: Reply) -> Sent:
        limit = LONGEST_ANSWER + LONGEST_ENTRY * len(self.bundle["entry"])
        try:
            accepted = read_accepted(reply.read(limit), self.bundle, self.private)
        except RefusedEntryError as error:
            disposition = Disposition.RETRY if _is_passing(error.status) else Disposition.PARK
            return Sent(disposition, f"{self.where} kept only a part: {error}")
        except FhirError as error:
            detail = f"{self.where} does not confirm the report: {error}; see the server's log"
            return Sent(Disposition.RETRY, detail, is_unmatched=True)
        return Sent(Disposition.DELIVERED, answer=str(accepted))


def _is_passing(status: int) -> bool:
    """Return True if the same transaction can succeed later."""
    return status in _BUSY | _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _problem(where: str, status: int, text: str) -> str:
    """Return the line for a status of failure, with the text of the server at its end."""
    if status in _REFUSES_NODE:
        return f"{where} {_REFUSES_NODE[HTTPStatus(status)]}"
    if status in _NOT_THERE and not text:
        return f"{where} has no FHIR service at url (HTTP {status}); check the path"
    if status == HTTPStatus.PRECONDITION_FAILED:
        problem = f"{where} has several resources with one identifier (HTTP {status})"
    elif status < HTTPStatus.BAD_REQUEST:
        problem = f"{where} did not answer as FHIR prescribes (HTTP {status})"
    elif status < HTTPStatus.INTERNAL_SERVER_ERROR:
        problem = f"{where} refuses the report (HTTP {status})"
    else:
        problem = f"{where} failed (HTTP {status})"
    return f"{problem}: {text}" if text else problem


def _outcome(reply: Reply, private: Iterable[str]) -> str:
    """Return the errors that the server names; empty if its answer is not readable."""
    try:
        return said(reply.read(_LONGEST_OUTCOME), private)
    except HttpError:
        return ""
