"""Outcomes of the gate on two public tables of headers, and what decides each outcome.

The tables hold the header values of 7,469 films of Open-i and 26,684 of RSNA. Pixels are not read.
"""

import ast
import csv
import gzip
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.uid import SecondaryCaptureImageStorage

from dicom_io.gate.anatomy import View, anatomy_of
from dicom_io.gate.header_check import assess
from dicom_io.read.image_header import ImageHeader
from tests.conftest import REAL_DATA

_CODE = re.compile(r"\(0008, 010(0|4)\) Code (?:Value|Meaning) +\w\w: '([^']*)'")
_UNREAD = frozenset({"SpecificCharacterSet", "PatientName"})


def run() -> None:
    """Print a table of outcomes for each collection."""
    folder = REAL_DATA / "dicom"
    if not folder.is_dir():
        print(f"no folder of real data at {REAL_DATA}")
        return
    _show("Open-i", (_openi_film(row) for row in _rows(folder / "openi_headers.csv.gz")))
    _show("RSNA", (_rsna_film(row) for row in _rows(folder / "rsna_headers.csv.gz")))


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _show(name: str, films: Iterable[Dataset]) -> None:
    headers = [ImageHeader.of(film) for film in films]
    started = time.perf_counter()
    outcomes = Counter(_outcome(header) for header in headers)
    spent = time.perf_counter() - started
    print(f"{name}: {len(headers)} headers, {1000 * spent / len(headers):.2f} ms each")
    for (outcome, decided), count in sorted(outcomes.items(), key=lambda item: -item[1]):
        print(f"  {outcome:<14} {decided:<34} {count:>6}  {count / len(headers):6.1%}")
    shares = Counter[str]()
    for (_outcome_name, decided), count in outcomes.items():
        shares[decided.split(":")[0]] += count
    print("  " + ", ".join(f"by {how} {n / len(headers):.1%}" for how, n in shares.most_common()))


def _outcome(header: ImageHeader) -> tuple[str, str]:
    """Return the reason, or "analysed", and how the header decided it."""
    verdict, anatomy = assess(header), anatomy_of(header)
    outcome = "analysed" if verdict.reason is None else verdict.reason.value
    source = verdict.detail or anatomy.view_source
    if any(", but " in note for note in verdict.notes):
        return outcome, f"contradiction: {source.split()[0]} decides"
    if verdict.reason is None and anatomy.view is View.UNKNOWN:
        return outcome, "absence: no attribute says the view"
    how = "direction" if source.startswith("PatientOrientation") else "word"
    return outcome, f"{how}: {source.split()[0]}"


def _openi_film(row: Mapping[str, str]) -> Dataset:
    """Return a film with the attributes that a row of Open-i has a column for."""
    film = _film()
    for column, value in row.items():
        keyword = re.sub(r"[^A-Za-z]", "", column.replace("'s", ""))
        if value and dictionary_has_tag(keyword) and keyword not in _UNREAD:
            _set(film, keyword, value)
    # The code's sequence is not a column; the words are those of procedures.
    if row["Code Meaning"].startswith(("Xray ", "CHEST ")):
        film.ProcedureCodeSequence = [_code(row["Code Value"], row["Code Meaning"])]
    return film


def _rsna_film(row: Mapping[str, str]) -> Dataset:
    film = _film()
    film.SOPClassUID = SecondaryCaptureImageStorage
    film.PatientAge = f"{int(row['PatientAge']):03d}Y"
    for keyword in ("Modality", "ConversionType", "BodyPartExamined", "ViewPosition"):
        setattr(film, keyword, row[keyword])
    return film


def _film() -> Dataset:
    film = Dataset()
    film.Rows, film.Columns = 1024, 1024
    film.PixelSpacing = ["0.2", "0.2"]
    film.add_new("PixelData", "OW", b"\0\0")
    return film


def _set(film: Dataset, keyword: str, value: str) -> None:
    kind = dictionary_VR(keyword)
    parts: Any = ast.literal_eval(value) if value.startswith("['") else value
    if kind == "SQ":
        setattr(film, keyword, _codes(value))
    elif kind in {"CS", "LO", "SH", "DA", "AS", "UI", "ST", "LT"}:
        film.add_new(keyword, kind, parts)
    elif keyword in {"Rows", "Columns"}:
        setattr(film, keyword, int(value))


def _codes(printed: str) -> list[Dataset]:
    """Return the code of a sequence that is printed in a column, if it has one."""
    found = dict(_CODE.findall(printed))
    return [_code(found.get("0", ""), found.get("4", ""))] if found else []


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodeMeaning = value, meaning
    return item
