"""`final_clinical_report.csv`: appends a row per image, and reads rows back.

A row is one line of the file, so the rest of an interrupted last row can be cut off exactly.
"""

import csv
import fcntl
import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import BinaryIO, Self

from cxr_model.findings import LABELS, NO_FINDING
from daemon.errors import UsageError
from dicom_io.gate.reasons import Reason
from dicom_io.objects.algorithm import Algorithm
from storage.files.csv_file import neutralise
from storage.files.durable import storage_errors

REPORT_FILE = "final_clinical_report.csv"
THRESHOLDS_FILE = "final_clinical_report.thresholds.csv"
DASHBOARD_FILE = "dashboard.html"
HEATMAP_FOLDER = "heatmaps"
THUMBNAIL_FOLDER = "thumbnails"
OUTPUT_FILES = (REPORT_FILE, THRESHOLDS_FILE, DASHBOARD_FILE)
"""The files that a run writes beside its folders of pictures."""
OUTPUT_FOLDERS = frozenset({HEATMAP_FOLDER, THUMBNAIL_FOLDER})

_COLUMNS_0_1 = (
    "Image_ID",
    *LABELS,
    "Clinical_Summary",
    "Status",
    "Reason",
    "Detail",
    "Heatmaps",
    "Model",
    "Model_SHA256",
    "Intended_Use",
)
"""The columns of version 0.1; a report keeps the columns that it was begun with."""
IDENTIFIERS = ("PatientID", "StudyInstanceUID", "SOPInstanceUID", "AccessionNumber")
_PRESENT = tuple(f"{label}_Present" for label in LABELS)
HEADER = ("ViewPosition", "PatientSex", "PatientAge")
"""Attributes of the header that group the films of the dashboard."""
_COLUMNS_0_2 = (*_COLUMNS_0_1, *IDENTIFIERS, *_PRESENT)
_COLUMNS_0_2_WITHOUT_IDENTIFIERS = (*_COLUMNS_0_1, *_PRESENT)
COLUMNS = (*_COLUMNS_0_2, *HEADER)
COLUMNS_WITHOUT_IDENTIFIERS = (*_COLUMNS_0_2_WITHOUT_IDENTIFIERS, *HEADER)
_WITH_IDENTIFIERS = (COLUMNS, _COLUMNS_0_2, _COLUMNS_0_1)
_WITHOUT_IDENTIFIERS = (
    COLUMNS_WITHOUT_IDENTIFIERS,
    _COLUMNS_0_2_WITHOUT_IDENTIFIERS,
    _COLUMNS_0_1,
)
"""The layouts of a report, that of this version first; a report keeps its layout."""
_LAYOUTS = frozenset({*_WITH_IDENTIFIERS, *_WITHOUT_IDENTIFIERS})
UNREADABLE = frozenset(
    {
        Reason.UNREADABLE_OBJECT,
        Reason.UNDECODABLE_PIXELS,
        Reason.DECODER_FAILED,
        Reason.ANALYSIS_FAILED,
    }
)
"""Reasons of files that could not be read, as opposed to images that are no frontal chest film."""


class State(Enum):
    """The four results of a file."""

    ANALYSED = auto()
    REFUSED = auto()
    UNREADABLE = auto()
    UNSUPPORTED = auto()


_ANALYSED, _NOT_ANALYSED = "analysed", "not_analysed"
_BLOCK = 1 << 16
# The names of the files may have the separator of the cell, "; ".
_HEATMAP = re.compile(rf"({HEATMAP_FOLDER}/.+?\.(?:{'|'.join(LABELS)})\.png)(?:; |$)")


@dataclass(frozen=True, slots=True)
class Row:
    """A file with its calibrated probabilities in the order of `LABELS`, or a refusal reason.

    `identifiers` are in the order of `IDENTIFIERS`, `header` in that of `HEADER`; both are empty
    for a file without a header.
    """

    image_id: str
    probabilities: tuple[float, ...] = ()
    summary: str = ""
    heatmaps: tuple[str, ...] = ()
    reason: Reason | None = None
    detail: str = ""
    identifiers: tuple[str, ...] = ()
    header: tuple[str, ...] = ()

    @property
    def state(self) -> State:
        """The result of the file."""
        if self.reason is None:
            return State.ANALYSED
        if self.reason is Reason.UNSUPPORTED_FILE:
            return State.UNSUPPORTED
        return State.UNREADABLE if self.reason in UNREADABLE else State.REFUSED

    @property
    def ranked(self) -> tuple[str, ...]:
        """Labels in the order of the summary. The probabilities are rounded and could differ."""
        if self.reason is not None or self.summary == NO_FINDING:
            return ()
        return tuple(part.partition(" ")[0] for part in self.summary.split("; "))

    @property
    def present(self) -> frozenset[str]:
        """Labels that the summary names."""
        return frozenset(self.ranked)

    def cells(self, algorithm: Algorithm, columns: Sequence[str] = COLUMNS) -> list[str]:
        """Return the row as text, in the order of `columns`."""
        is_analysed = self.reason is None
        cells = dict.fromkeys(columns, "") | {
            "Image_ID": self.image_id,
            "Clinical_Summary": self.summary if is_analysed else f"Not analysed: {self.reason}",
            "Status": _ANALYSED if is_analysed else _NOT_ANALYSED,
            "Reason": self.reason or "",
            "Detail": self.detail,
            "Heatmaps": "; ".join(self.heatmaps),
            "Model": f"{algorithm.name} {algorithm.version}",
            "Model_SHA256": algorithm.sha256,
            "Intended_Use": algorithm.intended_use,
        }
        cells |= zip(IDENTIFIERS, self.identifiers, strict=False)
        cells |= zip(HEADER, self.header, strict=False)
        if is_analysed:
            cells |= zip(LABELS, (f"{value:.6f}" for value in self.probabilities), strict=True)
            present = self.present
            cells |= zip(_PRESENT, (str(int(label in present)) for label in LABELS), strict=True)
        return [cell(cells[name]) for name in columns]

    @classmethod
    def parse(cls, cells: dict[str, str]) -> Self:
        """Read a row back. Raises ValueError for a malformed row."""
        if cells["Status"] == _NOT_ANALYSED:
            reason = Reason(cells["Reason"])
            return cls(cells["Image_ID"], reason=reason, detail=cells["Detail"])
        if cells["Status"] != _ANALYSED:
            raise ValueError(f"an unknown status {cells['Status']!r}")
        return cls(
            cells["Image_ID"],
            tuple(float(cells[label]) for label in LABELS),
            cells["Clinical_Summary"],
            tuple(_HEATMAP.findall(cells["Heatmaps"])),
            detail=cells["Detail"],
            identifiers=tuple(cells.get(name, "") for name in IDENTIFIERS),
            header=tuple(cells.get(name, "") for name in HEADER),
        )


def one_line(text: str) -> str:
    """Return the text without line breaks and control characters."""
    return "".join(char if char.isprintable() else " " for char in text)


def cell(text: str) -> str:
    """Return the text as a cell of the report: on one line, and neutralised for spreadsheets."""
    return neutralise(one_line(text))


def read_rows(path: Path) -> Iterator[tuple[Row, str]]:
    """Yield each row with the sha256 of its model. Raises UsageError or StorageError."""
    with storage_errors(path), path.open(newline="", encoding="utf-8") as file:
        try:
            reader = csv.reader(file)
            columns = tuple(next(reader, COLUMNS))
            if columns not in _LAYOUTS:
                raise UsageError(
                    f"{path} was written with other columns; choose another --out folder"
                )
            for values in reader:
                cells = dict(zip(columns, values, strict=True))
                yield Row.parse(cells), cells["Model_SHA256"]
        except (csv.Error, ValueError) as error:
            raise UsageError(
                f"{path} is damaged ({error}); repair it or choose another --out folder"
            ) from error


class Report:
    """The report, open for appending by one process at a time; a context manager."""

    def __init__(self, folder: Path, algorithm: Algorithm, *, identifiers: bool = True) -> None:
        """Open or create the report of `folder` and read its rows.

        With `identifiers` the report has the columns of `IDENTIFIERS`. A report of an earlier
        version is continued with its own columns.

        Raises UsageError for a report that is in use, damaged, of another model or with other
        columns than wanted, and StorageError if the disk fails.
        """
        self.path = folder / REPORT_FILE
        self._algorithm = algorithm
        self._layouts = _WITH_IDENTIFIERS if identifiers else _WITHOUT_IDENTIFIERS
        self._columns: tuple[str, ...] = self._layouts[0]
        with storage_errors(self.path):
            for name in OUTPUT_FOLDERS:
                (folder / name).mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b")
        try:
            self._lock()
            with storage_errors(self.path):
                _cut_torn_row(self._file)
            self._states = self._read()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with storage_errors(self.path):
            self._file.close()

    @property
    def is_older(self) -> bool:
        """True if the report has the columns of an earlier version."""
        return self._columns != self._layouts[0]

    def holds(self, image_id: str) -> bool:
        """Return True if the image has a row."""
        return cell(image_id) in self._states

    def state(self, image_id: str) -> State:
        """Return the result in the image's row."""
        return self._states[cell(image_id)]

    def append(self, row: Row) -> None:
        """Append the row of an image without a row. Raises StorageError."""
        if self.holds(row.image_id):
            raise ValueError(f"{row.image_id} has a row already")
        self._write(row.cells(self._algorithm, self._columns))
        self._states[cell(row.image_id)] = row.state

    def _write(self, cells: Sequence[str]) -> None:
        line = io.StringIO(newline="")
        csv.writer(line).writerow(cells)
        with storage_errors(self.path):
            self._file.write(line.getvalue().encode("utf-8"))
            self._file.flush()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"{self.path} is being written by another run; wait for it or choose another --out"
            ) from error

    def _read(self) -> dict[str, State]:
        known: dict[str, State] = {}
        self._adopt_columns()
        for row, sha256 in read_rows(self.path):
            if sha256 != self._algorithm.sha256:
                raise UsageError(
                    f"{self.path} holds another model's rows; choose another --out folder"
                )
            known[row.image_id] = row.state
        if self._file.seek(0, os.SEEK_END) == 0:
            self._write(self._columns)
        return known

    def _adopt_columns(self) -> None:
        """Take over the columns of an earlier version. Raises UsageError for unwanted ones."""
        with (
            storage_errors(self.path),
            self.path.open(newline="", encoding="utf-8", errors="replace") as file,
        ):
            found = tuple(next(csv.reader([file.readline()]), ()))
        if found in self._layouts:
            self._columns = found
        elif found in _LAYOUTS:
            advice = "without" if found in _WITH_IDENTIFIERS else "with"
            raise UsageError(
                f"{self.path} was begun {advice} --no-identifiers: "
                f"continue it so, or choose another --out folder"
            )


def _cut_torn_row(file: BinaryIO) -> None:
    """Cut off the text after the last line break: an interrupted row."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - _BLOCK)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            file.truncate(start + newline + 1)
            return
        end = start
    file.truncate(0)
