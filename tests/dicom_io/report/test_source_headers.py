"""Headers as they come: every one makes a valid report that leaves the patient as he was."""

import subprocess
import warnings
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom
import pydicom
import pytest
from pydicom.data import get_charset_files
from pydicom.dataset import Dataset

from dicom_io.gate.header_check import assess
from dicom_io.objects.encode import to_bytes
from dicom_io.read.header import read_dataset
from dicom_io.report.document import build_report
from tests.builders.films import chest_film, file_bytes
from tests.builders.objects import report_content
from tests.dicom_io.report.test_document import dump
from tests.tools.installed import require_tool
from tests.tools.validation import new_errors, validate

CHARACTER_SETS = sorted(get_charset_files("*.dcm"))

# What a film of a character set takes from its file; the rest is a chest film's.
IDENTITY = (
    "SpecificCharacterSet",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "ReferringPhysicianName",
    "RequestedProcedureCodeSequence",
)

# The two files of which only a sequence is in that character set get names that need it.
NAMES = {
    "chrSQEncoding": "Wang^XiaoDong=王^小東",
    "chrSQEncoding1": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
}

TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
)


def film_of(path: str) -> bytes:
    """A chest film with the identity that a file of pydicom has."""
    source, film = pydicom.dcmread(path), chest_film()
    for keyword in IDENTITY:
        if keyword in source:
            film[keyword] = source[keyword]
    name = NAMES.get(Path(path).stem)
    if name is not None:
        film.PatientName = name
    return file_bytes(film)


def report_on(film: bytes, folder: Path) -> Path:
    """The report on a film that came as these bytes, as a file."""
    assert assess(read_dataset(film)).is_eligible
    header = read_dataset(film, with_pixels=False)
    path = folder / "report.dcm"
    path.write_bytes(to_bytes(build_report(report_content(header))))
    return path


def name_groups(ds: Dataset) -> tuple[str, str, str]:
    """The component groups of the name: alphabetic, ideographic, phonetic (PS3.5 6.2.1)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name = ds.PatientName
    return (str(name.alphabetic), str(name.ideographic), str(name.phonetic))


def name_by_dcmtk(path: Path) -> str | None:
    """The name as dcmdump converts it to UTF-8; None where it knows not the character set."""
    command = [require_tool("dcmdump"), "+U8", "+P", "PatientName", str(path)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    return done.stdout.decode() if done.returncode == 0 else None


def check_readers(path: Path, absent: int = 13) -> None:
    """dsrdump and highdicom both read the report, with so many of its findings absent."""
    assert dump(path).count('"Absent"') == absent
    read: Any = highdicom.sr.srread(path)
    outlined = read.content.get_planar_roi_measurement_groups()
    assert len(outlined) + len(read.content.get_image_measurement_groups()) == 14


@pytest.mark.parametrize("source", CHARACTER_SETS, ids=lambda path: Path(path).stem)
def test_a_film_in_any_character_set_keeps_its_name(source: str, tmp_path: Path) -> None:
    film = film_of(source)
    (tmp_path / "film.dcm").write_bytes(film)
    path = report_on(film, tmp_path)
    assert validate(path) == []
    sent, built = pydicom.dcmread(BytesIO(film)), pydicom.dcmread(path)
    assert built.get_item("PatientName").value == sent.get_item("PatientName").value
    assert name_groups(built) == name_groups(sent)
    assert any(name_groups(sent))
    assert str(built.ReferringPhysicianName) == str(sent.ReferringPhysicianName)
    by_dcmtk = name_by_dcmtk(tmp_path / "film.dcm")
    if by_dcmtk is not None:
        assert name_by_dcmtk(path) == by_dcmtk
        assert all(group in by_dcmtk for group in name_groups(sent))
    check_readers(path)


def without(*keywords: str) -> Callable[[Dataset], None]:
    def change(film: Dataset) -> None:
        for keyword in keywords:
            if keyword in film:
                del film[keyword]

    return change


def emptied(*keywords: str) -> Callable[[Dataset], None]:
    def change(film: Dataset) -> None:
        for keyword in keywords:
            film[keyword].value = None

    return change


def named(name: str, character_set: str | list[str] = "ISO_IR 192") -> Callable[[Dataset], None]:
    def change(film: Dataset) -> None:
        film.SpecificCharacterSet = character_set
        film.PatientName = name

    return change


def private(film: Dataset) -> None:
    block = film.private_block(0x0029, "ACME 1.1", create=True)
    block.add_new(0x01, "LO", "Secret^Patient")
    block.add_new(0x02, "OB", b"\0\1")
    block.add_new(0x03, "SQ", [Dataset()])


def odd_request(film: Dataset) -> None:
    item = Dataset()
    item.RequestedProcedureID = ""
    item.ScheduledProcedureStepDescription = "Thorax p.a."
    film.RequestAttributesSequence = [item]
    film.ProcedureCodeSequence = [Dataset()]


VARIANTS: dict[str, Callable[[Dataset], None]] = {
    "without a name": without("PatientName"),
    "without a date": without("StudyDate"),
    "without any": without(*TYPE_2, "SeriesNumber", "InstanceNumber", "Modality", "PixelSpacing"),
    "all empty": emptied(*TYPE_2, "SeriesNumber", "InstanceNumber"),
    "five components": named("Adams^John Robert Quincy^van^Rev.^B.A. M.Div."),
    "five components in three groups": named("Ng^An^B^Dr^MD=伍^安^B^Dr^MD=ウー^アン^B^Dr^MD"),
    "only an ideographic group": named("=王^小東"),
    "only a phonetic group": named("==やまだ^たろう", ["", "ISO 2022 IR 87"]),
    "no character set said": named("Doe^Jane", []),
    "private elements": private,
    "an odd request": odd_request,
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_header_as_it_comes_makes_a_valid_report(variant: str, tmp_path: Path) -> None:
    source = chest_film()
    VARIANTS[variant](source)
    film = file_bytes(source)
    path = report_on(film, tmp_path)
    assert validate(path) == []
    sent, built = pydicom.dcmread(BytesIO(film)), pydicom.dcmread(path)
    for keyword in TYPE_2:
        assert str(built[keyword].value or "") == str(sent.get(keyword) or "")
    assert "ACME" not in str(built)
    check_readers(path)


def over_long(film: Dataset) -> None:
    film.SpecificCharacterSet = "ISO_IR 100"
    film.PatientName = "Müller" * 20
    film.PatientID = "1" * 80
    film.AccessionNumber = "A" * 40
    film.StudyID = "S" * 20
    film.StudyDescription = "Thorax " * 20
    film.ReferringPhysicianName = "House" * 20


FAULTY: dict[str, Callable[[Dataset], None]] = {
    "over-long values": over_long,
    "two names": named("Müller^A\\Meier^B", "ISO_IR 100"),
    # 64 characters may stand in each group (PS3.5 6.2), but dciodvfy counts those of all three.
    "a name long in all groups": named(
        "Yamada^Tarou^Zenkichi^Dr.^MD=山田^太郎^善吉^Dr.^MD=やまだ^たろう^ぜんきち^Dr.^MD"
    ),
}


def every_film() -> Iterator[tuple[str, bytes]]:
    """A name and a film for each of the headers here."""
    for path in CHARACTER_SETS:
        yield Path(path).stem, film_of(path)
    for case, change in (VARIANTS | FAULTY).items():
        film = chest_film()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            change(film)
            data = file_bytes(film)
        yield case, data


@pytest.mark.parametrize("fault", FAULTY)
def test_a_fault_of_the_identity_is_copied_and_nothing_else_is_wrong(
    fault: str, tmp_path: Path
) -> None:
    source = chest_film()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        FAULTY[fault](source)
        film = file_bytes(source)
    (tmp_path / "film.dcm").write_bytes(film)
    path = report_on(film, tmp_path)
    assert new_errors(path, tmp_path / "film.dcm") == []
    sent, built = pydicom.dcmread(BytesIO(film)), pydicom.dcmread(path)
    for keyword in (*TYPE_2, "StudyDescription"):
        if keyword in sent:
            assert built.get_item(keyword).value == sent.get_item(keyword).value
    check_readers(path)
