"""The header of a film under another identity of its patient."""

import pytest
from pydicom.dataset import Dataset

from dicom_io.objects.source_header import (
    Envelope,
    Identity,
    ObjectType,
    PatientIdentity,
    start_object,
    with_patient,
)
from dicom_io.read.image_header import ImageHeader, read_image_header
from tests.builders.images.films import chest_film, file_bytes
from tests.builders.objects import ALGORITHM, NOW, read_back

SR = ObjectType("1.2.840.10008.5.1.4.1.1.88.34", "SR", "report")


def header_of(**attributes: object) -> ImageHeader:
    return read_image_header(file_bytes(chest_film(**attributes)))  # type: ignore[arg-type]


def identity(**changes: str) -> PatientIdentity:
    values = {
        "patient_id": "T1",
        "issuer": "",
        "name": "Test^Film",
        "birth_date": "",
        "sex": "O",
        "key": "1",
    }
    return PatientIdentity(**(values | changes))


def made(header: ImageHeader) -> Dataset:
    envelope = Envelope(header, ALGORITHM, Identity("2.25.1", "2.25.2", 1, 1, NOW))
    return read_back(start_object(envelope, SR))


def test_each_field_of_the_identity_is_written() -> None:
    header = header_of(PatientBirthDate="19500101", PatientBirthTime="101500")
    new = identity(
        patient_id="N1", issuer="HOSPITAL", name="Roe^Jane", birth_date="19510203", sex="F"
    )

    ds = made(with_patient(header, new))

    assert (ds.PatientID, ds.IssuerOfPatientID, str(ds.PatientName)) == (
        "N1",
        "HOSPITAL",
        "Roe^Jane",
    )
    assert (ds.PatientBirthDate, ds.PatientSex) == ("19510203", "F")
    assert "PatientBirthTime" not in ds
    assert header.dataset.PatientID == "T1"


def test_a_deleted_value_is_empty() -> None:
    ds = made(with_patient(header_of(), identity(name="", sex="")))

    assert (str(ds.PatientName), ds.PatientSex) == ("", "")


def test_an_equal_identity_leaves_the_header_as_it_is() -> None:
    header = header_of()

    assert with_patient(header, identity()) is header


@pytest.mark.parametrize(
    ("character_set", "name", "written"),
    [
        ("ISO_IR 100", "Müller^Jörg", "ISO_IR 100"),
        ("ISO_IR 100", "Иванова^Анна", "ISO_IR 192"),
        (None, "Müller^Jörg", "ISO_IR 192"),
        ("ISO_IR 144", "Иванова^Анна", "ISO_IR 144"),
    ],
)
def test_a_name_keeps_its_letters_and_so_do_the_other_texts(
    character_set: str | None, name: str, written: str
) -> None:
    plain = "Thorax" if character_set is None else "Thorax é"
    if character_set == "ISO_IR 144":
        plain = "Грудь"
    header = header_of(SpecificCharacterSet=character_set, StudyDescription=plain)

    ds = made(with_patient(header, identity(name=name)))

    assert (ds.SpecificCharacterSet, str(ds.PatientName)) == (written, name)
    assert ds.StudyDescription == plain


def test_a_backslash_makes_no_second_value() -> None:
    ds = made(with_patient(header_of(), identity(patient_id="A\\B")))

    assert ds.PatientID == "A B"
