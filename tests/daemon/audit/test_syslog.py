"""The audit trail reaches a syslog server completely and in order, despite its failures."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from daemon.audit.forwarder import Forwarder
from daemon.audit.syslog import SyslogConnection
from daemon.config.fields import SyslogConfig, SyslogTransport
from daemon.config.sections.roles import CourierConfig
from daemon.config.settings import Config
from daemon.errors import SyslogError
from storage.audit.records import AuditHead, AuditKind, AuditOutcome
from storage.store import Store
from storage.tables.database import Database, open_engine
from tests.builders.store_rows import STUDY, new_instance
from tests.servers.plain.syslog_server import (
    Certificate,
    DatagramServer,
    Received,
    StreamServer,
    self_signed,
    server_tls,
)
from tests.tools.audit_schema import validated
from tests.tools.ports import HOST
from tests.tools.waiting import wait_until

pytestmark = pytest.mark.network
QUICK = CourierConfig(retry_seconds=0.05, retry_max_seconds=0.1, network_timeout_seconds=2)


@pytest.fixture
def own(tmp_path: Path) -> Certificate:
    return self_signed(tmp_path, "server")


def syslog(port: int, transport: str = "tcp", **more: Any) -> SyslogConfig:
    return SyslogConfig(host=HOST, port=port, transport=SyslogTransport(transport), **more)


def forwarder(store: Store, config: SyslogConfig, worker: str = "one") -> Forwarder:
    stop = threading.Event()
    return Forwarder(Config(syslog=config, courier=QUICK), worker, store, stop)


@contextmanager
def running_forwarder(store: Store, config: SyslogConfig) -> Iterator[None]:
    stop = threading.Event()
    sender = Forwarder(Config(syslog=config, courier=QUICK), "one", store, stop)
    thread = threading.Thread(target=sender.run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def record(store: Store, *actors: str) -> None:
    for actor in actors:
        store.audit.record(AuditKind.LOGIN, actor=actor, host="10.0.0.1")


def rows_in(received: list[Received]) -> list[int]:
    """Return the numbers of the rows; the last object of each message names its row."""
    numbers = []
    for message in received:
        *_, row = validated(message.xml).findall("ParticipantObjectIdentification")
        numbers.append(AuditHead.parse(row.findtext("ParticipantObjectName", "")).number)
    return numbers


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_rows_arrive_in_order_over_every_transport(
    store: Store, own: Certificate, transport: str
) -> None:
    record(store, "a", "b")
    store.audit.record(AuditKind.LOGIN, outcome=AuditOutcome.FAILURE, actor="c", host="10.0.0.1")
    server = (
        DatagramServer()
        if transport == "udp"
        else StreamServer(server_tls(own) if transport == "tls" else None)
    )
    trusted = {"ca": own.certificate} if transport == "tls" else {}
    with server, running_forwarder(store, syslog(server.port, transport, **trusted)):
        wait_until(lambda: len(server.messages) == 3, "three messages came", 10)
        record(store, "d")
        wait_until(lambda: len(server.messages) == 4, "the fourth came", 10)

    received = server.received
    assert rows_in(received) == [1, 2, 3, 4]
    # Facility 10; notice, and warning for the failure (PS3.15 A.6, A.7).
    assert [message.priority for message in received] == [85, 85, 84, 85]
    assert {message.host for message in received} == {socket.gethostname()}
    assert received[0].at == next(store.audit.rows()).recorded_at.replace("Z", "+00:00")


def test_sent_rows_are_not_sent_again(store: Store) -> None:
    record(store, "a", "b")
    with StreamServer() as server:
        first = forwarder(store, syslog(server.port))
        assert first.forward()
        assert not first.forward()
        first.close()
        record(store, "c")
        second = forwarder(store, syslog(server.port))
        assert second.forward()
        second.close()
        wait_until(lambda: len(server.messages) == 3, "three messages came", 10)
    assert rows_in(server.received) == [1, 2, 3]


def test_a_server_that_is_down_loses_nothing(store: Store) -> None:
    with StreamServer() as server:
        port = server.port
    record(store, "a", "b")
    with running_forwarder(store, syslog(port)):
        record(store, "c")
        with StreamServer(port=port) as server:
            wait_until(lambda: len(server.messages) == 3, "three messages came", 10)
    assert rows_in(server.received) == [1, 2, 3]


def test_rows_are_sent_again_after_a_hangup(store: Store) -> None:
    record(store, *(str(number) for number in range(150)))
    with StreamServer(hangs_up_after=70) as server, running_forwarder(store, syslog(server.port)):
        wait_until(lambda: len(server.messages) >= 220, "everything came", 20)
    assert rows_in(server.received) == [*range(1, 71), *range(1, 151)]


def test_rows_sent_without_tls_to_a_tls_server_are_sent_again(
    store: Store, own: Certificate
) -> None:
    record(store, "a")
    with StreamServer(server_tls(own)) as server:
        plain = forwarder(store, syslog(server.port))
        with pytest.raises(SyslogError, match="closed the connection: does it take this transport"):
            plain.forward()
        plain.close()
        assert server.messages == []
        port = server.port
    with StreamServer(port=port) as server:
        assert plain.forward()
        plain.close()
        wait_until(lambda: len(server.messages) == 1, "it came", 10)
    assert rows_in(server.received) == [1]


def test_rows_refused_after_the_handshake_are_sent_again(
    store: Store, own: Certificate, tmp_path: Path
) -> None:
    record(store, "a")
    client = self_signed(tmp_path, "client")
    with StreamServer(server_tls(own, client), looks_seconds=0.2) as server:
        here = syslog(server.port, "tls", ca=own.certificate)
        without = forwarder(store, here)
        with pytest.raises(SyslogError, match="want a client certificate"):
            without.forward()
        without.close()
        assert server.messages == []
        shown = {"certificate": client.certificate, "key": client.key}
        with_one = forwarder(store, here.model_copy(update=shown))
        assert with_one.forward()
        with_one.close()
        wait_until(lambda: len(server.messages) == 1, "it came", 10)


def test_a_later_batch_is_sent_again_after_a_hangup(store: Store) -> None:
    record(store, "a")
    with StreamServer(hangs_up_after=2) as server:
        sender = forwarder(store, syslog(server.port))
        assert sender.forward()
        record(store, "b")
        with pytest.raises(SyslogError, match="closed the connection"):
            sender.forward()
        sender.close()
        assert sender.forward()
        sender.close()
        wait_until(lambda: len(server.messages) == 3, "all came", 10)
    assert rows_in(server.received) == [1, 2, 2]


def test_data_from_a_server_is_ignored() -> None:
    with closing(socket.create_server((HOST, 0))) as talker:
        connection = SyslogConnection(syslog(talker.getsockname()[1]), 2)
        with closing(talker.accept()[0]) as other:
            other.sendall(b"220 welcome\n" * 1000)
            connection.flush()
            assert not connection.is_closed()
            other.sendall(b"bye")
        assert connection.is_closed(5)
        connection.close()


def test_rows_that_a_server_does_not_read_are_sent_again(store: Store) -> None:
    record(store, *(str(number) for number in range(100)))
    with closing(socket.socket()) as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        silent.bind((HOST, 0))
        silent.listen()
        config = syslog(silent.getsockname()[1])
        sender = forwarder(store, config)
        with pytest.raises(SyslogError, match="does not take in what is sent"):
            sender.forward()
        sender.close()
    with StreamServer(port=config.port) as server:
        assert sender.forward()
        sender.close()
        wait_until(lambda: len(server.messages) == 100, "everything came", 10)


def test_one_of_two_couriers_sends(store: Store) -> None:
    record(store, "a")
    with StreamServer() as server:
        one, other = (forwarder(store, syslog(server.port), name) for name in ("one", "other"))
        assert one.forward()
        record(store, "b")
        assert not other.forward()
        assert one.forward()
        one.close()
        record(store, "c")
        store.audit_readers.release("one")
        assert other.forward()
        other.close()
        wait_until(lambda: len(server.messages) == 3, "all came", 10)


def test_a_server_with_a_wrong_certificate_receives_no_row(
    store: Store, own: Certificate, tmp_path: Path
) -> None:
    record(store, "a")
    other = self_signed(tmp_path, "other")
    elsewhere = self_signed(tmp_path, "elsewhere", "192.0.2.1")
    for shown, trusted in ((other, own), (elsewhere, elsewhere)):
        with StreamServer(server_tls(shown)) as server:
            sender = forwarder(store, syslog(server.port, "tls", ca=trusted.certificate))
            with pytest.raises(SyslogError, match="certificate verify failed"):
                sender.forward()
            assert server.messages == []


def test_a_server_may_ask_for_our_certificate(
    store: Store, own: Certificate, tmp_path: Path
) -> None:
    record(store, "a")
    client = self_signed(tmp_path, "client")
    with StreamServer(server_tls(own, client)) as server:
        without = forwarder(store, syslog(server.port, "tls", ca=own.certificate))
        with pytest.raises(SyslogError):
            without.forward()
        without.close()
        shown = {"certificate": client.certificate, "key": client.key}
        sender = forwarder(store, syslog(server.port, "tls", ca=own.certificate, **shown))
        assert sender.forward()
        sender.close()
        wait_until(lambda: len(server.messages) == 1, "it came", 10)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"ca": Path("/nowhere/ca.pem")}, "No such file"),
        ({"host": "syslog.invalid"}, "cannot be reached"),
    ],
)
def test_an_error_is_one_line(more: dict[str, Any], message: str) -> None:
    with StreamServer() as server:
        config = syslog(server.port, "tls").model_copy(update=more)
        with pytest.raises(SyslogError, match=message) as caught:
            SyslogConnection(config, 2)
    assert "\n" not in str(caught.value)


def test_a_malformed_row_does_not_stop_the_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(store, "a")
    monkeypatch.setattr("storage.audit.trail.timestamp", lambda _: "yesterday")
    record(store, "b")
    monkeypatch.undo()
    record(store, "c")
    with StreamServer() as server:
        sender = forwarder(store, syslog(server.port))
        assert sender.forward()
        sender.close()
        wait_until(lambda: len(server.messages) == 3, "three came", 10)
    assert "row 2 of the audit trail was altered" in server.received[1].xml


@pytest.mark.parametrize(
    "change", ["recorded_at = x'00'", "detail = CAST(x'446F655E4A616E65FF' AS TEXT)"]
)
def test_an_altered_row_is_an_alarm(store: Store, tmp_path: Path, change: str) -> None:
    record(store, "a", "b")
    database = Database(open_engine(f"sqlite:///{tmp_path / 'cxrd.sqlite'}"))
    with database.writing() as connection:
        connection.execute(text("DROP TRIGGER audit_events_keep_update"))
        connection.execute(text(f"UPDATE audit_events SET {change} WHERE number = 1"))  # noqa: S608
    database.engine.dispose()
    with StreamServer() as server:
        sender = forwarder(store, syslog(server.port))
        sender.forward()
        sender.close()
        wait_until(lambda: len(server.messages) == 2, "both came", 10)
    alarm, other = server.received
    assert alarm.priority == 84
    assert "row 1 of the audit trail was altered before it was sent" in alarm.xml
    assert "Jane" not in alarm.xml
    assert rows_in([other]) == [2]


@pytest.mark.parametrize("patient_ids", [False, True])
def test_the_patient_id_is_sent_only_if_configured(store: Store, patient_ids: bool) -> None:
    store.record_instance(new_instance(patient_id="PID-7"), 0)
    with StreamServer() as server:
        sender = forwarder(store, syslog(server.port, patient_ids=patient_ids))
        sender.forward()
        sender.close()
        wait_until(lambda: len(server.messages) == 1, "it came", 10)
    (message,) = server.received
    assert STUDY in message.xml
    assert ("PID-7" in message.xml) is patient_ids
    validated(message.xml)


def test_a_damaged_patient_id_does_not_stop_the_row(store: Store, tmp_path: Path) -> None:
    store.record_instance(new_instance(patient_id="PID-7"), 0)
    database = Database(open_engine(f"sqlite:///{tmp_path / 'cxrd.sqlite'}"))
    with database.writing() as connection:
        connection.execute(text("UPDATE instances SET patient_id = CAST(x'504944FF' AS TEXT)"))
    database.engine.dispose()
    with StreamServer() as server:
        sender = forwarder(store, syslog(server.port, patient_ids=True))
        assert sender.forward()
        sender.close()
        wait_until(lambda: len(server.messages) == 1, "it came", 10)
    (message,) = server.received
    assert "PID\ufffd" in message.xml
    validated(message.xml)
