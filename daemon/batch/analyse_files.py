"""`cxrd analyse`: the daemon's pipeline over files and directories of any size.

A pool of threads reads files and draws heatmaps while the network runs in the calling thread. Only
a few films are in memory at a time, and rows are written in the order of the files. An interrupted
run can be resumed: an image's row is written after its heatmaps, and a run skips images with a row.
"""

import datetime
import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cxr_model.data.image_file import read_image
from cxr_model.errors import ImageError
from cxr_model.predict.prediction import Prediction, clinical_summary
from cxr_model.predict.predictor import BATCH
from daemon.analyse.decoder_pool import DEFAULT_LIMITS, DecoderLimits
from daemon.analyse.gate_and_decode import GreyImage, Refusal
from daemon.analyse.pipeline import Pipeline
from daemon.batch.csv_report import HEATMAP_FOLDER, Report, Row, State, one_line, read_rows
from daemon.batch.dashboard import DASHBOARD_FILE, Overview, write_dashboard
from daemon.batch.find_files import InputFile, find_files
from daemon.config.settings import ModelConfig
from dicom_io.gate.pixel_check import assess_pixels
from dicom_io.gate.reasons import Reason
from dicom_io.read.orientation import AS_STORED, Pose
from storage.files.durable import storage_errors

_MAX_BYTES = 2**30
"""A larger file is no film, and reading it would exhaust the memory."""
_LONGEST_NAME_BYTES = 180

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of the files by result, including those of earlier runs, and the output files."""

    analysed: int
    refused: int
    unreadable: int
    report: Path
    dashboard: Path

    def __str__(self) -> str:
        return (
            f"{self.analysed} analysed, {self.refused} not analysed, {self.unreadable} unreadable\n"
            f"report: {self.report}, dashboard: {self.dashboard}. Research use only."
        )


@dataclass(frozen=True, slots=True)
class _AcceptedFilm:
    """A film that may be analysed, with the notes of the gate."""

    pixels: GreyImage
    notes: tuple[str, ...]
    pose: Pose = AS_STORED


_Read = tuple[InputFile, _AcceptedFilm | Refusal]
_Predicted = tuple[InputFile, tuple[_AcceptedFilm, Prediction] | Refusal]


def analyse_files(
    paths: Sequence[Path],
    out: Path,
    model: ModelConfig,
    *,
    limits: DecoderLimits = DEFAULT_LIMITS,
    now: datetime.datetime,
    echo: Callable[[str], None],
) -> Summary:
    """Analyse the files at `paths` into folder `out`, with a progress bar on stderr.

    `limits` apply to reading one image. `echo` receives a line for every file that is not analysed.
    Raises UsageError for unusable paths or an unusable folder, ModelError for an unusable bundle,
    and StorageError if the disk stops the run; rows written before are kept.
    """
    files = find_files(paths, leave_out=out / HEATMAP_FOLDER)
    pipeline = Pipeline.open(model, limits)
    with Report(out, pipeline.algorithm) as report:
        remaining = [file for file in files if not report.holds(file.image_id)]
        with (
            tqdm(total=len(files), initial=len(files) - len(remaining), unit="image") as progress,
            closing(Batch(pipeline, out).run(remaining)) as rows,
        ):
            for row in rows:
                report.append(row)
                progress.update()
                if row.reason is not None:
                    with tqdm.external_write_mode():
                        echo(one_line(f"{row.image_id}: not analysed: {row.reason}: {row.detail}"))
        states = Counter(report.state(file.image_id) for file in files)
        overview = Overview.of(row for row, _ in read_rows(report.path))
        dashboard = out / DASHBOARD_FILE
        write_dashboard(dashboard, overview, pipeline.card, pipeline.algorithm.sha256, now)
    return Summary(
        states[State.ANALYSED],
        states[State.REFUSED],
        states[State.UNREADABLE],
        report.path,
        dashboard,
    )


class Batch:
    """Turns files into rows; writes the heatmaps of a file before it yields the row."""

    def __init__(self, pipeline: Pipeline, out: Path, workers: int | None = None) -> None:
        """`workers` threads read and draw; default: one per processor, at most 8."""
        self._pipeline = pipeline
        self._out = out
        self._workers = workers or min(8, os.cpu_count() or 1)

    def run(self, files: Iterable[InputFile]) -> Generator[Row, None, None]:
        """Yield the rows of `files`, in their order.

        Raises StorageError if a heatmap cannot be written.
        """
        pool = ThreadPoolExecutor(self._workers)
        ahead = BATCH + self._workers
        try:
            read = map_in_order(pool, self._read, files, ahead)
            yield from map_in_order(pool, self._finish, self._predict(read), ahead)
        finally:
            pool.shutdown(cancel_futures=True)

    def _read(self, file: InputFile) -> _Read:
        try:
            return file, self._decode(file)
        except Exception as error:  # noqa: BLE001 - a bad file must not stop the rest
            return file, _failed(error)

    def _decode(self, file: InputFile) -> _AcceptedFilm | Refusal:
        if file.is_raster:
            try:
                pixels = read_image(file.path)
            except ImageError as error:
                return Refusal(Reason.UNDECODABLE_PIXELS, str(error))
            verdict = assess_pixels(pixels)
            if verdict.reason is not None:
                return Refusal(verdict.reason, verdict.detail)
            return _AcceptedFilm(pixels, verdict.notes)
        try:
            if file.path.stat().st_size > _MAX_BYTES:
                return Refusal(Reason.UNREADABLE_OBJECT, f"{file.path}: larger than 1 GiB")
            data = file.path.read_bytes()
        except OSError as error:
            return Refusal(Reason.UNREADABLE_OBJECT, f"{file.path}: {error.strerror}")
        film = self._pipeline.gate_and_decode(data)
        if isinstance(film, Refusal):
            return film
        return _AcceptedFilm(film.pixels, film.notes, film.pose)

    def _predict(self, read: Iterator[_Read]) -> Iterator[_Predicted]:
        while group := list(islice(read, BATCH)):
            films = [
                (film.pixels, film.pose) for _, film in group if isinstance(film, _AcceptedFilm)
            ]
            predictions = iter(self._pipeline.predict_all(films))
            for file, film in group:
                if isinstance(film, Refusal):
                    yield file, film
                else:
                    yield file, (film, next(predictions))

    def _finish(self, predicted: _Predicted) -> Row:
        file, outcome = predicted
        if isinstance(outcome, Refusal):
            return _refused_row(file, outcome)
        film, prediction = outcome
        try:
            drawn = [
                (_heatmap_name(file, heatmap.finding.label), _png(heatmap.rgb))
                for heatmap in self._pipeline.heatmaps(film.pixels, prediction)
            ]
        except Exception as error:  # noqa: BLE001 - a bad file must not stop the rest
            return _refused_row(file, _failed(error))
        for name, data in drawn:
            _write_atomically(self._out / name, data)
        return Row(
            image_id=file.image_id,
            probabilities=tuple(finding.probability for finding in prediction.findings),
            summary=clinical_summary(prediction),
            heatmaps=tuple(name for name, _ in drawn),
            detail="; ".join(film.notes),
        )


def map_in_order(
    pool: ThreadPoolExecutor,
    work: Callable[[_Item], _Result],
    items: Iterable[_Item],
    ahead: int,
) -> Iterator[_Result]:
    """Yield results as `pool.map`, but take at most `ahead` items before their results are used."""
    running: deque[Future[_Result]] = deque()
    for item in items:
        running.append(pool.submit(work, item))
        if len(running) == ahead:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def _failed(error: Exception) -> Refusal:
    return Refusal(Reason.ANALYSIS_FAILED, f"{type(error).__name__}: {error}")


def _refused_row(file: InputFile, refusal: Refusal) -> Row:
    return Row(file.image_id, reason=refusal.reason, detail=refusal.detail)


def _heatmap_name(file: InputFile, label: str) -> str:
    folder, slash, name = file.image_id.rpartition("/")
    encoded = name.encode()
    if len(encoded) > _LONGEST_NAME_BYTES:
        start = encoded[: _LONGEST_NAME_BYTES - 17].decode(errors="ignore")
        name = f"{start}-{hashlib.sha256(encoded).hexdigest()[:16]}"
    return f"{HEATMAP_FOLDER}/{folder}{slash}{name}.{label}.png"


def _png(rgb: NDArray[np.uint8]) -> bytes:
    _, encoded = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return encoded.tobytes()


def _write_atomically(path: Path, data: bytes) -> None:
    """Write a file that is complete or absent, whenever the process is killed.

    The temporary name is always the same, so that the next run replaces a leftover.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
