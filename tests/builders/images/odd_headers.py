"""Films with unusual, incomplete and faulty headers."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
from pydicom.data import get_charset_files
from pydicom.dataset import Dataset

from tests.builders.images.films import chest_film, file_bytes

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

# The two files of which only a sequence is in that character set get names that need it.
NAMES = {
    "chrSQEncoding": "Wang^XiaoDong=王^小東",
    "chrSQEncoding1": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
}


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
