"""A rejection note names a code and the instances that its archive withdraws."""

from dataclasses import replace

import pytest

from dicom_io.errors import NotDicomError
from dicom_io.gate.reasons import rejection_meaning
from dicom_io.gate.rejection_note import Rejection, read_rejection
from dicom_io.read.header import read_dataset, read_header
from tests.builders.images.films import chest_film, file_bytes
from tests.builders.images.rejection_notes import rejection_note

FILMS = [read_header(file_bytes(chest_film(number=number))) for number in (1, 2)]
UIDS = tuple(film.sop_instance_uid for film in FILMS)


@pytest.mark.parametrize("code", ["113001", "113037", "113038", "113039"])
def test_a_note_names_its_code_and_its_films(code: str) -> None:
    found = read_rejection(read_dataset(rejection_note(FILMS, code)))
    assert found == Rejection(code, UIDS)
    assert found is not None
    assert found.detail == f"{code} ({rejection_meaning(code)}): 2 instance(s)"


@pytest.mark.parametrize("place", ["content", "evidence"])
def test_either_place_can_name_the_films(place: str) -> None:
    note = rejection_note(FILMS, in_content=place == "content", in_evidence=place == "evidence")
    assert read_rejection(read_dataset(note)) == Rejection("113001", UIDS)


def test_the_content_decides_where_the_evidence_names_more() -> None:
    ds = read_dataset(rejection_note(FILMS))
    ds.ContentSequence = ds.ContentSequence[:1]
    assert read_rejection(ds) == Rejection("113001", UIDS[:1])


def test_another_title_scheme_or_class_is_no_rejection() -> None:
    ds = read_dataset(rejection_note(FILMS))
    ds.ConceptNameCodeSequence[0].CodingSchemeDesignator = "99LOCAL"
    assert read_rejection(ds) is None
    assert read_rejection(read_dataset(rejection_note(FILMS, "113000"))) is None
    assert read_rejection(chest_film()) is None


def test_a_note_of_many_films_is_read_whole() -> None:
    many = [replace(FILMS[0], sop_instance_uid=f"1.2.3.{number}") for number in range(3000)]
    found = read_rejection(read_dataset(rejection_note(many)))
    assert found is not None
    assert len(found.sop_instance_uids) == 3000


def test_a_note_that_names_no_film_is_an_error() -> None:
    note = rejection_note(FILMS, in_content=False, in_evidence=False)
    with pytest.raises(NotDicomError, match="names no instance"):
        read_rejection(read_dataset(note))
