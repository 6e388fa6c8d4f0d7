import contextlib
import struct
import threading
import tracemalloc
import warnings
import zlib
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicom_io.errors import DicomError, NotDicomError
from dicom_io.gate.header_check import assess
from dicom_io.read import bounded_parser as parsing
from dicom_io.read.header import is_uid, items, number, numbers, read_dataset, read_header, text
from dicom_io.read.image_header import ImageHeader, read_image
from dicom_io.read.pixels import display_pixels
from dicom_io.read.warnings_off import suppressed_warnings
from tests.builders.images.films import ROOT, chest_film, data_set_bytes, file_bytes


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ],
    ids=lambda uid: uid.name,
)
def test_a_header_is_read_in_every_encoding(syntax: str, tmp_path: Path) -> None:
    data = file_bytes(chest_film(syntax=syntax, number=7, study=3))
    (tmp_path / "film").write_bytes(data)
    found = read_header(data)
    assert found == read_header(tmp_path / "film")
    assert found.sop_instance_uid == f"{ROOT}.3.1.7"
    assert found.study_instance_uid == f"{ROOT}.3"
    assert found.series_instance_uid == f"{ROOT}.3.1"
    assert found.transfer_syntax_uid == syntax
    assert (found.modality, found.patient_id, found.accession_number) == ("CR", "T1", "A1")
    assert found.study_date == "20240102"


@pytest.mark.parametrize(
    ("character_set", "name", "issuer"),
    [
        ("ISO_IR 6", "Doe^Jane", "HOSP"),
        ("ISO_IR 100", "Müller^Jörg^^Dr.", "HÔPITAL"),
        ("ISO_IR 192", "山田^太郎", "病院"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", "HOSP"),
        ("GB18030", "王^小东", "医院"),
        ("ISO_IR 144", "Люксембург", "БОЛЬНИЦА"),
    ],
)
def test_a_patient_is_read_in_the_character_set_of_the_object(
    character_set: str | list[str], name: str, issuer: str
) -> None:
    film = chest_film(
        SpecificCharacterSet=character_set,
        PatientName=name,
        PatientID=" PAT-1 ",
        IssuerOfPatientID=issuer,
        PatientBirthDate="19700101",
        PatientSex="O",
        ViewPosition="PA",
    )
    header = read_header(file_bytes(film))
    assert (header.patient_name, header.issuer_of_patient_id) == (name, issuer)
    assert (header.patient_id, header.patient_birth_date) == ("PAT-1", "19700101")
    assert (header.patient_sex, header.view_position) == ("O", "PA")


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_neither_preamble_nor_file_meta_is_needed(syntax: str) -> None:
    bare = data_set_bytes(file_bytes(chest_film(syntax=syntax)))
    assert read_header(bare).transfer_syntax_uid == syntax
    assert display_pixels(read_image(bare)).array.max() == 255


def test_absent_attributes_are_empty() -> None:
    found = read_header(file_bytes(chest_film(StudyDate=None, PatientID=None, Modality=None)))
    assert (found.study_date, found.patient_id, found.modality) == ("", "", "")


@pytest.mark.parametrize("junk", [b"", b"\0", b"DICM", b"GIF89a" * 100, b"\xff" * 5000, b"a" * 9])
def test_random_bytes_are_not_dicom(junk: bytes) -> None:
    with pytest.raises(NotDicomError) as caught:
        read_header(junk)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(NotDicomError, match="cannot be read: No such file"):
        read_dataset(tmp_path / "absent.dcm")


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID"])
def test_an_object_without_identity_has_no_header(keyword: str) -> None:
    ds = chest_film()
    ds.add_new(keyword, "UI", "")
    with pytest.raises(NotDicomError):
        read_header(file_bytes_unchecked(ds))


def file_bytes_unchecked(ds: Dataset) -> bytes:
    whole = chest_film()
    start = file_bytes(whole)[: -len(data_set_bytes(file_bytes(whole)))]
    ds.file_meta = whole.file_meta
    return start + data_set_bytes(file_bytes(ds))


def test_a_deflated_bomb_is_refused_while_it_inflates(monkeypatch: pytest.MonkeyPatch) -> None:
    film = file_bytes(chest_film(syntax=DeflatedExplicitVRLittleEndian))
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(b"\0" * 5_000_000) + packer.flush()
    monkeypatch.setattr(parsing, "MAX_INFLATED_BYTES", 1_000_000)
    with pytest.raises(NotDicomError, match="unpacks to more than"):
        read_dataset(film[: -len(data_set_bytes(film))] + bomb)
    assert read_header(film).sop_class_uid


def test_a_damaged_deflated_object_is_refused() -> None:
    film = file_bytes(chest_film(syntax=DeflatedExplicitVRLittleEndian))
    with pytest.raises(NotDicomError, match="damaged"):
        read_header(film[: -len(data_set_bytes(film))] + b"\x07" * 50)


def test_broken_values_count_as_absent() -> None:
    ds = chest_film()
    for tag, raw in ((0x00281050, b"centre"), (0x00281051, b"1\\x")):
        ds.add_new(tag, "OB", raw)
    assert numbers(ds, "WindowCenter") == ()
    assert number(ds, "WindowWidth") is None
    assert text(ds, "StudyDescription") == ""
    assert items(ds, "ViewCodeSequence") == ()
    assert items(ds, "Modality") == ()


def test_several_values_are_joined_as_in_dicom() -> None:
    assert text(chest_film(ImageType=["DERIVED", "PRIMARY"]), "ImageType") == "DERIVED\\PRIMARY"


@pytest.mark.parametrize(
    ("value", "valid"), [("1.2.3", True), ("", False), ("1.2/3", False), ("1" * 65, False)]
)
def test_only_a_valid_uid_counts_as_a_uid(value: str, valid: bool) -> None:
    assert is_uid(value) is valid


def deflated(content: bytes) -> bytes:
    film = file_bytes(chest_film(syntax=DeflatedExplicitVRLittleEndian))
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return film[: -len(data_set_bytes(film))] + packer.compress(content) + packer.flush()


def test_a_bomb_is_inflated_only_until_its_uids() -> None:
    content = data_set_bytes(file_bytes(chest_film(Modality="CR")))
    rest = b"\x00\x70\x01\x00UN\0\0" + struct.pack("<I", 60 << 20) + bytes(60 << 20)
    bomb = deflated(content + rest)
    tracemalloc.start()
    try:
        assert read_header(bomb).modality == "CR"
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize("size", [(1 << 20) - 14, (1 << 20) - 8, 3 << 20])
def test_uids_after_long_elements_are_found_in_a_deflated_object(size: int) -> None:
    before = b"\x08\x00\x01\x00UN\0\0" + struct.pack("<I", size) + bytes(size)
    content = data_set_bytes(file_bytes(chest_film(Modality="CR")))
    assert read_header(deflated(before + content)).modality == "CR"


def test_a_name_in_japanese_does_not_stop_the_parser(data_folder: Path) -> None:
    file = next((data_folder / "dicom" / "real").glob("15_*"))
    assert read_header(file).modality == "CR"
    assert "^" in text(read_dataset(file), "PatientName")


def test_many_threads_restore_the_warning_filters() -> None:
    before = list(warnings.filters)

    def work() -> None:
        for _ in range(200):
            with suppressed_warnings() as caught:
                warnings.warn("hidden", stacklevel=1)
            assert [str(one.message) for one in caught] == ["hidden"]

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


def test_threads_with_suppressed_warnings_do_not_wait_for_each_other() -> None:
    inside, done = threading.Event(), threading.Event()

    def stay() -> None:
        with suppressed_warnings():
            inside.set()
            done.wait(10)

    thread = threading.Thread(target=stay)
    thread.start()
    assert inside.wait(10)
    other = threading.Thread(target=lambda: read_header(file_bytes(chest_film())))
    other.start()
    other.join(5)
    waited = other.is_alive()
    done.set()
    thread.join()
    assert not waited


def test_warnings_of_other_threads_are_not_collected() -> None:
    inside, done = threading.Event(), threading.Event()
    kept: list[warnings.WarningMessage] = []

    def stay() -> None:
        with suppressed_warnings() as caught:
            inside.set()
            done.wait(10)
        kept.extend(caught)

    thread = threading.Thread(target=stay)
    with warnings.catch_warnings(record=True) as shown:
        thread.start()
        assert inside.wait(10)
        warnings.warn("mine", stacklevel=1)
        done.set()
        thread.join()
    assert ([str(one.message) for one in shown], kept) == (["mine"], [])


def walk_through(data: bytes) -> Any:
    """Run every step before the prediction."""
    read_header(data)
    ds = read_dataset(data)
    assess(ImageHeader.of(ds))
    return display_pixels(ImageHeader.of(ds))


def test_malformed_files_raise_only_our_errors(data_folder: Path) -> None:
    files = [path for path in (data_folder / "dicom" / "malformed").rglob("*") if path.is_file()]
    assert len(files) > 300
    for path in files:
        try:
            walk_through(path.read_bytes())
        except DicomError:
            continue


def test_a_film_cut_anywhere_raises_only_our_errors() -> None:
    film = file_bytes(chest_film())
    for end in [*range(0, 1200, 7), len(film) // 2, len(film) - 2]:
        try:
            walk_through(film[:end])
        except DicomError:
            continue
        pytest.fail(f"a film cut at {end} of {len(film)} was read as whole")


def test_a_film_with_any_byte_changed_raises_only_our_errors() -> None:
    film = bytearray(file_bytes(chest_film()))
    for at in range(132, 1100, 3):
        damaged = film.copy()
        damaged[at] ^= 0xFF
        try:
            walk_through(bytes(damaged))
        except DicomError:
            continue


def test_deep_nesting_does_not_overflow_the_stack() -> None:
    ds = data_set_bytes(file_bytes(chest_film()))
    opening = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    film = file_bytes(chest_film())
    with contextlib.suppress(DicomError):
        walk_through(film[: -len(ds)] + ds[: ds.index(b"\xe0\x7f")] + opening * 5000)
