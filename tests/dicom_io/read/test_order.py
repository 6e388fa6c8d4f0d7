"""The priority of the order of a film: STAT or HIGH, at the top or in a request that it names."""

import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicom_io.read.header import read_header
from dicom_io.read.warnings_off import suppressed_warnings
from tests.builders.images.films import chest_film, file_bytes

SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]


def request(priority: str) -> Dataset:
    item = Dataset()
    item.RequestedProcedureID = "R1"
    with suppressed_warnings():
        item.RequestedProcedurePriority = priority
    return item


def is_urgent(ds: Dataset) -> bool:
    return read_header(file_bytes(ds)).is_urgent


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
def test_an_urgent_order_is_found_in_every_encoding(syntax: str) -> None:
    film = chest_film(syntax=syntax, number=7, study=3)
    assert not is_urgent(film)
    film.RequestedProcedurePriority = "STAT"
    assert is_urgent(film)
    del film.RequestedProcedurePriority
    film.RequestAttributesSequence = Sequence([request("ROUTINE"), request("HIGH")])
    assert is_urgent(film)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("STAT", True),
        ("HIGH ", True),
        ("stat", True),
        ("ROUTINE", False),
        ("MEDIUM", False),
        ("LOW", False),
        ("", False),
        ("STATUS", False),
        ("URGENT PLEASE", False),
    ],
)
def test_only_stat_and_high_are_urgent(value: str, expected: bool) -> None:
    film = chest_film(number=7, study=3)
    with suppressed_warnings():
        film.RequestedProcedurePriority = value
    assert is_urgent(film) is expected


def test_damage_before_the_order_hides_it_and_not_the_film() -> None:
    film = chest_film(number=7, study=3)
    film.RequestedProcedurePriority = "STAT"
    data = file_bytes(film)
    start = data.index(b"\x28\x00\x10\x00US")
    damaged = data[: start + 6] + b"\xff\xff" + data[start + 8 : start + 60]

    header = read_header(damaged)
    assert header.sop_instance_uid == str(film.SOPInstanceUID)
    assert not header.is_urgent
