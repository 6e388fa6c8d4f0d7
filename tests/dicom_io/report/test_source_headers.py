"""Reports on films with odd headers: each report is valid and keeps the patient data."""

import subprocess
import warnings
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_io.gate.header_check import assess
from dicom_io.read.header import read_dataset
from dicom_io.read.image_header import read_image
from dicom_io.report.document import build_report
from tests.builders.images.films import chest_film, file_bytes
from tests.builders.images.odd_headers import CHARACTER_SETS, FAULTY, TYPE_2, VARIANTS, film_of
from tests.builders.objects import report_content, written
from tests.tools.installed import require_tool
from tests.tools.validation import check_readers, new_errors, validate


def report_on(film: bytes, folder: Path) -> Path:
    """Write the report on a film, given as bytes, to a file; return its path."""
    assert assess(read_image(film)).is_eligible
    header = read_dataset(film, with_pixels=False)
    return written(build_report(report_content(header)), folder)


def name_groups(ds: Dataset) -> tuple[str, str, str]:
    """Return the component groups: alphabetic, ideographic, phonetic (PS3.5 6.2.1)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name = ds.PatientName
    return (str(name.alphabetic), str(name.ideographic), str(name.phonetic))


def name_by_dcmtk(path: Path) -> str | None:
    """Return the name in UTF-8 by dcmdump; None if dcmdump does not know the character set."""
    command = [require_tool("dcmdump"), "+U8", "+P", "PatientName", str(path)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    return done.stdout.decode() if done.returncode == 0 else None


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


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_film_with_an_odd_header_gives_a_valid_report(variant: str, tmp_path: Path) -> None:
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


@pytest.mark.parametrize("fault", FAULTY)
def test_a_fault_of_the_identity_is_copied_and_adds_no_error(fault: str, tmp_path: Path) -> None:
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
