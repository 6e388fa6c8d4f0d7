"""STOW-RS, QIDO-RS and WADO-RS against servers that answer well, badly and falsely."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import pytest
from pydicom import dcmread

from dicom_io.dicomweb.client import DicomwebClient, Retrieved
from dicom_io.dicomweb.multipart import (
    DICOM_FILE,
    Limits,
    MultipartReader,
    Part,
    related,
    written,
)
from dicom_io.dicomweb.sender import WebResult, WebSender
from dicom_io.errors import DicomwebError, HttpError
from dicom_io.http.client import Endpoint, HttpTimeouts
from dicom_io.objects.classes import REPORT_CLASSES
from dicom_io.objects.encode import to_bytes
from dicom_io.report.document import build_report
from dicom_io.report.older_classes import fallback_uid
from dicom_io.send.store_status import Disposition
from tests.builders.images.films import chest_film, file_bytes
from tests.builders.objects import full_header, report_content
from tests.servers.plain.scripted_http import Answer, ScriptedHttp, answer, scripted_http

pytestmark = pytest.mark.network
FILM = file_bytes(chest_film())
HEAD = dcmread(BytesIO(FILM))
UID, STUDY = str(HEAD.SOPInstanceUID), str(HEAD.StudyInstanceUID)
XML = "application/dicom+xml"
NOT_FOUND = answer("404 Not Found")


@contextmanager
def client(*answers: Answer, always: Answer | None = NOT_FOUND) -> Iterator[tuple[Any, ...]]:
    """Yield a client and its server, which answers so."""
    with scripted_http(*answers, always=always) as script:
        to = Endpoint("PACS", script.url(), timeouts=HttpTimeouts(5.0, 2.0, 10.0))
        with DicomwebClient(to) as opened:
            yield opened, script


def sent(*answers: Answer, data: bytes = FILM) -> WebResult:
    with client(*answers) as (opened, _):
        return WebSender(opened).send(data)


def item(uid: str, **more: int) -> dict[str, Any]:
    tags = {"warning": "00081196", "failure": "00081197"}
    found: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
    return found | {tags[kind]: {"vr": "US", "Value": [value]} for kind, value in more.items()}


def stored(uid: str = UID, **more: int) -> bytes:
    return json.dumps({"00081199": {"vr": "SQ", "Value": [item(uid, **more)]}}).encode()


def failed(reason: int | None, uid: str = UID) -> bytes:
    more = {} if reason is None else {"failure": reason}
    return json.dumps({"00081198": {"vr": "SQ", "Value": [item(uid, **more)]}}).encode()


def native(sequence: str, uid: str, extra: str = "") -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?><NativeDicomModel xmlns='
        '"http://dicom.nema.org/PS3.19/models/NativeDICOM">'
        f'<DicomAttribute tag="{sequence}" vr="SQ"><Item number="1">'
        f'<DicomAttribute tag="00081155" vr="UI"><Value number="1">{uid}</Value></DicomAttribute>'
        f"{extra}</Item></DicomAttribute></NativeDicomModel>"
    ).encode()


def native_number(tag: str, value: int) -> str:
    return f'<DicomAttribute tag="{tag}" vr="US"><Value number="1">{value}</Value></DicomAttribute>'


FAILED_IN_XML = native("00081198", UID, native_number("00081197", 0xA700))


def test_a_store_request_holds_the_file_as_one_part() -> None:
    with client(answer("200 OK", stored())) as (opened, script):
        WebSender(opened).send(FILM)
    (request,) = script.requests
    assert request.line == "POST /dicom-web/studies HTTP/1.1"
    assert 'type="application/dicom"' in request.headers["content-type"]
    (part,) = MultipartReader(request.headers["content-type"]).feed(request.body)
    assert (part.media_type.name, part.data) == (DICOM_FILE, FILM)


@pytest.mark.parametrize(
    ("said", "status", "text"),
    [
        (answer("200 OK", stored()), 0x0000, "HTTP 200"),
        (answer("200 OK", b"[" + stored() + b"]"), 0x0000, "HTTP 200"),
        (answer("202 Accepted", stored(warning=0xB000)), 0xB000, "HTTP 202, warning 0xB000"),
        (answer("200 OK", stored(warning=7)), 0x0000, "HTTP 200"),
        (answer("409 Conflict", failed(0x0111)), 0x0111, "HTTP 409, failure reason 0x0111"),
        (answer("409 Conflict", failed(45070)), 0x0111, "HTTP 409, failure reason 0x0111"),
        (answer("200 OK", native("00081199", UID), XML), 0x0000, "HTTP 200"),
    ],
)
def test_what_the_server_has_is_delivered(said: bytes, status: int, text: str) -> None:
    found = sent(said)
    assert (found.result.disposition, found.result.status) == (Disposition.DELIVERED, status)
    assert (found.answer, found.result.sop_instance_uid) == (text, UID)


@pytest.mark.parametrize(
    ("said", "disposition", "status"),
    [
        (answer("409 Conflict", failed(0xA700)), Disposition.RETRY, 0xA700),
        (answer("202 Accepted", failed(0xA701)), Disposition.RETRY, 0xA701),
        (answer("200 OK", failed(0x0110)), Disposition.RETRY, 0x0110),
        (answer("409 Conflict", failed(None)), Disposition.RETRY, 0x0110),
        (answer("409 Conflict", failed(-1)), Disposition.RETRY, 0x0110),
        (answer("409 Conflict", failed(2**64)), Disposition.RETRY, 0x0110),
        (answer("503 Busy", failed(0xA700)), Disposition.RETRY, 0xA700),
        (answer("500 Oops", b"<html>", "text/html"), Disposition.RETRY, 0x0110),
        (answer("507 Full"), Disposition.RETRY, 0xA700),
        (answer("409 Conflict", FAILED_IN_XML, XML), Disposition.RETRY, 0xA700),
        (answer("409 Conflict", failed(0xA900)), Disposition.PARK, 0xA900),
        (answer("409 Conflict", failed(0xC122)), Disposition.PARK, 0xC122),
        (answer("409 Conflict", failed(0x0122)), Disposition.PARK, 0x0122),
        (answer("400 Bad Request", b"{", "application/json"), Disposition.PARK, None),
        (answer("409 Conflict"), Disposition.PARK, None),
        (answer("413 Too Large"), Disposition.PARK, None),
        (answer("415 Unsupported"), Disposition.PARK, None),
    ],
)
def test_what_the_server_refuses_is_retried_or_parked_by_its_reason(
    said: bytes, disposition: Disposition, status: int | None
) -> None:
    found = sent(said).result
    assert (found.disposition, found.status) == (disposition, status)
    assert UID not in found.detail
    assert found.detail
    assert "\n" not in found.detail


@pytest.mark.parametrize(
    "said",
    [
        answer("200 OK"),
        answer("204 No Content"),
        answer("200 OK", b"{}"),
        answer("200 OK", b"<html>Welcome</html>", "text/html"),
        answer("200 OK", stored("1.2.3")),
        answer("200 OK", failed(0xA700, "1.2.3")),
        answer("200 OK", b'{"00081199": {"Value": [7, null, {"00081155": {"Value": 5}}]}}'),
        answer("200 OK", b'{"00081199": 7}'),
        answer("200 OK", native("00081199", "1.2.3"), XML),
    ],
)
def test_an_answer_that_does_not_name_the_object_is_checked_by_a_query(said: bytes) -> None:
    found = sent(said).result
    assert (found.disposition, found.status, found.is_unmatched) == (
        Disposition.RETRY,
        None,
        True,
    )
    held = answer("200 OK", json.dumps([{"00080018": {"vr": "UI", "Value": [UID]}}]).encode())
    with client(said, held) as (opened, script):
        found = WebSender(opened).send(FILM).result
    assert (found.disposition, found.status) == (Disposition.DELIVERED, 0x0111)
    asked = f"GET /dicom-web/studies/{STUDY}/instances?SOPInstanceUID={UID}&limit=1 HTTP/1.1"
    assert script.requests[1].line == asked


@pytest.mark.parametrize("said", [answer("409 Conflict"), answer("409 Conflict", failed(0x0110))])
def test_a_conflict_over_an_object_that_the_server_holds_is_a_duplicate(said: bytes) -> None:
    held = answer("200 OK", json.dumps([{"00080018": {"vr": "UI", "Value": [UID]}}]).encode())
    found = sent(said, held).result
    assert (found.disposition, found.status) == (Disposition.DELIVERED, 0x0111)


def test_another_uid_with_a_warning_is_the_uid_under_which_it_is_kept() -> None:
    found = sent(answer("200 OK", stored("1.2.3", warning=0xB000))).result
    assert (found.disposition, found.coerced_uid) == (Disposition.DELIVERED, "1.2.3")


@pytest.mark.parametrize(
    ("said", "problem", "retryable"),
    [
        (answer("401 Unauthorized"), "refuses the token", False),
        (answer("403 Forbidden"), "refuses the request", False),
        (answer("404 Not Found"), "has nothing at /studies below url; check the path", False),
        (answer("405 Not Allowed"), "check the path in url", False),
        (answer("429 Too Many Requests", Retry_After="7"), "HTTP 429", True),
        (answer("503 Service Unavailable", Retry_After="7"), "HTTP 503", True),
        (answer("502 Bad Gateway", b"<html>", "text/html"), "HTTP 502", True),
        (answer("302 Found", Location="http://127.0.0.1:1/"), "redirect", False),
        (answer("200 OK", b'{"0008'), "not JSON or was cut short", True),
        (answer("200 OK", 100_000 * b"["), "not JSON", True),
        (answer("200 OK", b"[7]"), "not DICOM JSON", True),
        (answer("200 OK", b"<a>", XML), "not XML", True),
        (answer("200 OK", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", XML), "not XML", True),
        (answer("200 OK", bytes((1 << 20) + 1)), "more than 1048576 bytes", True),
    ],
)
def test_a_server_that_fails_as_a_whole_raises(said: bytes, problem: str, retryable: bool) -> None:
    with pytest.raises(HttpError) as caught:
        sent(said)
    assert problem in str(caught.value)
    assert caught.value.retryable is retryable
    assert caught.value.retry_after == (7.0 if b"Retry-After: 7" in said else None)


def test_a_report_is_sent_in_an_older_class_and_the_refusal_is_remembered() -> None:
    report = to_bytes(build_report(report_content(full_header())))
    uid = str(dcmread(BytesIO(report)).SOPInstanceUID)
    older = fallback_uid(uid, REPORT_CLASSES[1])
    refused = answer("409 Conflict", failed(0x0122, uid))
    taken = answer("200 OK", stored(older))
    with client(refused, taken, taken) as (opened, script):
        sender = WebSender(opened)
        first, second = sender.send(report).result, sender.send(report).result
    assert first == second
    assert (first.disposition, first.sop_instance_uid) == (Disposition.DELIVERED, older)
    assert first.sop_class_uid == REPORT_CLASSES[1]
    assert len(script.requests) == 3
    assert script.requests[1].body.count(older.encode()) > 0


def test_a_report_whose_every_class_is_refused_is_parked() -> None:
    report = to_bytes(build_report(report_content(full_header())))
    uid = str(dcmread(BytesIO(report)).SOPInstanceUID)
    uids = [fallback_uid(uid, sop_class) for sop_class in REPORT_CLASSES]
    answers = [answer("409 Conflict", failed(0x0122, each)) for each in (*uids, uid)]
    found = sent(*answers, data=report).result
    assert (found.disposition, found.status) == (Disposition.PARK, 0x0122)


def test_what_is_not_dicom_is_parked_and_not_sent() -> None:
    with client() as (opened, script):
        assert WebSender(opened).send(b"none").result.disposition is Disposition.PARK
    assert script.requests == []


def page(*uids: str) -> bytes:
    return answer(
        "200 OK", json.dumps([{"0020000D": {"vr": "UI", "Value": [uid]}} for uid in uids]).encode()
    )


def found(*answers: Answer, most: int = 100, size: int = 2) -> tuple[list[str], ScriptedHttp]:
    with client(*answers) as (opened, script):
        matches = opened.search(
            "studies", {"StudyDate": "20240101-"}, fields=["PatientID"], page=size, most=most
        )
        return [match["0020000D"]["Value"][0] for match in matches], script


def test_a_query_is_read_page_by_page_until_nothing_new_comes() -> None:
    uids, script = found(page("1", "2"), page("3"), answer("204 No Content"))
    assert uids == ["1", "2", "3"]
    first, _, last = (request.target for request in script.requests)
    fixed = "/dicom-web/studies?StudyDate=20240101-&includefield=PatientID&limit=2"
    assert first == f"{fixed}&offset=0"
    assert last == f"{fixed}&offset=3"


@pytest.mark.parametrize(
    "answers",
    [
        [page("1", "2", "3"), page("1", "2", "3")],  # neither limit nor offset
        [page("1", "2"), page("2", "3"), answer("200 OK", b"[]")],  # pages that overlap
    ],
)
def test_each_match_is_given_once_by_a_server_that_pages_badly(answers: list[bytes]) -> None:
    assert found(*answers)[0] == ["1", "2", "3"]


def test_a_query_ends_at_the_most_matches() -> None:
    pages = [page(str(number)) for number in range(6)]
    with pytest.raises(DicomwebError, match="more than 5 matches; narrow the query"):
        found(*pages, most=5)


@pytest.mark.parametrize(
    ("said", "problem", "retryable"),
    [
        (answer("400 Bad Request"), "HTTP 400", False),
        (answer("401 Unauthorized"), "refuses the token", False),
        (answer("500 Oops"), "HTTP 500", True),
        (answer("200 OK", b"[{"), "cut short", True),
    ],
)
def test_a_query_that_fails_raises(said: bytes, problem: str, retryable: bool) -> None:
    with pytest.raises(DicomwebError) as caught:
        found(said)
    assert problem in str(caught.value)
    assert caught.value.retryable is retryable


def related_answer(*data: bytes, kind: str = DICOM_FILE, status: str = "200 OK") -> bytes:
    body = b"".join(written([Part.of(each, kind) for each in data], "b"))
    return answer(status, body, related(kind, "b"))


def retrieved(
    *answers: Answer, limits: Limits | None = None, keep: Callable[[bytes], object] | None = None
) -> tuple[Retrieved, list[bytes]]:
    kept: list[bytes] = []
    with client(*answers) as (opened, _):
        return opened.retrieve(keep or kept.append, STUDY, limits=limits), kept


def test_instances_are_given_one_by_one_as_they_were_kept() -> None:
    with client(related_answer(FILM, b"2")) as (opened, script):
        kept: list[bytes] = []
        assert opened.retrieve(kept.append, "1", "2", "3") == Retrieved(2, True)
    assert kept == [FILM, b"2"]
    (request,) = script.requests
    assert request.target == "/dicom-web/studies/1/series/2/instances/3"
    assert request.headers["accept"] == (
        'multipart/related; type="application/dicom"; transfer-syntax=*'
    )


@pytest.mark.parametrize(
    ("said", "result", "data"),
    [
        (answer("200 OK", FILM, DICOM_FILE), Retrieved(1, True), [FILM]),
        (answer("204 No Content"), Retrieved(0, True), []),
        (related_answer(FILM, status="206 Partial Content"), Retrieved(1, False), [FILM]),
    ],
)
def test_other_forms_of_an_answer_are_read(
    said: bytes, result: Retrieved, data: list[bytes]
) -> None:
    assert retrieved(said) == (result, data)


@pytest.mark.parametrize(
    ("said", "problem", "retryable"),
    [
        (NOT_FOUND, "does not hold what was asked for, or url has a wrong path", False),
        (answer("406 Not Acceptable"), "HTTP 406", False),
        (answer("503 Busy"), "HTTP 503", True),
        (answer("200 OK", b"<html>", "text/html"), "the body is not multipart/related", True),
        (
            related_answer(b"{}", kind="application/json"),
            "part 1 .* is not application/dicom",
            True,
        ),
        (related_answer(b"12345"), "more than 4 bytes in part 1", False),
        (answer("200 OK", b"--b\r\n\r\n1", related(DICOM_FILE, "b")), "cut short", True),
    ],
)
def test_a_retrieval_that_fails_raises(said: bytes, problem: str, retryable: bool) -> None:
    with pytest.raises(DicomwebError, match=problem) as caught:
        retrieved(said, limits=Limits(part_bytes=4))
    assert caught.value.retryable is retryable


def test_instances_before_a_break_are_given() -> None:
    whole = related_answer(FILM, FILM)
    kept: list[bytes] = []
    with pytest.raises(HttpError, match="before its answer was complete"):
        retrieved(lambda connection: connection.sendall(whole[:-100]), keep=kept.append)
    assert kept == [FILM]


def test_an_error_of_the_receiver_is_raised() -> None:
    def full(_: bytes) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        retrieved(related_answer(FILM), keep=full)
