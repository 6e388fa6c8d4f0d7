"""Results by STOW-RS: delivered, retried and parked as by C-STORE, whatever the server does."""

import json
from pathlib import Path
from typing import Any

import pytest

from daemon.config.partners.destination import DestinationConfig, DestinationKind
from daemon.config.receivers import PictureSyntax, Product
from daemon.config.settings import Config
from daemon.deliver.channels.channel import Probe
from daemon.deliver.channels.dicomweb import DicomwebChannel
from daemon.deliver.delivery_worker import DeliveryWorker
from dicom_io.dicomweb.multipart import MultipartReader
from dicom_io.objects.classes import PLAIN_SYNTAXES
from dicom_io.objects.compression import RLE, compressed_picture
from dicom_io.objects.secondary_capture import build_capture
from dicom_io.peer.tls import ClientCertificate, server_context
from dicom_io.read.header import read_header
from dicom_io.send.store_status import Disposition
from storage.records import Job, JobState, StudyKey
from tests.builders.certificates import Authority
from tests.builders.objects import capture_content, full_header
from tests.builders.outbox import Outbox, queue_report
from tests.builders.store_rows import SOURCE
from tests.servers.plain.scripted_http import Answer, Request, answer, scripted_http
from tests.tools.waiting import wait_until

pytestmark = pytest.mark.network
UID = "2.25.71"


def destination(url: str, **more: Any) -> DestinationConfig:
    values = {
        "name": "web",
        "kind": DestinationKind.DICOMWEB,
        "url": url,
        "receives": (Product.REPORT, Product.HEATMAP),
        "allow_http": True,
        **more,
    }
    return DestinationConfig(**values)


def body(sequence: str, uid: str, reason: tuple[str, int] | None = None) -> bytes:
    item: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
    if reason is not None:
        item[reason[0]] = {"vr": "US", "Value": [reason[1]]}
    return json.dumps({sequence: {"vr": "SQ", "Value": [item]}}).encode()


def stored(uid: str = UID, warning: int | None = None) -> bytes:
    reason = None if warning is None else ("00081196", warning)
    return answer("200 OK", body("00081199", uid, reason))


def failed(reason: int, uid: str = UID) -> bytes:
    return answer("409 Conflict", body("00081198", uid, ("00081197", reason)))


def deliver(
    outbox: Outbox, *answers: Answer, until: JobState, always: Answer | None = None, **more: Any
) -> tuple[Job, list[Request]]:
    """Deliver a report to a server that answers so, until its job is in a state."""
    queue_report(outbox.store, outbox.spool, "web")
    with scripted_http(*answers, always=always) as script:
        outbox.deliver_over(
            destination(script.url(), **more), retry_seconds=0.05, timeout_seconds=0.5
        )
        wait_until(lambda: bool(outbox.deliveries(until)), f"the delivery is {until}", 20)
        outbox.close()
    (job,) = outbox.deliveries(until)
    return job, script.requests


def test_a_delivery_keeps_the_answer_and_its_warning(outbox: Outbox) -> None:
    _, requests = deliver(outbox, stored(warning=0xB007), until=JobState.DONE)
    (part,) = MultipartReader(requests[0].headers["content-type"]).feed(requests[0].body)
    assert read_header(part.data).sop_instance_uid == UID
    study = outbox.store.search.study(StudyKey(SOURCE, "2.25.81"))
    assert study is not None
    (delivery,) = study.deliveries
    assert (delivery.dimse_status, delivery.answer) == (0xB007, "HTTP 200, warning 0xB007")
    details = [row.detail for row in outbox.store.audit.rows() if row.kind == "object_delivered"]
    assert details == ["status 0xB007"]


@pytest.mark.parametrize(
    "answers",
    [
        [failed(0xA700)],
        [answer("503 Service Unavailable", Retry_After="0")],
        [answer("429 Too Many Requests")],
        [answer("500 Internal Server Error")],
        [answer("200 OK", b'{"00081199')],
        [lambda connection: connection.close()],
        [lambda connection: connection.recv(1)],
        [answer("200 OK"), answer("204 No Content")],  # it names nothing, and it holds nothing
    ],
)
def test_a_failure_that_may_pass_is_tried_again(outbox: Outbox, answers: list[Answer]) -> None:
    job, requests = deliver(outbox, *answers, stored(), until=JobState.DONE)
    assert job.attempts == 2
    sent = [request for request in requests if request.line.startswith("POST")]
    parts = [
        MultipartReader(request.headers["content-type"]).feed(request.body) for request in sent
    ]
    assert len(parts) == 2
    assert parts[0] == parts[1]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (failed(0xC000), "status 0xC000 by STOW-RS: the server cannot understand the object"),
        (answer("415 Unsupported Media Type"), "the server refuses the object"),
        (answer("401 Unauthorized"), "refuses the token (HTTP 401); set a valid one"),
        (answer("404 Not Found"), "has nothing at /studies below url; check the path in url"),
        (answer("302 Found", Location="http://127.0.0.1/"), "answered with a redirect"),
    ],
)
def test_a_refusal_is_parked_with_its_reason(outbox: Outbox, said: bytes, reason: str) -> None:
    job, requests = deliver(outbox, said, until=JobState.PARKED)
    assert reason in (job.last_error or "")
    assert (job.attempts, len(requests)) == (1, 1)


def test_a_server_that_never_names_the_object_parks_it_in_the_end(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DeliveryWorker, "max_unmatched", 2)
    lying = stored("1.2.3")
    job, _ = deliver(outbox, always=lying, until=JobState.PARKED)
    assert job.attempts == 2
    assert "the answer does not name the object (HTTP 200" in (job.last_error or "")


def test_a_dead_server_delays_no_other_destination(outbox: Outbox) -> None:
    for number in range(1, 4):
        queue_report(outbox.store, outbox.spool, "dead", number=number)
    for number in range(4, 7):
        queue_report(outbox.store, outbox.spool, "alive", number=number)
    said = [stored(f"2.25.7{number}") for number in range(4, 7)]
    with (
        scripted_http(always=lambda connection: connection.recv(1)) as dead,
        scripted_http(*said) as alive,
    ):
        outbox.deliver_over(destination(dead.url(), name="dead"), timeout_seconds=60)
        wait_until(lambda: bool(dead.requests), "the dead server has a request")
        outbox.deliver_over(destination(alive.url(), name="alive"))
        wait_until(lambda: len(outbox.deliveries(JobState.DONE)) == 3, "the others are delivered")
        assert len(alive.requests) == 3
        dead.stop.set()
    outbox.close()
    assert len(outbox.deliveries(JobState.DONE)) == 3


def channel(url: str, **more: Any) -> DicomwebChannel:
    return DicomwebChannel(Config(), destination(url, **more))


def test_a_picture_goes_in_the_preferred_syntax_until_the_server_refuses_it() -> None:
    picture = compressed_picture(build_capture(capture_content(full_header())))
    uid = read_header(picture).sop_instance_uid
    refused = failed(0xC122, uid)
    with scripted_http(stored(uid), refused, stored(uid), stored(uid)) as script:
        with channel(script.url(), picture_syntax=PictureSyntax.RLE) as opened:
            results = [opened.send(picture, lambda: None) for _ in range(3)]
        assert all(each.disposition is Disposition.DELIVERED for each in results)
    syntaxes = [
        read_header(part.data).transfer_syntax_uid
        for request in script.requests
        for part in MultipartReader(request.headers["content-type"]).feed(request.body)
    ]
    assert syntaxes == [RLE, RLE, PLAIN_SYNTAXES[0], PLAIN_SYNTAXES[0]]


def probed(said: Answer | None, **more: Any) -> Probe:
    with scripted_http(always=said) as script:
        return channel(script.url(), **more).probe()


def test_the_probe_asks_for_one_study_with_the_token() -> None:
    with scripted_http(answer("200 OK", b"[]")) as script:
        found = channel(script.url(), token="word").probe()  # noqa: S106
    assert found == Probe(True, "web answers a search by QIDO-RS")
    (request,) = script.requests
    assert request.target == "/dicom-web/studies?limit=1"
    assert request.headers["authorization"] == "Bearer word"


@pytest.mark.parametrize(
    ("said", "ok", "detail"),
    [
        (answer("401 Unauthorized"), False, "refuses the token (HTTP 401); set a valid one"),
        (answer("403 Forbidden"), True, "refuses a search (HTTP 403)"),
        (answer("404 Not Found"), False, "check the path in url (HTTP 404)"),
        (answer("200 OK", b"<html>"), False, "not JSON"),
        (None, False, "ended the connection before its answer was complete"),
    ],
)
def test_the_probe_says_what_is_wrong(said: bytes | None, ok: bool, detail: str) -> None:
    found = probed(said)
    assert (found.ok, found.is_warning) == (ok, ok)
    assert detail in found.detail
    assert "\n" not in found.detail


def test_the_probe_names_a_fault_of_tls(pki: Authority, strangers: Authority) -> None:
    def over_tls(ca: Path, *, shows: bool) -> Probe:
        own = pki.of("cxrd") if shows else None
        keys = {"certificate": own.certificate, "key": own.key} if own else {}
        context = server_context(
            pki.of("pacs"), ca=pki.ca, client_certificate=ClientCertificate.REQUIRED
        )
        with scripted_http(always=answer("200 OK", b"[]"), tls=context) as script:
            return channel(script.url("https"), allow_http=False, ca=ca, **keys).probe()

    assert over_tls(pki.ca, shows=True).ok
    assert "set certificate" in over_tls(pki.ca, shows=False).detail
    assert "add the CA's certificate to ca" in over_tls(strangers.ca, shows=True).detail
