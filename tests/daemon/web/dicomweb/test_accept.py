"""What a caller accepts, as real clients word it."""

import pytest

from daemon.web.dicomweb.accept import (
    ANY,
    EXPLICIT,
    takes_json,
    wanted_bytes,
    wanted_files,
    wanted_picture,
)

DICOM = 'multipart/related; type="application/dicom"'


@pytest.mark.parametrize(
    ("accept", "syntaxes", "is_single"),
    [
        ("", {ANY}, False),
        ("*/*", {ANY}, False),
        (DICOM, {EXPLICIT}, False),
        ("multipart/related;type=application/dicom", {EXPLICIT}, False),
        ("multipart/related", {EXPLICIT}, False),
        (f"{DICOM}; transfer-syntax=*", {ANY}, False),
        (
            f"{DICOM}; transfer-syntax=1.2.840.10008.1.2.4.90;q=0.5, {DICOM}",
            {EXPLICIT, "1.2.840.10008.1.2.4.90"},
            False,
        ),
        ("application/dicom; transfer-syntax=*", {ANY}, True),
    ],
)
def test_the_form_of_files(accept: str, syntaxes: set[str], is_single: bool) -> None:
    wanted = wanted_files(accept, one_instance=True)
    assert wanted is not None
    assert (set(wanted.syntaxes), wanted.is_single) == (syntaxes, is_single)


@pytest.mark.parametrize(
    "accept",
    [
        "application/dicom+json",
        'multipart/related; type="application/octet-stream"',
        f"{DICOM};q=0",
        "image/jpeg, text/html",
        "no media type",
    ],
)
def test_a_caller_that_wants_no_files(accept: str) -> None:
    assert wanted_files(accept, one_instance=True) is None


def test_a_study_is_no_single_file() -> None:
    assert wanted_files("application/dicom", one_instance=False) is None


@pytest.mark.parametrize(
    ("accept", "takes"),
    [
        ("application/dicom+json", True),
        ("application/json", True),
        ("text/html, */*;q=0.1", True),
        ("application/dicom+xml", False),
        ('multipart/related; type="application/dicom+xml"', False),
        ("application/dicom+json;q=0", False),
    ],
)
def test_json(accept: str, takes: bool) -> None:
    assert takes_json(accept) is takes


def test_bytes_and_pictures() -> None:
    octets = "application/octet-stream"
    assert wanted_bytes(f'multipart/related; type="{octets}"', (octets,)) == octets
    assert wanted_bytes(DICOM, (octets,)) is None
    assert wanted_bytes("*/*", (octets,)) == octets
    assert wanted_picture("image/jpeg, image/png;q=0.5", ("image/png",)) == "image/png"
    assert wanted_picture("image/jpeg", ("image/png",)) is None
