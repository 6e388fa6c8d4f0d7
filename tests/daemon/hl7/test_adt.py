from datetime import UTC, datetime, timedelta, timezone

import pytest

from daemon.hl7 import charsets
from daemon.hl7.adt import FOLLOWED, NOT_FOLLOWED, MessageRefusedError, Origin, patient_change
from daemon.hl7.grammar import Message
from storage.patients.records import ChangeKind, PatientChange
from tests.daemon.hl7.messages import MERGE, UPDATE, adt

ORIGIN = Origin("adt", "10.0.0.5", ("north", "south"), "HOSP")
CET = timezone(timedelta(hours=1))


def change(data: bytes, origin: Origin = ORIGIN) -> PatientChange | None:
    return patient_change(Message.parsed(charsets.decoded(data)), data, origin)


def changed(data: bytes, origin: Origin = ORIGIN) -> PatientChange:
    found = change(data, origin)
    assert found is not None
    return found


def refusal(data: bytes) -> tuple[str, str, str, int]:
    with pytest.raises(MessageRefusedError) as caught:
        change(data)
    fault = caught.value.fault
    return caught.value.code, fault.condition, fault.segment, fault.field


def test_an_update_is_read() -> None:
    found = changed(adt(*UPDATE))
    assert found == PatientChange(
        kind=ChangeKind.UPDATE,
        event="A08",
        sender="adt",
        control_id="C1",
        sha256=found.sha256,
        sources=("north", "south"),
        event_time=datetime(2026, 11, 27, 10, 13, tzinfo=CET),
        patient_id="P-17",
        issuer="HOSP",
        name="Müller-Lüdenscheid^Jürgen^^Dr^Jr",
        birth_date="19500102",
        sex="M",
        with_unissued=True,
        host="10.0.0.5",
    )
    assert len(found.sha256) == 64


def test_a_merge_is_read() -> None:
    found = changed(adt(*MERGE))
    assert found.kind is ChangeKind.MERGE
    assert (found.patient_id, found.issuer) == ("P-17", "HOSP")
    assert (found.prior_patient_id, found.prior_issuer) == ("P-18", "HOSP")
    assert (found.name, found.birth_date, found.sex) == ("Müller^Jürgen", None, None)
    assert found.event_time == datetime(2026, 11, 27, 10, 14, tzinfo=CET)


@pytest.mark.parametrize(
    ("staying", "ending", "numbers"),
    [
        ("9^^^HOSP^AN~4^^^HOSP", "8^^^HOSP^AN~5^^^HOSP", ("4", "HOSP", "5", "HOSP")),
        ("9^^^STATE~4^^^CITY", "5^^^CITY", ("4", "CITY", "5", "CITY")),
        ("9^^^HOSP~4^^^CITY", "5^^^CITY", ("4", "CITY", "5", "CITY")),
        ("9^^^STATE~4^^^HOSP", "5", ("4", "HOSP", "5", "")),
    ],
)
def test_a_merge_is_of_two_numbers_of_one_authority(
    staying: str, ending: str, numbers: tuple[str, ...]
) -> None:
    found = changed(adt(*MERGE, PID_3=staying, MRG_1=ending))
    assert (
        found.patient_id,
        found.issuer,
        found.prior_patient_id,
        found.prior_issuer,
    ) == numbers


def test_the_same_bytes_have_the_same_digest_and_others_another() -> None:
    assert changed(adt(*UPDATE)).sha256 == changed(adt(*UPDATE)).sha256
    assert changed(adt(*UPDATE)).sha256 != changed(adt(*UPDATE, PID_8="F")).sha256


@pytest.mark.parametrize(
    ("field", "value", "attribute", "read"),
    [
        ("PID_5", "", "name", None),
        ("PID_5", '""', "name", ""),
        ("PID_5", "^^^^^^U", "name", None),
        ("PID_5", 'Doe^Jane^""', "name", "Doe^Jane"),
        ("PID_5", "Doe^Jane^^^^^M~Roe^Jane^^^^^L", "name", "Roe^Jane"),
        ("PID_5", "Yamada^Taro^^^^^L^A~山田^太郎^^^^^L^I", "name", "Yamada^Taro=山田^太郎"),
        ("PID_5", "von Berg&von&Berg^A\\S\\B", "name", "von Berg^A B"),
        ("PID_7", "", "birth_date", None),
        ("PID_7", '""', "birth_date", ""),
        ("PID_7", "195001021130", "birth_date", "19500102"),
        ("PID_7", "1950", "birth_date", None),
        ("PID_7", "19501302", "birth_date", None),
        ("PID_8", "", "sex", None),
        ("PID_8", "U", "sex", None),
        ("PID_8", '""', "sex", ""),
        ("PID_8", "f", "sex", "F"),
        ("PID_8", "A", "sex", "O"),
        ("PID_3", "4^^^&1.2.3&ISO", "issuer", "1.2.3"),
        ("PID_3", "4", "issuer", ""),
        ("PID_3", "9^^^STATE^SS~4^^^OTHER^MR", "patient_id", "4"),
        ("PID_3", "9^^^OTHER^MR~4^^^HOSP^XX", "patient_id", "4"),
        ("PID_3", "9^^^HOSP^AN~4^^^HOSP^MR", "patient_id", "4"),
        ("PID_3", " 4 ^^^HOSP", "patient_id", "4"),
    ],
)
def test_values_of_a_patient(field: str, value: str, attribute: str, read: str | None) -> None:
    assert getattr(changed(adt(*UPDATE, **{field: value})), attribute) == read


def test_films_without_an_issuer_are_of_the_named_authority_only() -> None:
    other = adt(*UPDATE, PID_3="4^^^OTHER")
    assert not changed(other).with_unissued
    assert not changed(adt(*UPDATE), Origin("adt", "h", ("north",))).with_unissued
    assert not changed(adt(*UPDATE, PID_3="4"), Origin("adt", "h", ("north",))).with_unissued


def test_the_time_is_that_of_the_event_else_of_its_record_else_of_the_message() -> None:
    assert changed(adt(*UPDATE, EVN_6="")).event_time == datetime(2026, 11, 27, 10, 14, tzinfo=CET)
    without = adt(*(line for line in UPDATE if not line.startswith("EVN")))
    assert changed(without).event_time == datetime(2026, 11, 27, 10, 15, tzinfo=CET)
    exact = changed(adt(*UPDATE, EVN_6="20261127101300.1234+0000")).event_time
    assert exact == datetime(2026, 11, 27, 10, 13, tzinfo=UTC)
    day = changed(adt(*UPDATE, EVN_6="20261127")).event_time
    assert day == datetime(2026, 11, 27).astimezone()


@pytest.mark.parametrize("event", ["A01", "A03", "A11", "A28", "A99"])
def test_another_event_has_no_effect(event: str) -> None:
    assert change(adt(*UPDATE, MSH_9=f"ADT^{event}")) is None


@pytest.mark.parametrize("event", sorted(NOT_FOLLOWED))
def test_an_event_on_identities_that_is_not_followed_is_refused(event: str) -> None:
    assert refusal(adt(*UPDATE, MSH_9=f"ADT^{event}")) == ("AR", "201", "MSH", 9)


@pytest.mark.parametrize("event", sorted(FOLLOWED))
def test_the_event_may_stand_in_evn_alone(event: str) -> None:
    lines = MERGE if event == "A40" else UPDATE
    found = changed(adt(*lines, MSH_9="ADT", EVN_1=event))
    assert found.event == event


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (adt(*UPDATE, MSH_10=""), ("AR", "101", "MSH", 10)),
        (adt(*UPDATE, MSH_10="C" * 200), ("AR", "102", "MSH", 10)),
        (adt(*UPDATE, PID_3=""), ("AE", "101", "PID", 3)),
        (adt(*UPDATE, PID_3='""^^^HOSP'), ("AE", "101", "PID", 3)),
        (adt(*UPDATE, PID_3="4" * 65), ("AE", "102", "PID", 3)),
        (adt(*UPDATE, PID_3="4\\E\\5"), ("AE", "102", "PID", 3)),
        (adt(*UPDATE, PID_5="A" * 65), ("AE", "102", "PID", 5)),
        (adt(*UPDATE, EVN_6="yesterday"), ("AE", "102", "EVN", 6)),
        (adt(*UPDATE, EVN_6="20261327101300"), ("AE", "102", "EVN", 6)),
        (adt(*UPDATE, EVN_6="20261127101300+9900"), ("AE", "102", "EVN", 6)),
        (adt(*UPDATE, EVN_6="0001"), ("AE", "102", "EVN", 6)),
        (adt(*UPDATE, EVN_6="00010101000000+0500"), ("AE", "102", "EVN", 6)),
        (adt(*UPDATE, EVN_6="", EVN_2="", MSH_7=""), ("AE", "101", "MSH", 7)),
        (adt(*UPDATE[:2]), ("AE", "100", "PID", 0)),
        (adt(*UPDATE, UPDATE[2]), ("AE", "100", "PID", 0)),
        (adt(*MERGE[:3]), ("AE", "100", "MRG", 0)),
        (adt(*MERGE, *MERGE[2:]), ("AE", "100", "PID", 0)),
        (adt(*MERGE, MRG_1=""), ("AE", "101", "MRG", 1)),
        (adt(*MERGE, MRG_1="P-17^^^HOSP"), ("AE", "204", "MRG", 1)),
        (adt(*MERGE, MRG_1="P-17 ^^^HOSP"), ("AE", "204", "MRG", 1)),
    ],
)
def test_a_message_that_is_not_understood_is_refused_by_its_place(
    data: bytes, answer: tuple[str, str, str, int]
) -> None:
    assert refusal(data) == answer
