"""A file is recognised by its content; its name decides for damaged content only."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, FileMetaDataset, dcmwrite
from pydicom.dataset import FileDataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from daemon.analyse.reader.film import Refusal
from daemon.analyse.reader.film_file import Form
from daemon.batch.recognise import START_BYTES, recognise
from dicom_io.gate.reasons import Reason
from tests.builders.images.films import chest_film, data_set_bytes, file_bytes

FILM = file_bytes(chest_film())
NAMES = ["film.dcm", "film.IMA", "film", "1.2.840.113", "scan.png", "notes.txt", "x.bin"]


def kind(name: str, content: bytes) -> Form | str:
    """The form of a file, or the kind in the detail of its refusal."""
    found = recognise(name, content[:START_BYTES])
    if isinstance(found, Refusal):
        assert found.reason is Reason.UNSUPPORTED_FILE
        return found.detail
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ],
)
def test_a_dicom_object_is_recognised_whatever_its_name(name: str, syntax: str) -> None:
    assert kind(name, file_bytes(chest_film(syntax=syntax))) is Form.OBJECT


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
@pytest.mark.parametrize("character_set", [None, "ISO_IR 100"])
def test_a_bare_data_set_is_recognised(name: str, syntax: str, character_set: str | None) -> None:
    film = chest_film(syntax=syntax, SpecificCharacterSet=character_set)
    assert kind(name, data_set_bytes(file_bytes(film))) is Form.OBJECT


def test_an_object_without_preamble_is_recognised() -> None:
    assert kind("x", FILM[132:]) is Form.OBJECT


@pytest.mark.parametrize("name", ["film.dcm.gz", "film.gz", "film.dcm", "film"])
def test_a_gzipped_object_is_recognised(name: str) -> None:
    assert kind(name, gzip.compress(FILM)) is Form.PACKED_OBJECT
    assert kind(name, gzip.compress(data_set_bytes(FILM))) is Form.PACKED_OBJECT
    assert kind(name, gzip.compress(b"a letter")) == "a gzip archive without a DICOM object"


def test_a_damaged_gzip_file_is_a_damaged_film_if_its_name_says_so() -> None:
    assert kind("film.dcm.gz", b"\x1f\x8b\x08") is Form.PACKED_OBJECT
    assert kind("notes.txt.gz", b"\x1f\x8b\x08") == "a gzip archive without a DICOM object"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("format_", ["PNG", "JPEG", "TIFF", "BMP", "WEBP", "JPEG2000", "J2K"])
def test_a_picture_is_recognised_whatever_its_name(name: str, format_: str) -> None:
    buffer = io.BytesIO()
    image = Image.fromarray(np.zeros((40, 50), np.uint8))
    if format_ == "J2K":
        image.save(buffer, "JPEG2000", no_jp2=True)
    else:
        image.save(buffer, format_)
    assert kind(name, buffer.getvalue()) is Form.PICTURE


def archive(suffix: str) -> bytes:
    """An archive of a film."""
    buffer = io.BytesIO()
    if suffix == "zip":
        with zipfile.ZipFile(buffer, "w") as zipped:
            zipped.writestr("film.dcm", FILM)
    else:
        with tarfile.open(fileobj=buffer, mode="w") as tarred:
            entry = tarfile.TarInfo("film.dcm")
            entry.size = len(FILM)
            tarred.addfile(entry, io.BytesIO(FILM))
    return buffer.getvalue()


def gif() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((40, 50), np.uint8)).save(buffer, "GIF")
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["a.zip", "film.dcm", "film", "1.2.3"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (archive("zip"), "a ZIP archive"),
        (archive("tar"), "a tar archive"),
        (bz2.compress(FILM), "a bzip2 archive"),
        (lzma.compress(FILM), "an xz archive"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(99), "a 7z archive"),
        (gif(), "a GIF picture"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"\x7fELF" + bytes(99), "a program"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_kinds_are_named_whatever_the_name(name: str, content: bytes, words: str) -> None:
    assert kind(name, content) == words


def test_a_tar_archive_in_gzip_is_an_archive() -> None:
    assert "gzip archive" in str(kind("films.tgz", gzip.compress(archive("tar"))))


@pytest.mark.parametrize("name", ["DICOMDIR", "dicomdir", "list.dcm", "x"])
def test_a_dicomdir_is_no_film(name: str) -> None:
    directory = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=bytes(128))
    directory.FileSetID, directory.DirectoryRecordSequence = "CD", [Dataset()]
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    dcmwrite(buffer, directory, enforce_file_format=True)
    assert "DICOMDIR" in str(kind(name, buffer.getvalue()))


@pytest.mark.parametrize("name", ["README", "readme.txt", "LICENSE", "table.csv", "1.2"])
@pytest.mark.parametrize(
    "content",
    [
        b"A letter.\r\n\tTwo lines.",
        "Röntgenbild".encode(),
        "Röntgenbild".encode("latin-1"),
        "胸部".encode(),
        "letter".encode("utf-16"),
        ("ä" * START_BYTES).encode()[:-1],
    ],
)
def test_text_is_no_film(name: str, content: bytes) -> None:
    assert kind(name, content) == "a text file"


@pytest.mark.parametrize("content", [b"", bytes(range(200)), b"\0" * 500])
def test_the_name_decides_for_unknown_content(content: bytes) -> None:
    for name in ("film.dcm", "film.IMA", "IM000001", "1.2.840.113"):
        assert kind(name, content) is Form.OBJECT
    for name in ("film.png", "film.TIFF", "film.jp2"):
        assert kind(name, content) is Form.PICTURE
    for name in ("film.bin", "Thumbs.db", "a.pptx"):
        assert kind(name, content) == ("a file of an unknown kind" if content else "an empty file")


def test_text_under_the_name_of_a_film_is_a_damaged_film() -> None:
    assert kind("film.dcm", b"<html>404</html>") is Form.OBJECT
    assert kind("film.png", b"<html>404</html>") is Form.PICTURE
