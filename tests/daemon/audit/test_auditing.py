"""The audit trail contains the events of the listener, the commands and the configuration."""

import contextlib
import json
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pynetdicom import AE

from daemon.audit.configuration import describe, record_configuration
from daemon.audit.messages import Reporter
from daemon.audit.network import NetworkAudit
from daemon.audit.users import current_user
from daemon.config.peers import PeerConfig
from daemon.config.sections.roles import ListenerConfig
from daemon.config.sections.web import WebConfig
from daemon.config.settings import Config
from daemon.listener import open_node
from daemon.receive.reception import Reception
from dicom_io.audit_message import to_xml
from dicom_io.objects.classes import VERIFICATION
from dicom_io.read.header import read_header
from dicom_io.receive.events import Rejection, RejectReason
from dicom_io.receive.limits import AbortReason
from dicom_io.receive.node import Node
from dicom_io.receive.store_request import StoreStatus
from dicom_io.send.association import Destination
from dicom_io.send.sender import Sender, pair_of
from storage.audit.records import AuditKind, AuditRow, parse_subject, subject_of
from storage.errors import StoreUnavailableError
from storage.files.folder_spool import FolderSpool
from storage.store import Store
from tests.builders.images.films import film
from tests.servers.dicom.pacs import RecordingPacs
from tests.servers.plain.syslog_server import StreamServer
from tests.servers.running import RunningDaemon
from tests.tools.audit_schema import validated
from tests.tools.cli import cxrd, one_line_of_error
from tests.tools.paths import ROOT
from tests.tools.ports import HOST, SENDER, free_port
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]
SALT = "00" * 16


@contextmanager
def listening(store: Store, folder: Path, **listener: object) -> Iterator[Node]:
    config = Config(
        listener=ListenerConfig.model_validate({"port": free_port(), **listener}),
        peers=(
            PeerConfig(name="sender", ae_title=SENDER, sends=True),
            PeerConfig(name="elsewhere", ae_title="ELSEWHERE", host="192.0.2.1", sends=True),
        ),
    )
    spool = FolderSpool(folder / "spool", min_free_bytes=2**62)
    with (
        NetworkAudit(store.audit) as audit,
        open_node(config, Reception(spool, store, 1.0), audit) as node,
    ):
        yield node


def associate(node: Node, calling: str, called: str = "CXRD") -> bool:
    """Request an association. Returns True if it was accepted."""
    ae = AE(ae_title=calling)
    ae.add_requested_context(VERIFICATION)
    association = ae.associate(HOST, node.port, ae_title=called)
    accepted = association.is_established
    if accepted:
        association.release()
    return accepted


def cells_of(store: Store) -> list[tuple[str, str, str, str, str]]:
    return [(row.kind, row.outcome, row.actor, row.host, row.detail) for row in store.audit.rows()]


def test_accepted_and_refused_associations_are_in_the_trail(store: Store, tmp_path: Path) -> None:
    with listening(store, tmp_path, check_called_ae_title=True, echo="peers") as node:
        assert associate(node, SENDER)
        assert not associate(node, "STRANGER")
        assert not associate(node, "ELSEWHERE")
        assert not associate(node, SENDER, called="OTHER")

    refused = "association_refused"
    assert cells_of(store) == [
        ("association_accepted", "success", SENDER, HOST, "called CXRD"),
        (
            refused,
            "failure",
            "STRANGER",
            HOST,
            "called CXRD: calling AE title is not a known sender",
        ),
        (
            refused,
            "failure",
            "ELSEWHERE",
            HOST,
            "called CXRD: calling AE title is known, but not from this host",
        ),
        (refused, "failure", SENDER, HOST, "called OTHER: called AE title is not this node's"),
    ]
    store.audit.verify()


def test_echoes_of_callers_that_are_no_peers_are_counted(store: Store, tmp_path: Path) -> None:
    with listening(store, tmp_path) as node:
        for title in ("STRANGER", "STRANGER", "OTHER"):
            assert associate(node, title)
    said = "C-ECHO alone; not a peer: it may not store"
    assert cells_of(store) == [
        ("association_accepted", "success", "STRANGER", HOST, f"called CXRD: {said}"),
        ("association_accepted", "success", "", HOST, f"called CXRD: {said} (2 times)"),
    ]


def test_the_item_at_fault_is_in_the_trail(store: Store) -> None:
    fault = Rejection(AbortReason.MALFORMED, "", "", HOST, "item 0x70")
    with NetworkAudit(store.audit) as audit:
        for detail in ("item 0x70", "item 0x70", "item 0x70"):
            audit.rejected(replace(fault, detail=detail))
        audit.rejected(replace(fault, reason=AbortReason.TOO_LARGE))
        audit.rejected(replace(fault, reason=AbortReason.TOO_LARGE, detail="another"))
        audit.rejected(replace(fault, reason=AbortReason.TOO_LARGE, detail="a third"))
    assert [row.detail for row in store.audit.rows()] == [
        f"{AbortReason.MALFORMED} (item 0x70)",
        f"{AbortReason.TOO_LARGE} (item 0x70)",
        f"{AbortReason.MALFORMED} (item 0x70) (2 times)",
        f"{AbortReason.TOO_LARGE} (2 times)",
    ]


def stranger(host: str, reason: RejectReason = RejectReason.CALLING_AE_TITLE) -> Rejection:
    return Rejection(reason, "STRANGER", "CXRD", host)


def test_rejections_of_one_host_are_counted_without_waiting_for_the_trail(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write, record = threading.Event(), store.audit.record

    def slowly(*arguments: Any, **named: Any) -> None:
        may_write.wait(10)
        record(*arguments, **named)

    monkeypatch.setattr(store.audit, "record", slowly)
    with NetworkAudit(store.audit) as audit:
        started = time.monotonic()
        audit.rejected(stranger("192.0.2.1"))
        time.sleep(0.2)
        for _ in range(100):
            audit.rejected(stranger("192.0.2.1"))
            audit.rejected(stranger("192.0.2.2", RejectReason.TOO_MANY))
        assert time.monotonic() - started < 5
        may_write.set()
    unknown = "called CXRD: calling AE title is not a known sender"
    assert [(row.host, row.detail) for row in store.audit.rows()] == [
        ("192.0.2.1", unknown),
        ("192.0.2.2", "called CXRD: too many associations at once"),
        ("192.0.2.1", f"{unknown} (100 times)"),
        ("192.0.2.2", "called CXRD: too many associations at once (99 times)"),
    ]


def test_the_first_rejection_is_recorded_and_a_count_names_shared_titles(
    store: Store,
) -> None:
    reason = RejectReason.CALLING_AE_TITLE
    with NetworkAudit(store.audit) as audit:
        for host, titles in (("192.0.2.1", "ABC"), ("192.0.2.2", "DEE")):
            for title in titles:
                audit.rejected(Rejection(reason, title, f"TO {title}", host))
    for row in store.audit.rows():
        validated(to_xml(Reporter("CXRD", "node", {}).message(row)))
    reason_text = "calling AE title is not a known sender"
    rows = sorted((row.host, row.number, row.actor, row.detail) for row in store.audit.rows())
    assert [(host, actor, detail) for host, _, actor, detail in rows] == [
        ("192.0.2.1", "A", f"called TO A: {reason_text}"),
        ("192.0.2.1", "", f"{reason_text} (2 times)"),
        ("192.0.2.2", "D", f"called TO D: {reason_text}"),
        ("192.0.2.2", "E", f"called TO E: {reason_text} (2 times)"),
    ]


def test_hosts_beyond_the_limit_are_counted_together(
    store: Store,
) -> None:
    with NetworkAudit(store.audit, most_keys=1) as audit:
        for number in range(4):
            audit.rejected(stranger(f"192.0.2.{number}"))
    *_, row = store.audit.rows()
    assert (row.host, row.actor) == ("", "STRANGER")
    assert row.detail.endswith("(2 times)")
    validated(to_xml(Reporter("CXRD", "node", {}).message(row)))


def test_a_host_that_continues_is_counted_again_and_a_silent_host_is_forgotten(
    store: Store,
) -> None:
    with NetworkAudit(store.audit, merge_seconds=0.1) as audit:
        for count in (1, 2):
            audit.rejected(stranger("192.0.2.1"))
            wait_until(lambda n=count: len(cells_of(store)) == n, "a row", 10)  # type: ignore[misc]
        wait_until(lambda: audit.counted_keys == 0, "the host is forgotten", 10)


def test_a_refused_object_is_in_the_trail(store: Store, tmp_path: Path) -> None:
    image = film("refused")
    with listening(store, tmp_path) as node:
        destination = Destination("cxrd", "CXRD", HOST, node.port, calling_ae_title=SENDER)
        with Sender(destination, sop_classes=(), also=[pair_of(image)]) as sender:
            assert sender.send(image).status == StoreStatus.OUT_OF_RESOURCES

    (row,) = [row for row in store.audit.rows() if row.kind == AuditKind.INSTANCE_REFUSED]
    header = read_header(image)
    assert (row.outcome, row.actor, row.host) == ("failure", SENDER, HOST)
    assert parse_subject(row.subject) == {
        "instance": header.sop_instance_uid,
        "sop_class": header.sop_class_uid,
    }
    assert row.detail == "status 0xA700: no reason given"


def test_a_name_with_white_space_cannot_forge_another() -> None:
    subject = subject_of(instance="1.2 study=9.9\n", sop_class=None)
    assert parse_subject(subject) == {"instance": "1.2study=9.9"}


def test_an_unwritable_trail_is_logged_and_associations_are_accepted(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StoreUnavailableError("the store is busy")

    monkeypatch.setattr(store.audit, "record", fail)
    with listening(store, tmp_path) as node:
        assert associate(node, SENDER)
    assert "association_accepted from 127.0.0.1 as 'STORESCU' is not in the audit trail" in (
        caplog.text
    )


def test_the_configuration_is_recorded_once(store: Store) -> None:
    assert record_configuration(store.audit, Config()) == {}
    assert record_configuration(store.audit, Config()) == {}
    (row,) = store.audit.rows()
    assert (row.kind, row.actor) == ("configuration_changed", current_user())
    assert row.host == socket.gethostname()
    assert json.loads(row.detail)["effective"]["listener.port"] == 11112


def test_changes_of_the_configuration_are_recorded(store: Store) -> None:
    record_configuration(store.audit, Config())
    changed = record_configuration(
        store.audit,
        Config(
            listener=ListenerConfig(port=104),
            peers=(PeerConfig(name="storescu", ae_title="STORESCU", sends=True, host="10.0.0.1"),),
        ),
    )
    assert changed == {
        "listener.port": [11112, 104],
        "peers.storescu.host": [None, "10.0.0.1"],
    }
    *_, row = store.audit.rows()
    assert json.loads(row.detail)["changed"] == changed
    store.audit.verify()


def test_a_changed_secret_is_recorded_without_its_value(store: Store) -> None:
    url = "postgresql+psycopg://cxrd:{}@db.example/cxrd"
    for password in ("hunter2", "hunter2", "hunter3"):
        config = Config(database_url=SecretStr(url.format(password)))
        changed = record_configuration(store.audit, config)
    assert changed == {"database_url.password": "changed"}
    rows = list(store.audit.rows())
    assert len(rows) == 2
    assert "hunter" not in "".join(row.detail for row in rows)
    assert "cxrd:…@db.example" in rows[0].detail


def test_secrets_are_hashed() -> None:
    web = WebConfig(token=SecretStr("s3cret-s3cret-s3cret"), port=1, token_file=None)
    described = describe(Config(web=web), SALT)
    assert described["web.token"].startswith("scrypt:")
    assert (described["web.port"], described["web.key"]) == (1, None)


def test_an_altered_record_of_the_configuration_is_ignored(store: Store) -> None:
    store.audit.record(AuditKind.CONFIGURATION_CHANGED, host=socket.gethostname(), detail="no JSON")
    assert record_configuration(store.audit, Config()) == {}
    assert len(list(store.audit.rows())) == 2


def rows_of(folder: Path) -> list[AuditRow]:
    with Store.open(f"sqlite:///{folder / 'data' / 'cxrd.sqlite'}", migrate=False) as store:
        return list(store.audit.rows())


def test_commands_are_in_the_trail_with_the_user(parked: Path) -> None:
    number = cxrd("jobs", "list", "--state", "parked", cwd=parked).stdout.split()[0]
    assert cxrd("jobs", "retry", number, cwd=parked).returncode == 0
    assert cxrd("jobs", "discard", number, cwd=parked).returncode == 0
    assert cxrd("export", "--out", "all.csv", cwd=parked).returncode == 0

    rows = rows_of(parked)[-4:]
    exported = ["data_exported"] * 2
    assert [row.kind for row in rows] == ["job_retried", "job_discarded", *exported]
    assert {row.actor for row in rows} == {current_user()}
    assert rows[2].detail == f"begun, to {parked / 'all.csv'}"
    assert rows[3].detail == f"2 row(s) to {parked / 'all.csv'}"


def test_verify_prints_the_head_and_accepts_it(parked: Path) -> None:
    done = cxrd("audit", "verify", cwd=parked)
    assert done.returncode == 0, done.stderr
    head = done.stdout.split()[-1]
    assert done.stdout == f"{len(rows_of(parked))} row(s), none altered; head {head}\n"
    assert cxrd("audit", "verify", "--head", head, cwd=parked).returncode == 0
    later = f"999:{'0' * 64}"
    assert "are gone" in one_line_of_error(cxrd("audit", "verify", "--head", later, cwd=parked))
    assert "--head" in one_line_of_error(cxrd("audit", "verify", "--head", "x", cwd=parked))


def test_verify_names_the_altered_row(parked: Path) -> None:
    with contextlib.closing(sqlite3.connect(parked / "data" / "cxrd.sqlite")) as database:
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            database.execute("UPDATE audit_events SET actor = 'nobody' WHERE number = 2")
        database.execute("DROP TRIGGER audit_events_keep_update")
        database.execute("UPDATE audit_events SET actor = 'nobody' WHERE number = 2")
        database.commit()
    assert "row 2 was altered" in one_line_of_error(cxrd("audit", "verify", cwd=parked))


def test_the_script_in_the_docs_checks_the_chain(parked: Path) -> None:
    page = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, cwd=parked, check=False).returncode == 0
    with contextlib.closing(sqlite3.connect(parked / "data" / "cxrd.sqlite")) as database:
        database.execute("DROP TRIGGER audit_events_keep_update")
        database.execute("UPDATE audit_events SET actor = 'nobody' WHERE number = 2")
        database.commit()
    broken = subprocess.run(command, cwd=parked, check=False, capture_output=True, text=True)
    assert "AssertionError: row 2" in broken.stderr


def test_the_docs_name_every_kind() -> None:
    page = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    assert [kind for kind in AuditKind if f"`{kind}`" not in page] == []


@pytest.mark.slow
def test_the_trail_covers_the_life_of_a_daemon(
    tmp_path: Path, bundle: Path, pacs: RecordingPacs
) -> None:
    with (
        StreamServer() as syslog,
        RunningDaemon(
            tmp_path / "node",
            bundle,
            pacs.port,
            {"syslog": {"host": HOST, "port": syslog.port, "transport": "tcp"}},
        ) as daemon,
    ):
        daemon.send(film("audited"))
        wait_until(lambda: bool(pacs.of("SR")), "the report came")
        daemon.kill("courier")
        wait_until(lambda: daemon.log.count("courier started") == 2, "the courier is back")
        wait_until(
            lambda: any("object_delivered" in message.xml for message in syslog.received),
            "the syslog server received the delivery",
        )
        assert daemon.stop()[0] == 0
        with daemon.store() as store:
            head = store.audit.verify()
            rows = list(store.audit.rows())

    first = [row.kind for row in rows[:2]]
    assert first == ["configuration_changed", "application_started"]
    assert rows[-1].kind == "application_stopped"
    assert f"the audit trail ends at {rows[1].number}:{rows[1].hash}" in daemon.log
    assert head.number == len(rows)
    found = {row.kind: row for row in rows}
    assert found["association_accepted"].actor == SENDER
    assert found["instance_received"].host == HOST
    assert found["instance_analysed"].outcome == "success"
    assert found["study_reported"].detail.startswith("reported, ")
    assert found["object_delivered"].actor == "pacs"
    assert found["role_failed"].detail == "courier stopped: signal SIGKILL"
    assert "audited" not in "".join(row.subject + row.detail for row in rows)
    for message in syslog.received:
        validated(message.xml)
        assert "audited" not in message.xml
