import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from daemon.errors import FhirError
from daemon.fhir.answers import Accepted, RefusedEntryError, read_accepted, read_capability, said
from daemon.fhir.context import private_values
from dicom_io.report.reading.read_values import ReadReport

KINDS = ("Device", "Observation", "DiagnosticReport")
SENT = {"entry": [{"resource": {"resourceType": kind}} for kind in KINDS]}


def answer() -> dict[str, Any]:
    return {
        "resourceType": "Bundle",
        "type": "transaction-response",
        "entry": [
            {"response": {"status": "200 OK", "location": "Device/7/_history/3"}},
            {"response": {"status": "201 Created", "location": "https://a/fhir/Observation/x-1"}},
            {"response": {"status": "201", "location": "DiagnosticReport/9/_history/1"}},
        ],
    }


def read(content: object) -> Accepted:
    return read_accepted(json.dumps(content).encode(), SENT)


def test_a_kept_transaction() -> None:
    accepted = read(answer())
    assert accepted == Accepted("DiagnosticReport/9", created=2, known=1)
    assert str(accepted) == "DiagnosticReport/9, 2 created, 1 known"


def test_a_location_is_not_needed() -> None:
    found = answer()
    del found["entry"][2]["response"]["location"]
    assert read(found).report == "DiagnosticReport"


def _fewer(found: dict[str, Any]) -> None:
    found["entry"].pop()


def _other_type(found: dict[str, Any]) -> None:
    found["type"] = "searchset"


def _other_resource(found: dict[str, Any]) -> None:
    found["entry"][1]["response"]["location"] = "Patient/1/_history/1"


def _no_status(found: dict[str, Any]) -> None:
    found["entry"][1]["response"] = {"status": "yes"}


def _no_response(found: dict[str, Any]) -> None:
    found["entry"][1] = None


def _no_list(found: dict[str, Any]) -> None:
    found["entry"] = {"0": 1}


def _odd_location(found: dict[str, Any]) -> None:
    found["entry"][0]["response"]["location"] = ["Device/7"]


@pytest.mark.parametrize(
    "lie",
    [
        _fewer,
        _other_type,
        _other_resource,
        _no_status,
        _no_response,
        _no_list,
        _odd_location,
    ],
)
def test_an_answer_that_does_not_say_that_all_is_kept(lie: Callable[[Any], None]) -> None:
    found = answer()
    lie(found)
    with pytest.raises(FhirError, match="the answer") as refused:
        read(found)
    assert not isinstance(refused.value, RefusedEntryError)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"resourceType": "Bundle"', b"[" * 100_000, b"\xff\xfe"]
)
def test_a_body_that_is_no_answer(body: bytes) -> None:
    with pytest.raises(FhirError, match="the answer is no"):
        read_accepted(body, SENT)
    with pytest.raises(FhirError, match="the answer is no"):
        read_capability(body)
    assert said(body) == ""


def test_a_refused_part_of_a_kept_transaction() -> None:
    found = answer()
    issue = {"severity": "error", "code": "invalid", "diagnostics": "code P-17 is unknown"}
    outcome = {"resourceType": "OperationOutcome", "issue": [issue]}
    found["entry"][1]["response"] = {"status": "422 Unprocessable", "outcome": outcome}
    with pytest.raises(RefusedEntryError, match=r"HTTP 422\): code … is unknown") as refused:
        read_accepted(json.dumps(found).encode(), SENT, ["P-17"])
    assert refused.value.status == 422


def outcome_of(*issues: dict[str, Any]) -> bytes:
    return json.dumps({"resourceType": "OperationOutcome", "issue": list(issues)}).encode()


def test_errors_of_a_server_in_one_bounded_line() -> None:
    issues: list[dict[str, Any]] = [
        {"severity": "warning", "diagnostics": "not this one"},
        {"severity": "error", "details": {"text": "first\n  fault\x1b[2J"}},
        {"severity": "fatal", "diagnostics": "x" * 5000},
        {"severity": "error", "code": "conflict"},
        {"severity": "error", "diagnostics": "the fourth"},
        {"severity": "error", "diagnostics": 5},
    ]
    line = said(outcome_of(*issues))
    assert line.startswith("first fault [2J; xxx")
    assert line.endswith("…; conflict")
    assert len(line) < 400
    assert "fourth" not in line
    assert "not this one" not in line


def test_errors_of_a_server_do_not_repeat_the_patient(report: ReadReport) -> None:
    private = private_values(replace(report, patient=replace(report.patient, patient_id="P|17")))
    text = (
        'no match for "Patient?identifier=https://a|P%7C17" (P|17), MÜLLER Jürgen, 19500102, '
        "order A-4711 of House"
    )
    line = said(outcome_of({"severity": "error", "diagnostics": text}), private)
    for name in ("17", "ller", "rgen", "1950", "4711", "House"):
        assert name not in line
    assert line.startswith('no match for "Patient?identifier=https://a|…" (…)')


def test_short_values_are_masked_as_words() -> None:
    line = said(outcome_of({"severity": "error", "diagnostics": "id 7 in 2007"}), ["7", ""])
    assert line == "id … in 2007"


def test_the_abilities_of_a_server() -> None:
    statement = {
        "resourceType": "CapabilityStatement",
        "fhirVersion": "5.0.0",
        "software": {"name": "a\nserver"},
        "rest": [{"mode": "server", "interaction": [{"code": "transaction"}]}],
    }
    found = read_capability(json.dumps(statement).encode())
    assert (found.version, found.software, found.takes_transactions) == ("5.0.0", "a server", True)
    for odd in ({"rest": 1, "software": [], "fhirVersion": 5}, {"rest": [1, {"interaction": [2]}]}):
        found = read_capability(json.dumps({**statement, **odd}).encode())
        assert not found.takes_transactions
    with pytest.raises(FhirError, match="no CapabilityStatement"):
        read_capability(outcome_of())
