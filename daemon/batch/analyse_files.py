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
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cxr_model.errors import ModelOutputError
from cxr_model.predict.prediction import Prediction, clinical_summary
from cxr_model.predict.predictor import BATCH
from daemon.analyse.pipeline import Pipeline
from daemon.analyse.reader.decoder_pool import DEFAULT_LIMITS, DecoderLimits
from daemon.analyse.reader.film import Film, Refusal
from daemon.batch.csv_report import (
    DASHBOARD_FILE,
    HEATMAP_FOLDER,
    THRESHOLDS_FILE,
    Report,
    Row,
    State,
    one_line,
    read_rows,
)
from daemon.batch.dashboard import Overview, write_dashboard
from daemon.batch.find_files import InputFile, find_files
from daemon.batch.read_file import ReadFile, failed, read_file
from daemon.batch.thresholds import write_thresholds
from daemon.config.settings import ModelConfig
from daemon.errors import ModelFailedError
from dicom_io.gate.rules import DEFAULT_RULES, Rules
from storage.files.durable import storage_errors

_LONGEST_NAME_BYTES = 180

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of the files by result, including those of earlier runs, and the output files."""

    analysed: int
    refused: int
    unreadable: int
    unsupported: int
    report: Path
    dashboard: Path

    def __str__(self) -> str:
        return (
            f"{self.analysed} analysed, {self.refused} not analysed, {self.unreadable} unreadable, "
            f"{self.unsupported} other file(s)\n"
            f"report: {self.report}, dashboard: {self.dashboard}. Research use only."
        )


_Predicted = tuple[ReadFile, tuple[Film, Prediction] | Refusal]


def analyse_files(
    paths: Sequence[Path],
    out: Path,
    model: ModelConfig,
    *,
    identifiers: bool = True,
    limits: DecoderLimits = DEFAULT_LIMITS,
    rules: Rules = DEFAULT_RULES,
    now: datetime.datetime,
    echo: Callable[[str], None],
) -> Summary:
    """Analyse the files at `paths` into folder `out`, with a progress bar on stderr.

    `identifiers` adds those of patient and study to the report. `limits` apply to reading one
    image, and `rules` to every film. `echo` receives a line for every file that is not analysed.
    Raises UsageError for unusable paths or an unusable folder, ModelError for an unusable bundle,
    ModelFailedError if the model's output for a film is not a result, and StorageError if the disk
    stops the run; rows written before are kept.
    """
    files = find_files(paths, out)
    pipeline = Pipeline.open(model, limits)
    with Report(out, pipeline.algorithm, identifiers=identifiers) as report:
        if report.is_older:
            echo(f"{report.path} keeps the columns of the earlier version that began it")
        write_thresholds(out / THRESHOLDS_FILE, pipeline.card, pipeline.algorithm)
        remaining = [file for file in files if not report.holds(file.image_id)]
        with (
            tqdm(total=len(files), initial=len(files) - len(remaining), unit="file") as progress,
            closing(Batch(pipeline, out, rules=rules).run(remaining)) as rows,
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
        states[State.UNSUPPORTED],
        report.path,
        dashboard,
    )


class Batch:
    """Turns files into rows; writes the heatmaps of a file before it yields the row."""

    def __init__(
        self,
        pipeline: Pipeline,
        out: Path,
        workers: int | None = None,
        rules: Rules = DEFAULT_RULES,
    ) -> None:
        """`workers` threads read and draw; default: one per processor, at most 8."""
        self._pipeline = pipeline
        self._rules = rules
        self._out = out
        self._workers = workers or min(8, os.cpu_count() or 1)

    def run(self, files: Iterable[InputFile]) -> Generator[Row, None, None]:
        """Yield the rows of `files`, in their order.

        Raises StorageError if a heatmap cannot be written, ModelFailedError if the model's output
        for a film is not a result.
        """
        pool = ThreadPoolExecutor(self._workers)
        ahead = BATCH + self._workers
        try:
            read = map_in_order(pool, partial(read_file, self._pipeline, self._rules), files, ahead)
            yield from map_in_order(pool, self._finish, self._predict(read), ahead)
        finally:
            pool.shutdown(cancel_futures=True)

    def _predict(self, read: Iterator[ReadFile]) -> Iterator[_Predicted]:
        while group := list(islice(read, BATCH)):
            films = [item.film for item in group if isinstance(item.film, Film)]
            try:
                predicted = self._pipeline.predict_all(films)
            except ModelOutputError as error:
                names = [item.file.image_id for item in group if isinstance(item.film, Film)]
                raise ModelFailedError(
                    one_line(
                        f"{names[error.image]}: {error}; no row is written for it, and no further "
                        "film is analysed: use another bundle, or fetch this one again"
                    )
                ) from error
            predictions = iter(predicted)
            for item in group:
                film = item.film
                yield item, film if isinstance(film, Refusal) else (film, next(predictions))

    def _finish(self, predicted: _Predicted) -> Row:
        read, outcome = predicted
        if isinstance(outcome, Refusal):
            return _refused_row(read, outcome)
        film, prediction = outcome
        try:
            drawn = [
                (_heatmap_name(read.file, heatmap.finding.label), _png(heatmap.rgb))
                for heatmap in self._pipeline.heatmaps(film.picture, prediction)
            ]
        except Exception as error:  # noqa: BLE001 - a bad file must not stop the rest
            return _refused_row(read, failed(error))
        for name, data in drawn:
            _write_atomically(self._out / name, data)
        return Row(
            image_id=read.file.image_id,
            probabilities=tuple(finding.probability for finding in prediction.findings),
            summary=clinical_summary(prediction),
            heatmaps=tuple(name for name, _ in drawn),
            detail="; ".join((*film.notes, *self._pipeline.notes)),
            identifiers=read.identifiers,
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


def _refused_row(read: ReadFile, refusal: Refusal) -> Row:
    return Row(
        read.file.image_id,
        reason=refusal.reason,
        detail="; ".join(filter(None, (refusal.detail, *refusal.notes))),
        identifiers=read.identifiers,
    )


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
