"""Reports to FHIR servers that keep them, refuse them, lie, wait or break off."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from daemon.config.partners.destination import DestinationConfig, DestinationKind
from daemon.config.partners.fhir_version import FhirVersion
from daemon.config.receivers import Product
from daemon.config.sections.roles import CourierConfig
from daemon.config.settings import Config
from daemon.deliver.channels import fhir
from daemon.deliver.channels.channel import Sent
from daemon.deliver.channels.fhir import FhirChannel
from daemon.errors import ChannelError
from daemon.worker.logs.redaction import redact
from dicom_io.objects.encode import to_bytes
from dicom_io.report.document import build_report
from dicom_io.send.store_status import Disposition
from tests.builders.objects import bare_header, report_content, whole_content
from tests.servers.plain.fhir_server import TOKEN, Answer, FhirServer, fhir_server, outcome
from tests.servers.plain.scripted_http import answer, scripted_http

pytestmark = pytest.mark.network

SYSTEM = "https://hospital.example/mrn"


def channel(url: str, *, seconds: float = 5.0, **changes: Any) -> FhirChannel:
    fields: dict[str, Any] = {
        "name": "ehr",
        "kind": DestinationKind.FHIR,
        "url": url,
        "allow_http": True,
        "receives": (Product.REPORT,),
        "version": FhirVersion.R5,
        "token": SecretStr(TOKEN),
        **changes,
    }
    destination = DestinationConfig(**fields)
    courier = CourierConfig(network_timeout_seconds=seconds)
    return FhirChannel(Config(destinations=(destination,), courier=courier), destination)


def send(to: FhirChannel, data: bytes) -> Sent:
    with to:
        return to.send(data, lambda: None)


@pytest.fixture(scope="module")
def report() -> bytes:
    return to_bytes(build_report(whole_content()))


@pytest.fixture
def server() -> Iterator[FhirServer]:
    with fhir_server() as running:
        yield running


def test_a_report_and_its_repeat(server: FhirServer, report: bytes) -> None:
    sent = send(channel(server.url), report)
    assert sent == Sent(
        Disposition.DELIVERED, answer="DiagnosticReport/diagnosticreport-1, 39 created, 0 known"
    )
    counts = server.counts()
    assert counts["Observation"] == 28
    again = send(channel(server.url), report)
    assert again.answer == "DiagnosticReport/diagnosticreport-1, 0 created, 39 known"
    assert server.counts() == counts
    [kept] = server.of("DiagnosticReport")
    results = {one["reference"] for one in kept["result"]}
    assert results == {f"Observation/{one['id']}" for one in server.of("Observation")}


def test_a_later_report_shares_the_device_alone(server: FhirServer, report: bytes) -> None:
    content = whole_content()
    identity = replace(content.identity, sop_instance_uid="2.25.99")
    later = to_bytes(build_report(replace(content, identity=identity)))
    send(channel(server.url), report)
    assert send(channel(server.url), later).answer.endswith("38 created, 1 known")
    assert server.counts()["DiagnosticReport"] == 2
    assert server.counts()["Device"] == 1


@pytest.mark.parametrize("number", ["4.3.0", "4.0.1"])
def test_a_server_of_r4b_or_r4(report: bytes, number: str) -> None:
    with fhir_server(number) as server:
        to = channel(server.url, version=FhirVersion.R4B)
        assert to.probe().ok
        assert send(to, report).disposition is Disposition.DELIVERED
        assert "ImagingSelection" not in server.counts()
        assert server.counts()["Observation"] == 28


def test_a_patient_of_the_server_is_referred_to(server: FhirServer, report: bytes) -> None:
    place = server.add_patient(SYSTEM, "P-17")
    server.add_patient("https://other.example/mrn", "P-17")
    sent = send(channel(server.url, patient_system=SYSTEM), report)
    assert sent.disposition is Disposition.DELIVERED
    assert {one["subject"]["reference"] for one in server.of("Observation")} == {place}
    assert len(server.of("Patient")) == 2


@pytest.mark.parametrize("patients", [0, 2])
def test_a_patient_that_is_not_one_parks_the_report(
    server: FhirServer, report: bytes, patients: int
) -> None:
    for _ in range(patients):
        server.add_patient(SYSTEM, "P-17")
    sent = send(channel(server.url, patient_system=SYSTEM), report)
    assert sent.disposition is Disposition.PARK
    assert f"{patients} resources match the URL" in sent.detail
    assert "P-17" not in sent.detail
    assert server.counts() == ({"Patient": 2} if patients else {})
    assert "match" not in redact(sent.detail)


def test_a_wrong_token_parks_without_the_token(server: FhirServer, report: bytes) -> None:
    with pytest.raises(ChannelError, match=r"refuses the token \(HTTP 401\)") as refused:
        send(channel(server.url, token=SecretStr("another-token")), report)
    assert not refused.value.retryable
    assert "another-token" not in str(refused.value)


def test_a_wrong_path(server: FhirServer, report: bytes) -> None:
    """A server that answers in FHIR may mean a reference; without that the address is wrong."""
    sent = send(channel(f"{server.url}x"), report)
    assert sent.disposition is Disposition.PARK
    with scripted_http(always=answer("404 Not Found", b"<html>", "text/html")) as plain:
        with pytest.raises(ChannelError, match="no FHIR service at url") as refused:
            send(channel(plain.url()), report)
        assert not refused.value.retryable
        assert channel(plain.url()).probe().detail.endswith("(HTTP 404); check the path")


@pytest.mark.parametrize(
    ("status", "disposition", "words"),
    [
        (400, Disposition.PARK, "refuses the report (HTTP 400): bad thing"),
        (422, Disposition.PARK, "refuses the report (HTTP 422): bad thing"),
        (412, Disposition.PARK, "several resources with one identifier (HTTP 412): bad thing"),
        (409, Disposition.RETRY, "refuses the report (HTTP 409): bad thing"),
        (413, Disposition.PARK, "refuses the report (HTTP 413): bad thing"),
        (500, Disposition.RETRY, "failed (HTTP 500): bad thing"),
        (202, Disposition.RETRY, "did not answer as FHIR prescribes (HTTP 202): bad thing"),
    ],
)
def test_a_refused_report(
    server: FhirServer, report: bytes, status: int, disposition: Disposition, words: str
) -> None:
    server.before = [Answer(status, outcome("bad thing"))]
    sent = send(channel(server.url), report)
    assert sent.disposition is disposition
    assert sent.detail.endswith(words)
    assert sent.is_unmatched is (status < 400)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_says_when_to_come_again(
    server: FhirServer, report: bytes, status: int
) -> None:
    server.before = [Answer(status, b"", {"Retry-After": "17"})]
    with pytest.raises(ChannelError, match=f"HTTP {status}") as busy:
        send(channel(server.url), report)
    assert (busy.value.retryable, busy.value.retry_after) == (True, 17)


def _fewer(found: dict[str, Any]) -> dict[str, Any]:
    return {**found, "entry": found["entry"][:-1]}


def _of_others(found: dict[str, Any]) -> dict[str, Any]:
    entries = [{"response": {"status": "200", "location": "Patient/1"}} for _ in found["entry"]]
    return {**found, "entry": entries}


def _page(_: dict[str, Any]) -> bytes:
    return b"<html>Please log in</html>"


@pytest.mark.parametrize("lie", [_fewer, _of_others, _page])
def test_a_success_that_proves_nothing_is_tried_again(
    server: FhirServer, report: bytes, lie: Callable[[Any], Any]
) -> None:
    server.twist = lie
    sent = send(channel(server.url), report)
    assert (sent.disposition, sent.is_unmatched) == (Disposition.RETRY, True)
    assert "does not confirm the report" in sent.detail


@pytest.mark.parametrize(
    ("status", "disposition"), [("422", Disposition.PARK), ("503", Disposition.RETRY)]
)
def test_a_success_with_a_refused_part(
    server: FhirServer, report: bytes, status: str, disposition: Disposition
) -> None:
    def refuse(found: dict[str, Any]) -> dict[str, Any]:
        found["entry"][3]["response"] = {"status": status, "outcome": outcome("A-4711 unknown")}
        return found

    server.twist = refuse
    sent = send(channel(server.url), report)
    assert sent.disposition is disposition
    assert sent.detail.endswith(f"(HTTP {status}): … unknown")
    assert not sent.is_unmatched


def _endless(connection: socket.socket) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\n\r\n"
    with suppress(OSError):
        connection.sendall(head + b'{"resourceType": "Bundle", "entry": [')
        while True:
            connection.sendall(b'{"response": {"status": "201"}},' * 1000)


def test_an_endless_answer_ends_in_bounded_memory(
    report: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fhir, "LONGEST_ANSWER", 1 << 20)
    monkeypatch.setattr(fhir, "LONGEST_ENTRY", 0)
    with (
        scripted_http(always=_endless) as server,
        pytest.raises(ChannelError, match="more than 1048576 bytes") as refused,
    ):
        send(channel(server.url()), report)
    assert refused.value.retryable


def test_a_truncated_answer(report: bytes) -> None:
    whole = answer("200 OK", json.dumps({"resourceType": "Bundle"}).encode() * 50)
    with (
        scripted_http(always=lambda connection: connection.sendall(whole[:-20])) as server,
        pytest.raises(ChannelError, match="before its answer was complete") as refused,
    ):
        send(channel(server.url()), report)
    assert refused.value.retryable


def test_a_server_that_never_answers(report: bytes) -> None:
    with scripted_http(always=lambda connection: connection.recv(1)) as server:
        since = time.monotonic()
        with pytest.raises(ChannelError, match="sent nothing for 1 s") as refused:
            send(channel(server.url(), seconds=1.0), report)
        assert time.monotonic() - since < 4
    assert refused.value.retryable


def test_the_request_is_fhir_and_names_its_token(report: bytes) -> None:
    with scripted_http(always=answer("500 Oh", b"", "text/plain")) as server:
        send(channel(server.url()), report)
    [request] = server.requests
    assert request.line == "POST /dicom-web HTTP/1.1"
    assert request.headers["content-type"] == "application/fhir+json"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert json.loads(request.body)["type"] == "transaction"


def test_an_object_that_makes_no_bundle_is_parked(server: FhirServer) -> None:
    nobody = to_bytes(build_report(report_content(bare_header())))
    for data, words in ((nobody, "no Patient ID"), (b"damaged" * 50, "cannot be read")):
        sent = send(channel(server.url), data)
        assert sent.disposition is Disposition.PARK
        assert words in sent.detail
    assert server.transactions == 0


def test_a_server_that_fits(server: FhirServer) -> None:
    found = channel(server.url).probe()
    assert (found.ok, found.is_warning) == (True, False)
    assert found.detail.endswith("runs FHIR 5.0.0 (test server) and takes transactions")


def test_a_server_of_another_version(server: FhirServer) -> None:
    found = channel(server.url, version=FhirVersion.R4B).probe()
    assert not found.ok
    assert found.detail.endswith(
        "runs FHIR 5.0.0 (test server), but version is R4B: set that of the server"
    )


def test_probes_of_servers_that_are_none() -> None:
    statement = {"resourceType": "CapabilityStatement", "fhirVersion": "5.0.0"}
    cases = [
        (answer("200 OK", json.dumps(statement).encode()), True, "does not say that it takes"),
        (answer("200 OK", b"<html>", "text/html"), False, "no JSON of FHIR; check the path"),
        (answer("403 Forbidden"), False, "refuses the request (HTTP 403)"),
        (answer("302 Found", location="/x"), False, "answered with a redirect"),
    ]
    for reply, ok, words in cases:
        with scripted_http(always=reply) as server:
            found = channel(server.url()).probe()
        assert found.ok is ok
        assert words in found.detail
    assert "no connection" in channel("http://127.0.0.1:9/fhir").probe().detail
