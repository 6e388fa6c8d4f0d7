"""Multipart bodies: read as written by us and by others, cut anywhere, and within limits."""

import email.parser
import email.policy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_io.dicomweb.multipart import (
    DICOM_FILE,
    Limits,
    MultipartReader,
    Part,
    boundary_of,
    media_type,
    new_boundary,
    related,
    written,
    written_size,
)
from dicom_io.errors import MultipartError

TYPE = 'multipart/related; type="application/dicom"; boundary=b'


def read(body: bytes, limits: Limits | None = None, step: int = 1, kind: str = TYPE) -> list[Part]:
    reader = MultipartReader(kind, limits)
    parts = [part for at in range(0, len(body), step) for part in reader.feed(body[at : at + step])]
    reader.finish()
    return parts


def error_of(body: bytes, limits: Limits | None = None, kind: str = TYPE) -> MultipartError:
    with pytest.raises(MultipartError) as caught:
        read(body, limits, kind=kind)
    assert "\n" not in str(caught.value)
    return caught.value


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(max_size=60) | st.sampled_from([b"\r\n", b"\r\n--b", b"--b--", b"\r"])),
    st.integers(1, 200),
)
def test_a_written_body_is_read_as_it_was_wherever_it_is_cut(data: list[bytes], step: int) -> None:
    boundary = new_boundary()
    parts = [Part.of(each, location=f"/instances/{number}") for number, each in enumerate(data)]
    body = b"".join(written(parts, boundary))
    assert len(body) == written_size(parts, boundary)
    assert read(body, step=step, kind=related(DICOM_FILE, boundary)) == parts


def test_another_parser_reads_what_is_written() -> None:
    content = bytes(range(256)).replace(b"\n", b"").replace(b"\r", b"") + b"end"
    boundary = new_boundary()
    kind = related(DICOM_FILE, boundary)
    body = b"".join(written([Part.of(content), Part.of(b"2", location="a/b")], boundary))
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
        b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body
    )
    first, second = message.iter_parts()
    assert first.get_content_type() == DICOM_FILE
    assert first.get_payload(decode=True) == content
    assert (second.get_payload(decode=True), second["Content-Location"]) == (b"2", "a/b")


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b"--b--", []),
        (b"--b\r\n\r\n1\r\n--b--", [b"1"]),
        (b"\r\n--b\r\n\r\n\r\n--b--\r\n", [b""]),
        (b"--b\r\n\r\n--b--\r\n", [b""]),
        (b"preamble\r\n--b \t\r\nA: 1\r\n\r\n1\r\n--b\r\n\r\n2\r\n--b--\r\nepilogue", [b"1", b"2"]),
    ],
)
def test_every_form_that_the_standard_permits_is_read(body: bytes, data: list[bytes]) -> None:
    for step in (1, 2, len(body)):
        assert [part.data for part in read(body, step=step)] == data


def test_headers_are_read_without_their_case() -> None:
    body = b"--b\r\nCONTENT-TYPE: Application/DICOM; transfer-syntax=1.2\r\n\r\n1\r\n--b--"
    (part,) = read(body)
    assert part.media_type.name == DICOM_FILE
    assert part.media_type.parameters == {"transfer-syntax": "1.2"}


@pytest.mark.parametrize(
    "body",
    [b"", b"--b", b"--b\r\nA: 1", b"--b\r\n\r\n1\r\n--", b"--b\r\n\r\n1", b"--b\r\n\r\n1\r\n--b"],
)
def test_a_body_cut_short_is_an_error_and_no_shorter_part(body: bytes) -> None:
    assert "cut short" in str(error_of(body))


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"--bx\r\n\r\n1\r\n--b--", "delimiter is malformed"),
        (b"--b\r\nnone\r\n\r\n1\r\n--b--", "part 1 of the multipart body has a malformed header"),
        (b"--b\r\nA: 1\r\n folded\r\n\r\n1\r\n--b--", "malformed header"),
        (b"--b\r\nA: \x001\r\n\r\n1\r\n--b--", "malformed header"),
        (b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\nMQ==\r\n--b--", "other than binary"),
    ],
)
def test_a_malformed_body_is_an_error(body: bytes, problem: str) -> None:
    error = error_of(body)
    assert problem in str(error)
    assert not error.is_too_large


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("application/dicom", "is not multipart/related"),
        ("", "is not multipart/related"),
        ("multipart/related", "no valid boundary"),
        ('multipart/related; boundary=""', "no valid boundary"),
        ("multipart/related; boundary=\u00e4", "no valid boundary"),
        ("multipart/related; boundary=" + 201 * "b", "longer than 200 bytes"),
    ],
)
def test_a_content_type_without_a_usable_boundary_is_an_error(kind: str, problem: str) -> None:
    assert problem in str(error_of(b"", kind=kind))


def test_a_quoted_boundary_is_read() -> None:
    assert boundary_of('Multipart/Related; boundary="a b;c" ; type="x"') == b"a b;c"
    assert media_type('A/B; C="d"').parameters == {"c": "d"}
    assert media_type("").name == ""


@pytest.mark.parametrize(
    ("limits", "body", "problem"),
    [
        (Limits(part_bytes=4), b"--b\r\n\r\n12345\r\n--b--", "more than 4 bytes in part 1"),
        (Limits(part_bytes=4), b"--b\r\n\r\n" + 99 * b"1", "more than 4 bytes in part 1"),
        (Limits(parts=1), 2 * b"--b\r\n\r\n1\r\n" + b"--b--", "more than 1 parts"),
        (Limits(header_bytes=9), b"--b\r\nA: 12345678\r\n\r\n1\r\n--b--", "header of more than 9"),
        (Limits(header_bytes=9), b"--b\r\n" + 99 * b"A", "header of more than 9"),
        (Limits(header_bytes=9), 99 * b"x", "no delimiter where its first part should start"),
        (Limits(header_bytes=9), b"--b--" + 99 * b"x", "goes on after its last delimiter"),
        (Limits(total_bytes=9), b"--b\r\n\r\n1\r\n--b--", "longer than 9 bytes"),
    ],
)
def test_a_body_beyond_a_limit_is_refused_as_too_large(
    limits: Limits, body: bytes, problem: str
) -> None:
    error = error_of(body, limits)
    assert problem in str(error)
    assert error.is_too_large


def test_a_part_of_exactly_the_limit_is_read() -> None:
    limits = Limits(parts=1, part_bytes=4, header_bytes=8, total_bytes=26)
    assert read(b"--b\r\nA: 12\r\n\r\n1234\r\n--b--", limits)[0].data == b"1234"


def test_an_endless_part_is_held_no_further_than_its_limit() -> None:
    reader = MultipartReader(TYPE, Limits(part_bytes=1000))
    reader.feed(b"--b\r\n\r\n")
    for _ in range(10):
        assert reader.feed(100 * b"1") == []
    with pytest.raises(MultipartError, match="more than 1000 bytes"):
        reader.feed(100 * b"1")
