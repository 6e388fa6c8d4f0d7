"""Results to MLLP servers that keep them, refuse them, lie, wait or break off."""

import re
import threading
from typing import Any

import pytest

from daemon.config.partners.destination import DestinationConfig, DestinationKind
from daemon.config.peers import PeerConfig
from daemon.config.receivers import Product
from daemon.config.sections.roles import CourierConfig
from daemon.config.settings import Config
from daemon.deliver.channels.channel import Sent
from daemon.deliver.channels.hl7 import MAX_REFUSALS, Hl7Channel
from daemon.deliver.delivery_worker import DeliveryWorker
from daemon.errors import ChannelError
from dicom_io.errors import CertificateError
from dicom_io.objects.encode import to_bytes
from dicom_io.peer.tls import ClientCertificate, server_context
from dicom_io.report.document import build_report
from dicom_io.send.store_status import Disposition
from storage.records import JobState
from tests.builders.certificates import Authority
from tests.builders.objects import bare_header, full_header, report_content
from tests.builders.outbox import Outbox, queue_report
from tests.builders.store_rows import SOURCE
from tests.daemon.hl7.strict import strictly_parsed
from tests.servers.plain.mllp_receiver import MllpReceiver
from tests.servers.plain.scripted_mllp import (
    Act,
    ScriptedMllp,
    acknowledge,
    close,
    control_id,
    send,
    silence,
)
from tests.tools.ports import HOST, free_port
from tests.tools.waiting import wait_until

pytestmark = pytest.mark.network

INTERNAL = b"ERR||PID^1^3|207^Application internal error^HL70357|E|||Doe"
MISSING = b"ERR||PID^1^3|101^Required field missing^HL70357|E||||P-17 Doe"


def settings(port: int, *, seconds: float = 5.0, **changes: Any) -> tuple[Config, Any]:
    fields: dict[str, Any] = {
        "name": "ris",
        "kind": DestinationKind.HL7,
        "host": HOST,
        "port": port,
        "receives": (Product.REPORT,),
        "receiving_application": "RIS",
        **changes,
    }
    destination = DestinationConfig(**fields)
    courier = CourierConfig(
        retry_seconds=0.05, retry_max_seconds=0.1, network_timeout_seconds=seconds
    )
    sender = PeerConfig(name=SOURCE, ae_title="MODALITY", sends=True)
    config = Config(peers=(sender,), destinations=(destination,), courier=courier)
    return config, destination


def channel(port: int, **changes: Any) -> Hl7Channel:
    return Hl7Channel(*settings(port, **changes))


def sent(act: Act, report: bytes) -> Sent:
    with ScriptedMllp(act) as server, channel(server.port) as to:
        return to.send(report, lambda: None)


def deliver(outbox: Outbox, port: int, **changes: Any) -> None:
    config, destination = settings(port, **changes)
    context = outbox.context(config)
    outbox.start(DeliveryWorker(context, destination, outbox.spool, outbox.store).run)


@pytest.fixture(scope="module")
def report() -> bytes:
    return to_bytes(build_report(report_content(full_header())))


@pytest.mark.parametrize("code", [b"AA", b"CA"])
def test_an_accepted_message_is_delivered_with_its_control_id(report: bytes, code: bytes) -> None:
    with ScriptedMllp(acknowledge(code)) as server, channel(server.port) as to:
        result = to.send(report, lambda: None)
    (message,) = server.received
    name = control_id(message).decode()
    assert result == Sent(Disposition.DELIVERED, answer=f"{code.decode()} {name}")
    assert b"|CXRD||RIS||" in message
    strictly_parsed(message)


@pytest.mark.parametrize("code", [b"AE", b"AR", b"CE", b"CR"])
def test_a_refused_message_is_parked_by_its_code_and_place(report: bytes, code: bytes) -> None:
    result = sent(acknowledge(code, MISSING), report)
    assert result.disposition is Disposition.PARK
    assert f"answered {code.decode()}: 101 required field missing at PID-3" in result.detail
    assert "Doe" not in result.detail + result.answer
    assert "P-17" not in result.detail + result.answer


def test_a_receiver_that_cannot_take_it_now_is_asked_some_times(report: bytes) -> None:
    with ScriptedMllp(acknowledge(b"AE", INTERNAL)) as server, channel(server.port) as to:
        results = [to.send(report, lambda: None) for _ in range(MAX_REFUSALS + 1)]
    dispositions = [result.disposition for result in results]
    retried = [Disposition.RETRY] * (MAX_REFUSALS - 1)
    assert dispositions == [*retried, Disposition.PARK, Disposition.RETRY]
    assert not any(result.is_unmatched for result in results)
    assert len(set(server.received)) == 1


@pytest.mark.parametrize(
    ("act", "detail"),
    [
        (acknowledge(of=b"OTHER"), "acknowledged another message than the one that was sent"),
        (acknowledge(b"ZZ"), "gave no acknowledgement: the answer has an MSA-1"),
        (send(b"\x0bhello\x1c\r"), "gave no acknowledgement: the message does not begin with"),
    ],
)
def test_an_answer_to_another_message_is_unmatched(report: bytes, act: Act, detail: str) -> None:
    with ScriptedMllp(act) as server, channel(server.port) as to:
        result = to.send(report, lambda: None)
        assert not to.is_open
    assert (result.disposition, result.is_unmatched) == (Disposition.RETRY, True)
    assert detail in result.detail


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (silence, "no acknowledgement within 0 s"),
        (close, "closed the connection without an acknowledgement"),
        (send(b"220 mail.example.org ESMTP\r\n"), "its answer is no acknowledgement"),
    ],
)
def test_without_an_answer_the_channel_fails_and_may_try_again(
    report: bytes, act: Act, reason: str
) -> None:
    with (
        ScriptedMllp(act) as server,
        channel(server.port, seconds=0.3) as to,
        pytest.raises(ChannelError, match=reason) as caught,
    ):
        to.send(report, lambda: None)
    assert caught.value.retryable


def test_a_report_that_makes_no_message_is_parked_and_the_next_one_sent(report: bytes) -> None:
    nameless = to_bytes(build_report(report_content(bare_header())))
    with ScriptedMllp(acknowledge()) as server, channel(server.port) as to:
        results = [to.send(data, lambda: None) for data in (nameless, b"no report", report)]
    assert [result.disposition for result in results] == [
        Disposition.PARK,
        Disposition.PARK,
        Disposition.DELIVERED,
    ]
    assert "no Patient ID" in results[0].detail
    assert len(server.received) == 1


def test_the_check_opens_a_connection_and_sends_nothing() -> None:
    with ScriptedMllp(acknowledge()) as server:
        probe = channel(server.port).probe()
        assert probe.ok
        assert probe.detail == (
            f"{HOST}:{server.port} takes an MLLP connection (without TLS);"
            " no message is sent to test it"
        )
        wait_until(lambda: server.connections == 1, "the connection is there")
    assert server.received == []
    port = free_port()
    absent = channel(port, seconds=1).probe()
    assert not absent.ok
    assert f"no acknowledgement from {HOST}:{port}: the connection failed" in absent.detail


def test_tls_with_a_certificate_of_this_node(pki: Authority, report: bytes) -> None:
    tls = server_context(pki.of("pacs"), ca=pki.ca, client_certificate=ClientCertificate.REQUIRED)
    own = pki.of("cxrd")
    keys = {"tls": True, "ca": pki.ca, "certificate": own.certificate, "key": own.key}
    with MllpReceiver(tls=tls) as server:
        with channel(server.port, **keys) as to:
            assert "(TLS)" in to.probe().detail
        with channel(server.port, **keys) as to:
            assert to.send(report, lambda: None).disposition is Disposition.DELIVERED
        foreign = channel(server.port, tls=True).probe()
    assert "its CA is not known here" in foreign.detail
    with pytest.raises(CertificateError):
        channel(server.port, tls=True, ca=own.key)


def test_the_deliveries_of_a_burst_share_a_connection(outbox: Outbox) -> None:
    for number in range(3):
        queue_report(outbox.store, outbox.spool, "ris", number)
    with MllpReceiver() as server:
        deliver(outbox, server.port)
        wait_until(lambda: len(outbox.deliveries(JobState.DONE)) == 3, "all are delivered")
        outbox.stop.set()
    assert server.connections == 1
    assert len(server.results) == 3


def test_the_message_is_repeated_with_the_same_bytes_until_it_is_answered(outbox: Outbox) -> None:
    queue_report(outbox.store, outbox.spool, "ris")
    acts = (close, silence, send(b"junk"), acknowledge(of=b"OTHER"), acknowledge(b"AE", INTERNAL))
    with ScriptedMllp(*acts, acknowledge()) as server:
        deliver(outbox, server.port, seconds=0.5)
        wait_until(lambda: len(outbox.deliveries(JobState.DONE)) == 1, "delivered")
        outbox.stop.set()
    assert len(server.received) == 6
    assert len(set(server.received)) == 1


@pytest.mark.parametrize(
    ("act", "attempts", "reason"),
    [
        (acknowledge(b"AE", INTERNAL), MAX_REFUSALS, "answered AE: 207 application internal error"),
        (acknowledge(b"AR"), 1, "answered AR: no error code of HL7 table 0357"),
        (acknowledge(of=b"OTHER"), DeliveryWorker.max_unmatched, "acknowledged another message"),
    ],
)
def test_a_refused_delivery_is_parked_with_its_reason(
    outbox: Outbox, act: Act, attempts: int, reason: str
) -> None:
    queue_report(outbox.store, outbox.spool, "ris")
    with ScriptedMllp(act) as server:
        deliver(outbox, server.port)
        wait_until(lambda: len(outbox.deliveries(JobState.PARKED)) == 1, "parked")
        outbox.stop.set()
    assert len(server.received) == attempts
    (job,) = outbox.deliveries(JobState.PARKED)
    assert re.search(reason, job.last_error or "")


def test_a_slow_receiver_keeps_the_delivery(outbox: Outbox) -> None:
    queue_report(outbox.store, outbox.spool, "ris")
    asked, may_answer = threading.Event(), threading.Event()

    def slowly(connection: Any, message: bytes) -> None:
        asked.set()
        assert may_answer.wait(30)
        acknowledge()(connection, message)

    with ScriptedMllp(slowly) as server:
        deliver(outbox, server.port, seconds=30)
        assert asked.wait(30)
        assert len(outbox.deliveries(JobState.RUNNING)) == 1
        may_answer.set()
        wait_until(lambda: len(outbox.deliveries(JobState.DONE)) == 1, "delivered")
        outbox.stop.set()
    assert len(server.received) == 1
