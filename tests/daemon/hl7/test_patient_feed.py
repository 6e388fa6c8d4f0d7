from datetime import UTC, datetime
from typing import Any

import hl7
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.config.partners.hl7 import Hl7SenderConfig
from daemon.hl7.acknowledgement import read_acknowledgement
from daemon.hl7.patient_feed import PatientFeed
from daemon.hl7.server import MllpCaller, Refused
from storage.errors import StorageError
from storage.patients.records import Applied, ChangeOutcome, PatientChange
from tests.daemon.hl7.messages import MERGE, UPDATE, adt
from tests.daemon.hl7.strict import strictly_parsed

CALLER = MllpCaller("10.0.0.5", False, None)
PIN = "ab" * 32


class Patients:
    """Applies each message once, like the store; `error` is raised if it is set."""

    def __init__(self) -> None:
        self.changes: list[PatientChange] = []
        self.error: StorageError | None = None

    def apply(self, change: PatientChange) -> Applied:
        if self.error is not None:
            raise self.error
        if change in self.changes:
            return Applied(ChangeOutcome.REPEATED, 2, 1)
        self.changes.append(change)
        return Applied(ChangeOutcome.APPLIED, 2, 1)


class Recorded:
    def __init__(self) -> None:
        self.rows: list[tuple[str, ...]] = []

    def connection(self, reason: str, host: str) -> None:
        self.rows.append((reason, host))

    def message(self, reason: str, sender: str, host: str) -> None:
        self.rows.append((reason, sender, host))


class Site:
    """A feed with its surroundings."""

    def __init__(self, *senders: Hl7SenderConfig) -> None:
        self.patients = Patients()
        self.audit = Recorded()
        self.rung: list[Applied] = []
        self.feed = PatientFeed(
            senders or (sender(),),
            self.patients,
            self.audit,
            self.rung.append,
            lambda: datetime(2026, 11, 27, 10, 15, tzinfo=UTC),
        )

    def answer(self, message: bytes, caller: MllpCaller = CALLER) -> Any:
        data = self.feed.answer(message, caller).data
        assert data is not None
        strictly_parsed(data)
        return hl7.parse(data)

    def code(self, message: bytes, caller: MllpCaller = CALLER) -> str:
        return str(self.answer(message, caller)["MSA.F1"])


def sender(**keys: Any) -> Hl7SenderConfig:
    return Hl7SenderConfig(**({"name": "adt", "hosts": ["10.0.0.5"], "sources": ["north"]} | keys))


@pytest.mark.parametrize("message", [adt(*UPDATE), adt(*MERGE)])
def test_a_change_is_committed_and_acknowledged(message: bytes) -> None:
    site = Site()
    answer = site.answer(message)
    (change,) = site.patients.changes
    assert (change.sender, change.sources, change.host) == ("adt", ("north",), "10.0.0.5")
    assert [str(one) for one in answer["MSA"][0][1:]] == ["AA", change.control_id, "applied"]
    assert len(site.rung) == 1
    assert site.audit.rows == []


def test_a_repeat_is_acknowledged_and_rings_no_bell() -> None:
    site = Site()
    codes = [site.code(adt(*UPDATE)) for _ in range(3)]
    assert codes == ["AA"] * 3
    assert len(site.patients.changes) == len(site.rung) == 1


def test_a_store_that_fails_gets_no_answer_and_the_message_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site = Site()
    site.patients.error = StorageError("the store is locked")
    answer = site.feed.answer(adt(*UPDATE), CALLER)
    assert (answer.data, answer.closes) == (None, True)
    assert "is not answered, so that it comes again: the store is locked" in caplog.text
    site.patients.error = None
    assert site.code(adt(*UPDATE)) == "AA"


def test_an_event_without_effect_is_acknowledged_with_a_remark() -> None:
    site = Site()
    answer = site.answer(adt(*UPDATE, MSH_9="ADT^A01^ADT_A01"))
    assert [str(one) for one in answer["MSA"][0][1:]] == [
        "AA",
        "C1",
        "this event has no effect here",
    ]
    assert site.patients.changes == []


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (adt(*UPDATE, PID_3=""), "AE 101 at PID-3: PID-3 has no identifier"),
        (adt(*UPDATE, MSH_9="ORM^O01^ORM_O01"), "AR 200 at MSH-9: this node reads ADT"),
        (adt(*UPDATE, MSH_9="ADT^A47^ADT_A30"), "AR 201 at MSH-9: this node follows A08"),
        (adt(*UPDATE, MSH_11="T"), "AR 202 at MSH-11: MSH-11 is not P"),
        (adt(*UPDATE, MSH_12="3.0"), "AR 203 at MSH-12: MSH-12 is no version 2"),
        (adt(*UPDATE, charset="latin-1"), "AR 100 at MSH: the message has bytes that are not"),
        (adt(*UPDATE, MSH_18="EBCDIC"), "AR 100 at MSH: MSH-18 names a character set"),
    ],
)
def test_a_refused_message_is_answered_logged_and_recorded_without_its_patient(
    message: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site()
    data = site.feed.answer(message, CALLER).data
    assert data is not None
    acknowledged = read_acknowledgement(data)
    assert acknowledged.code == reason[:2]
    assert acknowledged.control_id == "C1"
    ((recorded, name, host),) = site.audit.rows
    assert recorded.startswith(reason)
    assert (name, host) == ("adt", "10.0.0.5")
    for word in ("Müller", "P-17", "1950"):
        assert word not in caplog.text + recorded + data.decode()
    assert site.patients.changes == []


def test_bytes_without_a_header_are_answered_with_ar() -> None:
    data = Site().feed.answer(b"PID|1||4711\r", CALLER).data
    assert data is not None
    acknowledged = read_acknowledgement(data)
    assert (acknowledged.code, acknowledged.control_id) == ("AR", "")


def test_senders_of_one_host_are_told_apart_by_application_and_facility() -> None:
    site = Site(
        sender(name="north", sending_application="ADT", sending_facility="N", sources=["n"]),
        sender(name="south", sending_application="ADT", sending_facility="S", sources=["s"]),
    )
    assert site.code(adt(*UPDATE, MSH_4="S")) == "AA"
    assert [change.sources for change in site.patients.changes] == [("s",)]
    assert site.code(adt(*UPDATE, MSH_4="W")) == "AR"
    assert site.audit.rows == [
        ("AR 204 at MSH-3: MSH-3 and MSH-4 are not those of a sender of this host", "", "10.0.0.5")
    ]


def test_hosts_and_pinned_certificates_decide_who_may_send() -> None:
    site = Site(sender(certificate_sha256=[PIN]), sender(name="other", hosts=["10.0.0.6"]))
    assert site.feed.admits_host("10.0.0.5")
    assert site.feed.admits_host("::ffff:10.0.0.6")
    assert not site.feed.admits_host("10.0.0.7")
    assert site.feed.admits(MllpCaller("10.0.0.5", True, PIN))
    assert not site.feed.admits(MllpCaller("10.0.0.5", True, "cd" * 32))
    assert not site.feed.admits(CALLER)
    site.feed.refused(Refused.NOT_LISTED, "10.0.0.7")
    assert site.audit.rows == [(Refused.NOT_LISTED, "10.0.0.7")]


def test_the_character_set_of_a_sender_that_names_none() -> None:
    message = adt(*UPDATE, MSH_18="", charset="latin-1")
    site = Site(sender(charset="8859/1"))
    assert site.code(message) == "AA"
    assert site.patients.changes[0].name == "Müller-Lüdenscheid^Jürgen^^Dr^Jr"
    assert Site().code(message) == "AR"


@pytest.mark.parametrize(
    ("accept", "application", "message", "code"),
    [
        ("", "", UPDATE, "AA"),
        ("AL", "", UPDATE, "CA"),
        ("AL", "NE", UPDATE, "CA"),
        ("AL", "AL", UPDATE, "CA"),
        ("NE", "AL", UPDATE, "AA"),
        ("", "AL", UPDATE, "AA"),
        ("NE", "NE", UPDATE, None),
        ("NE", "", UPDATE, None),
        ("ER", "", UPDATE, None),
        ("SU", "", UPDATE, "CA"),
        ("NE", "ER", UPDATE, None),
        ("AL", "", UPDATE[:2], "CE"),
        ("ER", "", UPDATE[:2], "CE"),
        ("SU", "", UPDATE[:2], None),
        ("NE", "AL", UPDATE[:2], "AE"),
    ],
)
def test_the_mode_of_acknowledgement_is_that_of_the_message(
    accept: str, application: str, message: tuple[str, ...], code: str | None
) -> None:
    site = Site()
    answer = site.feed.answer(adt(*message, MSH_15=accept, MSH_16=application), CALLER)
    assert not answer.closes
    found = None if answer.data is None else read_acknowledgement(answer.data).code
    assert found == code
    assert len(site.patients.changes) == (message is UPDATE)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return a message with some bytes replaced, removed or inserted."""
    data = bytearray(adt(*draw(st.sampled_from((UPDATE, MERGE)))))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=6))
    return bytes(data)


@given(st.one_of(damaged(), st.binary(max_size=200)))
def test_any_bytes_are_answered_or_change_a_patient_who_fits_dicom(data: bytes) -> None:
    site = Site()
    answer = site.feed.answer(data, CALLER)
    assert not answer.closes
    if answer.data is not None:
        accepted = read_acknowledgement(answer.data).code.accepts
        assert accepted or site.patients.changes == []
    for change in site.patients.changes:
        assert change.patient_id
        for value in (change.patient_id, change.issuer, change.name or ""):
            assert not set(value) & set("\\\r\n\x00")
            assert all(len(group) <= 64 for group in value.split("="))
        assert change.event_time.tzinfo is not None
