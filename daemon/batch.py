"""`cxrd analyse`: the daemon's pipeline over files and directories.

The report is written row by row and each row is flushed, so a run that was cut short is resumed:
files whose row is there are not analysed again.
"""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import cv2

from cxr_model.chestxray14 import read_film
from cxr_model.errors import ModelError
from cxr_model.findings import LABELS, clinical_summary
from daemon.errors import UsageError
from daemon.pipeline import GreyImage, Pipeline, Refusal
from dicom_io.gate import Reason, assess_pixels
from storage.export import neutralise

REPORT_FILE = "final_clinical_report.csv"
HEATMAP_FOLDER = "heatmaps"
RASTER_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".dic", ""})
NOT_ANALYSED = "Not analysed"
COLUMNS = (
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
BROKEN_FILE = frozenset({Reason.UNREADABLE_OBJECT, Reason.UNDECODABLE_PIXELS})
"""Reasons that mean the file is damaged, not that it shows something else."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to analyse; `image_id` names it in the report and in `heatmaps/`."""

    path: Path
    image_id: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file."""

    image_id: str
    refusal: Refusal | None

    @property
    def broken(self) -> bool:
        """Whether the file could not be read, which the caller should hear about."""
        return self.refusal is not None and self.refusal.reason in BROKEN_FILE


def find_files(paths: Sequence[Path]) -> list[InputFile]:
    """Every image below `paths`, in a stable order; hidden files are left out.

    A file found in a directory is named by its path below that directory. Raises UsageError for
    a path that is not there, when nothing is found, or when two files would share a name.
    """
    found: list[InputFile] = []
    for path in paths:
        if path.is_file():
            found.append(InputFile(path, path.name))
        elif path.is_dir():
            found += [InputFile(file, file.relative_to(path).as_posix()) for file in _walk(path)]
        else:
            raise UsageError(f"{path}: no such file or directory")
    if not found:
        names = ", ".join(sorted((RASTER_SUFFIXES | DICOM_SUFFIXES) - {""}))
        raise UsageError(f"no image found; looked for {names} and files without a suffix")
    seen: dict[str, Path] = {}
    for file in found:
        if file.image_id in seen:
            raise UsageError(
                f"{seen[file.image_id]} and {file.path} would both be {file.image_id} in the "
                "report: analyse them into different folders"
            )
        seen[file.image_id] = file.path
    return found


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            if not name.startswith(".") and path.suffix.lower() in RASTER_SUFFIXES | DICOM_SUFFIXES:
                yield path


class Batch:
    """One run over many files into one output folder; a context manager."""

    def __init__(self, pipeline: Pipeline, out: Path) -> None:
        self._pipeline = pipeline
        self._out = out
        self._report: TextIO | None = None
        self._done = self._resume()

    def __enter__(self) -> "Batch":
        path = self._out / REPORT_FILE
        fresh = not path.exists()
        self._report = path.open("a", newline="", encoding="utf-8")
        if fresh:
            self._write_row(COLUMNS)
        return self

    def __exit__(self, *_: object) -> None:
        if self._report is not None:
            self._report.close()

    def remaining(self, files: Iterable[InputFile]) -> list[InputFile]:
        """The files that have no row in the report yet."""
        return [file for file in files if neutralise(file.image_id) not in self._done]

    def analyse(self, file: InputFile) -> Outcome:
        """Analyse one file: its heatmaps, then its row."""
        image = self._read(file.path)
        if isinstance(image, Refusal):
            self._write_row(self._refused_row(file, image))
            return Outcome(file.image_id, image)
        prediction = self._pipeline.predict(image)
        heatmaps = []
        for heatmap in self._pipeline.heatmaps(image, prediction):
            target = self._heatmap_path(file, heatmap.finding.label)
            _write_png(target, cv2.cvtColor(heatmap.rgb, cv2.COLOR_RGB2BGR))
            heatmaps.append(target.relative_to(self._out).as_posix())
        probabilities = {item.label: f"{item.probability:.6f}" for item in prediction.findings}
        row = [file.image_id, *(probabilities[label] for label in LABELS)]
        row += [clinical_summary(prediction), "analysed", "", "", "; ".join(heatmaps)]
        self._write_row([*row, *self._model_cells()])
        return Outcome(file.image_id, None)

    def _read(self, path: Path) -> GreyImage | Refusal:
        if path.suffix.lower() in RASTER_SUFFIXES:
            try:
                pixels = read_film(path)
            except ModelError as error:
                return Refusal(Reason.UNDECODABLE_PIXELS, str(error))
            verdict = assess_pixels(pixels)
            return Refusal(verdict.reason, verdict.detail) if verdict.reason else pixels
        try:
            data = path.read_bytes()
        except OSError as error:
            return Refusal(Reason.UNREADABLE_OBJECT, f"{path}: {error.strerror}")
        film = self._pipeline.admit(data)
        return film if isinstance(film, Refusal) else film.pixels

    def _refused_row(self, file: InputFile, refusal: Refusal) -> list[str]:
        empty = [""] * len(LABELS)
        summary = f"{NOT_ANALYSED}: {refusal.reason}"
        row = [file.image_id, *empty, summary, "not_analysed", refusal.reason, refusal.detail, ""]
        return [*row, *self._model_cells()]

    def _model_cells(self) -> tuple[str, str, str]:
        model = self._pipeline.algorithm
        return f"{model.name} {model.version}", model.sha256, model.intended_use

    def _heatmap_path(self, file: InputFile, label: str) -> Path:
        return self._out / HEATMAP_FOLDER / f"{file.image_id}.{label}.png"

    def _write_row(self, cells: Sequence[str]) -> None:
        if self._report is None:
            raise RuntimeError("the batch is used outside its context")
        csv.writer(self._report).writerow([neutralise(cell) for cell in cells])
        self._report.flush()

    def _resume(self) -> set[str]:
        """Read which files are done; cut off a last row that an interruption left torn."""
        try:
            (self._out / HEATMAP_FOLDER).mkdir(parents=True, exist_ok=True)
            path = self._out / REPORT_FILE
            if not path.exists():
                return set()
            data = path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            if len(whole) != len(data):
                path.write_bytes(whole)
            rows = list(csv.reader(io.StringIO(whole.decode("utf-8"), newline="")))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{self._out} cannot be used as the output folder: {error}") from error
        if rows and tuple(rows[0]) != COLUMNS:
            raise UsageError(f"{path} was written with other columns; choose another --out folder")
        other = {row[COLUMNS.index("Model_SHA256")] for row in rows[1:]}
        if other - {self._pipeline.algorithm.sha256}:
            raise UsageError(f"{path} holds another model's rows; choose another --out folder")
        if not rows:
            path.unlink()
        return {row[0] for row in rows[1:]}


def _write_png(path: Path, pixels: "cv2.typing.MatLike") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _, encoded = cv2.imencode(".png", pixels)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(encoded.tobytes())
    temporary.replace(path)
