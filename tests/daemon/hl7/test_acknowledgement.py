from datetime import UTC, datetime

import hl7
import pytest
from hl7apy.v2_5_1.tables import TABLES
from hypothesis import given
from hypothesis import strategies as st

from daemon.errors import Hl7Error
from daemon.hl7.acknowledgement import (
    CONDITIONS,
    Code,
    Fault,
    acknowledgement,
    read_acknowledgement,
)
from daemon.hl7.grammar import Message
from tests.daemon.hl7.messages import UPDATE, adt
from tests.daemon.hl7.strict import strictly_parsed

NOW = datetime(2026, 11, 27, 10, 15, tzinfo=UTC)
HEADER = "MSH|^~\\&|RIS|HOSP|CXRD||20261127101500||ACK|1|P|2.5.1\r"


def read(*segments: str) -> tuple[Code, str, str, bool]:
    found = read_acknowledgement((HEADER + "\r".join(segments)).encode())
    return found.code, found.control_id, found.reason, found.may_pass


@pytest.mark.parametrize(
    ("segments", "reason", "may_pass"),
    [
        (["MSA|AE|4711"], "no error code of HL7 table 0357", False),
        (["MSA|AE|4711", "ERR||PID^1^3|101|E"], "101 required field missing at PID-3", False),
        (["MSA|AE|4711", "ERR||PID|207^x^HL70357"], "207 application internal error at PID", True),
        (["MSA|AR|4711||||206"], "206 application record locked", True),
        (["MSA|AE|4711", "ERR|PID^1^3^103&x&HL70357"], "103 table value not found at PID-3", False),
        (
            ["MSA|AE|4711", "ERR||PID^1^3|101", "ERR|||207"],
            "101 required field missing, 207 application internal error at PID-3",
            False,
        ),
        (["MSA|AE|4711|Doe unknown", "ERR|||E-99^Doe||||Doe"], "no error code", False),
        (["MSA|CR|4711", "ERR||Doe^1^Jane|200"], "200 unsupported message type", False),
        (["MSA|AE|4711", "ERR|||0"], "no error code", False),
    ],
)
def test_the_reason_has_codes_and_place_and_no_text_of_the_receiver(
    segments: list[str], reason: str, may_pass: bool
) -> None:
    code, control_id, found, passing = read(*segments)
    assert code == segments[0][4:6]
    assert control_id == "4711"
    assert found.startswith(reason)
    assert "Doe" not in found
    assert passing is may_pass


@pytest.mark.parametrize("code", list(Code))
def test_an_acknowledgement_is_read_by_its_code(code: Code) -> None:
    found = read(f"MSA|{code}| 4711 ")[0]
    assert found is code
    assert found.accepts is (code in ("AA", "CA"))


@pytest.mark.parametrize(
    "answer", [b"", b"OK", b"MSH|^~\\&|A\rPID|1\r", b"MSH|^~\\&|A\rMSA|ZZ|1\r"]
)
def test_an_answer_that_is_no_acknowledgement_is_an_error(answer: bytes) -> None:
    with pytest.raises(Hl7Error):
        read_acknowledgement(answer)


@given(st.binary(max_size=200))
def test_any_answer_is_an_acknowledgement_or_an_error(data: bytes) -> None:
    try:
        read_acknowledgement(HEADER.encode() + b"MSA|AE|1\r" + data)
    except Hl7Error as error:
        assert "segment" in str(error)  # noqa: PT017 - either outcome is right


def test_an_acknowledgement_is_read_by_two_libraries() -> None:
    received = Message.parsed(adt(*UPDATE).decode())
    fault = Fault("101", "PID-3 has no identifier", "PID", 3)
    data = acknowledgement(received, Code.AE, NOW, fault)
    strict = strictly_parsed(data)
    assert [one.name for one in strict.children] == ["MSH", "MSA", "ERR"]
    assert strict.err.err_2.value == "PID^1^3"
    assert strict.err.err_3.value == "101^required field missing^HL70357"
    answer = hl7.parse(data)
    sides = [str(answer[f"MSH.F{number}"]) for number in (3, 4, 5, 6)]
    assert sides == ["CXRD", "", "ADT", "HOSP"]
    assert answer.extract_field("MSH", 1, 9, 1, 2) == "A08"
    assert [str(one) for one in answer["MSA"][0][1:]] == ["AE", "C1"]
    assert str(answer["ERR.F8"]) == "PID-3 has no identifier"
    own = read_acknowledgement(data)
    assert (own.control_id, own.reason) == ("C1", "101 required field missing at PID-3")


def test_a_message_without_a_header_is_answered_without_its_control_id() -> None:
    data = acknowledgement(None, Code.AR, NOW, Fault("100", "no MSH"))
    assert hl7.parse(data)["MSA"][0][1] == ["AR"]
    assert read_acknowledgement(data).control_id == ""


def test_two_acknowledgements_have_two_control_ids_of_20_characters() -> None:
    received = Message.parsed(adt(*UPDATE).decode())
    data = [acknowledgement(received, code, NOW) for code in (Code.AA, Code.AE)]
    names = {str(hl7.parse(one)["MSH.F10"]) for one in data}
    assert len(names) == 2
    assert {len(name) for name in names} == {20}


def test_characters_outside_ascii_are_replaced_in_an_acknowledgement() -> None:
    received = Message.parsed(adt(*UPDATE, MSH_3="Aufnahme Süd").decode())
    assert b"|Aufnahme S?d|" in acknowledgement(received, Code.AA, NOW)


def test_the_conditions_are_those_of_the_table_of_hl7apy() -> None:
    assert set(CONDITIONS) == set(TABLES["HL70357"][1])
