"""Every row of the trail becomes a message of PS3.15 A.5.3."""

import csv
import os
import pwd
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from pydantic import SecretStr

from daemon.audit.configuration import record_configuration
from daemon.audit.export import export_csv, export_messages
from daemon.audit.messages import Reporter
from daemon.audit.users import current_user
from daemon.config.peers import PeerConfig
from daemon.config.receivers import Product
from daemon.config.settings import Config
from dicom_io.audit_message import to_xml
from storage.audit.records import AuditHead, AuditKind, AuditOutcome, AuditRow
from storage.audit.trail import Audit
from storage.errors import StorageError, StoreUnavailableError, TrailAlteredError
from storage.records import ReceiptOutcome
from storage.store import Store
from tests.tools.audit_schema import validated
from tests.tools.cli import cxrd, one_line_of_error

REPORTER = Reporter(
    "CXRD",
    "node.example",
    {
        "pacs": PeerConfig(
            name="pacs", ae_title="ARCHIVE", host="10.0.0.4", port=104, receives=(Product.REPORT,)
        )
    },
)
STUDY = "study=1.2.3 instance=1.2.3.4 sop_class=1.2.840.10008.5.1.4.1.1.1.1"
SENT = "study=1.2.3 object=2.25.7 sop_class=1.2.840.10008.5.1.4.1.1.88.34"

ASKED = "study=1.2.3 source=ct destination=pacs"


def row(kind: AuditKind, *, outcome: AuditOutcome = AuditOutcome.SUCCESS, **cells: Any) -> AuditRow:
    values = {"actor": "CT1", "host": "10.0.0.7", "subject": "", "detail": "", **cells}
    return AuditRow(
        number=7,
        recorded_at="2026-03-01T12:00:00.250000Z",
        kind=kind,
        outcome=outcome,
        previous_hash="0" * 64,
        hash="ab" * 32,
        **values,
    )


def message_of(audited: AuditRow, patient_id: str = "") -> ET.Element:
    return validated(to_xml(REPORTER.message(audited, patient_id)))


def event_of(root: ET.Element) -> tuple[str, str, str, list[str]]:
    """Return code, action, outcome, and the codes of the types."""
    event = root.find("EventIdentification")
    assert event is not None
    return (
        event.find("EventID").attrib["csd-code"],  # type: ignore[union-attr]
        event.attrib["EventActionCode"],
        event.attrib["EventOutcomeIndicator"],
        [element.attrib["csd-code"] for element in event.findall("EventTypeCode")],
    )


@pytest.mark.parametrize(
    ("kind", "cells", "expected"),
    [
        (AuditKind.APPLICATION_STARTED, {}, ("110100", "E", "0", ["110120"])),
        (AuditKind.APPLICATION_STOPPED, {}, ("110100", "E", "0", ["110121"])),
        (AuditKind.CONFIGURATION_CHANGED, {}, ("110113", "E", "0", ["110131"])),
        (AuditKind.ASSOCIATION_ACCEPTED, {}, ("110113", "E", "0", ["110126"])),
        (
            AuditKind.INSTANCE_RECEIVED,
            {"subject": STUDY, "detail": "new, revision 1"},
            ("110104", "C", "0", []),
        ),
        (AuditKind.INSTANCE_ANALYSED, {"subject": STUDY}, ("110103", "R", "0", [])),
        (AuditKind.INSTANCE_NOT_ANALYSED, {"subject": STUDY}, ("110103", "R", "0", [])),
        (AuditKind.INSTANCES_REJECTED, {"subject": STUDY}, ("110103", "U", "0", [])),
        (AuditKind.PATIENT_CHANGED, {"subject": "study=1.2.3"}, ("110103", "U", "0", [])),
        (AuditKind.PATIENT_CHANGED, {"subject": "message=7"}, ("110113", "E", "0", [])),
        (AuditKind.STUDY_REPORTED, {"subject": "study=1.2.3"}, ("110103", "R", "0", [])),
        (AuditKind.STUDY_REPORTED, {"subject": SENT}, ("110103", "C", "0", [])),
        (AuditKind.STUDY_HELD, {"subject": "study=1.2.3"}, ("110103", "U", "0", [])),
        (AuditKind.STUDY_RELEASED, {"subject": "study=1.2.3"}, ("110103", "U", "0", [])),
        (AuditKind.REVIEWED, {"subject": STUDY}, ("110103", "U", "0", [])),
        (AuditKind.ANALYSIS_REQUESTED, {"subject": "study=1.2.3"}, ("110103", "R", "0", [])),
        (AuditKind.DELIVERY_REQUESTED, {"subject": ASKED}, ("110102", "E", "0", [])),
        (AuditKind.OBJECT_DELIVERED, {"subject": SENT}, ("110104", "R", "0", [])),
        (AuditKind.COMMITMENT_RECEIVED, {"subject": "study=1.2.3"}, ("110103", "R", "0", [])),
        (AuditKind.COMMITMENT_GIVEN, {"subject": "transaction=7"}, ("110113", "E", "0", [])),
        (AuditKind.JOB_PARKED, {"subject": SENT}, ("110104", "R", "0", [])),
        (AuditKind.JOB_PARKED, {"subject": "job=5 study=1.2"}, ("110103", "R", "0", [])),
        (AuditKind.JOB_PARKED, {"subject": "job=5"}, ("110113", "E", "0", [])),
        (AuditKind.JOB_RETRIED, {}, ("110113", "E", "0", ["110132"])),
        (AuditKind.JOB_DISCARDED, {}, ("110113", "E", "0", ["110132"])),
        (
            AuditKind.ARCHIVE_QUERIED,
            {"subject": "destination=archive", "detail": "keys AccessionNumber; 1 study(ies)"},
            ("110112", "E", "0", []),
        ),
        (AuditKind.RETRIEVAL_ORDERED, {}, ("110113", "E", "0", ["110132"])),
        (AuditKind.RETRIEVAL_STOPPED, {}, ("110113", "E", "0", ["110132"])),
        (AuditKind.DATA_EXPORTED, {"detail": "2 row(s) to /x"}, ("110106", "R", "0", [])),
        (AuditKind.LOGIN, {}, ("110114", "E", "0", ["110122"])),
        (AuditKind.PURGED, {"subject": "study=1.2.3"}, ("110105", "D", "0", [])),
        (AuditKind.PURGED, {}, ("110113", "E", "0", [])),
        (AuditKind.BACKED_UP, {}, ("110113", "E", "0", [])),
        (AuditKind.STORE_MOVED, {}, ("110113", "E", "0", [])),
        (AuditKind.TOKEN_CHANGED, {}, ("110113", "E", "0", [])),
        (AuditKind.SPOOL_ADOPTED, {}, ("110113", "E", "0", [])),
        (AuditKind.AUDIT_EXPORTED, {}, ("110101", "R", "0", [])),
        (AuditKind.SECURITY_ALERT, {"actor": ""}, ("110113", "E", "0", [])),
    ],
)
def test_every_kind_has_the_message_of_the_standard(
    kind: AuditKind, cells: Mapping[str, Any], expected: tuple[str, str, str, list[str]]
) -> None:
    code, action, outcome, types = expected
    audited = row(kind, **cells)
    root = message_of(audited)
    assert event_of(root) == (code, action, outcome, [*types, kind])
    *_, last = root.findall("ParticipantObjectIdentification")
    assert AuditHead.parse(last.findtext("ParticipantObjectName", "")) == AuditHead(7, audited.hash)


@pytest.mark.parametrize(
    ("kind", "indicator"),
    [
        (AuditKind.ASSOCIATION_REFUSED, "4"),
        (AuditKind.LOGIN, "4"),
        (AuditKind.INSTANCE_REFUSED, "8"),
        (AuditKind.JOB_PARKED, "8"),
        (AuditKind.STUDY_HELD, "8"),
        (AuditKind.ROLE_FAILED, "8"),
    ],
)
def test_a_failure_has_its_severity(kind: AuditKind, indicator: str) -> None:
    root = message_of(row(kind, outcome=AuditOutcome.FAILURE, detail="the reason"))
    assert event_of(root)[2] == indicator
    assert root.findtext("EventIdentification/EventOutcomeDescription") == "the reason"


def test_every_kind_has_a_valid_message() -> None:
    for kind in AuditKind:
        for subject in ("", STUDY, SENT, ASKED):
            message_of(row(kind, subject=subject, detail="new, revision 1"))
    message_of(row("of_a_later_version"))  # type: ignore[arg-type]


ACTIONS = {
    ReceiptOutcome.NEW: "C",
    ReceiptOutcome.DUPLICATE: "R",
    ReceiptOutcome.REVISION: "U",
    ReceiptOutcome.KEPT_AGAIN: "C",
    ReceiptOutcome.RENEWED: "U",
}


@pytest.mark.parametrize("receipt", ReceiptOutcome)
def test_a_received_instance_has_the_action_of_its_receipt(receipt: ReceiptOutcome) -> None:
    detail = f"{receipt}, revision 1, sha256 ab"
    root = message_of(row(AuditKind.INSTANCE_RECEIVED, subject=STUDY, detail=detail))
    assert event_of(root)[1] == ACTIONS[receipt]
    sender, receiver = participants(root)
    assert sender == {
        "UserID": "CT1",
        "AlternativeUserID": "AETITLES=CT1",
        "UserIsRequestor": "true",
        "NetworkAccessPointID": "10.0.0.7",
        "NetworkAccessPointTypeCode": "2",
        "role": "110153",
    }
    assert receiver["role"] == "110152"
    assert receiver["UserID"] == "CXRD@node.example"
    study = root.find("ParticipantObjectIdentification")
    assert study is not None
    assert study.attrib["ParticipantObjectID"] == "1.2.3"
    instance = study.find("ParticipantObjectDescription/SOPClass/Instance")
    assert instance is not None
    assert instance.attrib == {"UID": "1.2.3.4"}


def participants(root: ET.Element) -> list[dict[str, Any]]:
    found = []
    for participant in root.findall("ActiveParticipant"):
        roles = [role.attrib["csd-code"] for role in participant.findall("RoleIDCode")]
        found.append({**participant.attrib, "role": ",".join(roles)})
    return found


def test_a_delivery_names_the_destination_and_its_address() -> None:
    own, destination = participants(
        message_of(row(AuditKind.OBJECT_DELIVERED, actor="pacs", host="", subject=SENT))
    )
    assert (own["role"], own["UserIsRequestor"]) == ("110153", "true")
    assert destination == {
        "UserID": "pacs",
        "AlternativeUserID": "AETITLES=ARCHIVE",
        "UserIsRequestor": "false",
        "NetworkAccessPointID": "10.0.0.4",
        "NetworkAccessPointTypeCode": "2",
        "role": "110152",
    }


def test_a_delivery_by_request_names_the_person_and_both_ends() -> None:
    own, destination, person = participants(
        message_of(row(AuditKind.DELIVERY_REQUESTED, actor="alice", subject=ASKED))
    )
    assert (own["role"], own["UserIsRequestor"]) == ("110153", "false")
    assert (destination["UserID"], destination["AlternativeUserID"]) == ("pacs", "AETITLES=ARCHIVE")
    assert (destination["role"], destination["NetworkAccessPointID"]) == ("110152", "10.0.0.4")
    assert (person["UserID"], person["UserIsRequestor"]) == ("alice", "true")
    assert person["NetworkAccessPointID"] == "10.0.0.7"


def test_findings_and_configuration_values_are_not_in_messages(store: Store) -> None:
    analysed = message_of(
        row(AuditKind.INSTANCE_ANALYSED, subject=STUDY, detail="Mass 0.80; model x")
    )
    assert "Mass" not in ET.tostring(analysed, encoding="unicode")

    record_configuration(store.audit, Config())
    record_configuration(store.audit, Config(database_url=SecretStr("sqlite:////elsewhere.db")))
    *_, changed = store.audit.rows()
    root = message_of(changed)
    description = root.findtext("EventIdentification/EventOutcomeDescription")
    assert description == "changed: database_url"
    assert "elsewhere" not in ET.tostring(root, encoding="unicode")


def test_a_given_patient_id_is_an_object() -> None:
    root = message_of(row(AuditKind.INSTANCE_RECEIVED, subject=STUDY, detail="new"), "PID-7")
    _, patient, _ = root.findall("ParticipantObjectIdentification")
    assert patient.attrib["ParticipantObjectID"] == "PID-7"
    assert patient.attrib["ParticipantObjectTypeCodeRole"] == "1"
    assert "PID-7" not in to_xml(REPORTER.message(row(AuditKind.LOGIN), "PID-7"))


def test_the_account_does_not_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "somebody.else")
    monkeypatch.setenv("USER", "somebody.else")
    assert current_user() == pwd.getpwuid(os.getuid()).pw_name

    def no_name(_: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", no_name)
    assert current_user() == str(os.getuid())


def test_the_trail_is_exported_as_csv(parked: Path) -> None:
    with Store.open(f"sqlite:///{parked / 'data' / 'cxrd.sqlite'}", migrate=False) as store:
        store.audit.record(AuditKind.ASSOCIATION_REFUSED, actor="=cmd|'/C calc'!A0")
        count = store.audit.head().number

        done = cxrd("audit", "export", "--out", "trail.csv", cwd=parked)

        assert done.stdout == f"{count + 1} row(s) in trail.csv\n", done.stderr
        with (parked / "trail.csv").open(encoding="utf-8", newline="") as file:
            *_, last, begun = csv.DictReader(file)
        assert last["actor"] == "'=cmd|'/C calc'!A0"
        assert begun["detail"] == f"begun, to {parked / 'trail.csv'}"
        *_, exported = store.audit.rows()
    assert (exported.kind, exported.actor) == ("audit_exported", current_user())
    assert exported.detail == f"{count + 1} row(s) to {parked / 'trail.csv'}"


def test_the_trail_is_exported_as_messages(parked: Path) -> None:
    done = cxrd("audit", "export", "--out", "trail.xml", "--format", "dicom-xml", cwd=parked)
    assert done.returncode == 0, done.stderr
    lines = (parked / "trail.xml").read_text(encoding="utf-8").splitlines()
    assert done.stdout == f"{len(lines)} row(s) in trail.xml\n"
    assert event_of(validated(lines[0]))[0] == "110104"


def test_an_export_of_a_time_span_and_a_failed_export_are_recorded(
    store: Store, tmp_path: Path
) -> None:
    store.audit.record(AuditKind.LOGIN, actor="x")
    future = datetime(2999, 1, 1, tzinfo=UTC)
    assert export_csv(store, tmp_path / "none.csv", future, None) == 0
    assert export_messages(Config(), store, tmp_path / "all.xml", None, future) == 4
    with pytest.raises(StorageError, match="nowhere"):
        export_csv(store, tmp_path / "nowhere" / "x.csv", None, None)
    *_, begun, failed = store.audit.rows()
    assert (begun.outcome, failed.outcome) == ("success", "failure")
    assert begun.detail == f"begun, to {tmp_path / 'nowhere' / 'x.csv'}"
    assert failed.detail.startswith(f"not made, to {tmp_path / 'nowhere' / 'x.csv'}: ")


@pytest.mark.parametrize("command", [["export"], ["audit", "export"]])
def test_an_export_that_cannot_be_recorded_writes_no_file(
    parked: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StoreUnavailableError("the store is busy")

    monkeypatch.setattr(Audit, "record", fail)
    done = cxrd(*command, "--out", "all.csv", cwd=parked)
    assert one_line_of_error(done) == "cxrd: the store is busy"
    assert not (parked / "all.csv").exists()


def test_an_altered_row_fails_the_export_as_messages(store: Store, tmp_path: Path) -> None:
    store.audit.record(AuditKind.LOGIN, actor="x")
    with closing(sqlite3.connect(tmp_path / "cxrd.sqlite")) as database:
        database.execute("DROP TRIGGER audit_events_keep_update")
        database.execute("UPDATE audit_events SET detail = 'y'")
        database.commit()
    with pytest.raises(TrailAlteredError, match="row 1 was altered"):
        export_messages(Config(), store, tmp_path / "all.xml", None, None)
    assert not (tmp_path / "all.xml").exists()
    assert export_csv(store, tmp_path / "all.csv", None, None) == 4
