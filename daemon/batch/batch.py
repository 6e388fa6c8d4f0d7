"""The stages of `cxrd analyse`: reading, the network, drawing and writing, one over another.

Threads wait for reader processes and draw heatmaps; one more thread runs the network. Only a few
films are in memory at a time, and rows come in the order of the files.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import TypeVar

from cxr_model.errors import ModelOutputError
from cxr_model.predict.prediction import Prediction, clinical_summary
from cxr_model.predict.predictor import BATCH
from daemon.analyse.pipeline import Pipeline
from daemon.analyse.png import encode_png
from daemon.analyse.reader.film import Film, Refusal, Wanted
from daemon.batch.csv_report import Row, one_line
from daemon.batch.find_files import InputFile
from daemon.batch.heatmap_files import heatmap_name, write_together
from daemon.batch.read_file import ReadFile, failed, read_file
from daemon.batch.thumbnails import film_tile, heatmap_tile, strip, thumbnail_name
from daemon.config.picture_form import DEFAULT_MAX_SIDE
from daemon.errors import ModelFailedError
from dicom_io.gate.rules import DEFAULT_RULES, Rules
from storage.errors import StorageError

STAGES = ("reading", "network", "drawing", "writing")
MOST_WORKERS = 8
GROUP_ROWS = 8
"""Rows whose pictures are written together, at most."""
GROUP_SECONDS = 1.0
"""Time that a row waits for others, at most."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_Predicted = tuple[ReadFile, tuple[Film, Prediction] | Refusal]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A row with its pictures as files, each with its path, before they are written."""

    row: Row
    pictures: tuple[tuple[Path, bytes], ...] = ()


@dataclass(slots=True)
class Work:
    """The seconds that the stages have worked, added over their workers; thread-safe."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    _lock: Lock = field(default_factory=Lock)

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Add the time of the block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[stage] += time.perf_counter() - start

    def describe(self, files: int, elapsed: float) -> str:
        """Return the rate of all files, and the time and share of each stage, as one line."""
        everything = sum(self.seconds.values()) or 1.0
        stages = ", ".join(
            f"{stage} {1000 * seconds / files:.0f} ms ({seconds / everything:.0%})"
            for stage, seconds in self.seconds.items()
        )
        return f"{files} file(s) in {elapsed:.1f} s, {files / elapsed:.1f}/s; per file: {stages}"


class Batch:
    """Turns files into rows; writes the pictures of a file before it yields the row."""

    def __init__(
        self,
        pipeline: Pipeline,
        out: Path,
        workers: int | None = None,
        rules: Rules = DEFAULT_RULES,
        picture_side: int | None = DEFAULT_MAX_SIDE,
    ) -> None:
        """Set the number of readers: by default one per processor, at most `MOST_WORKERS`.

        The longer side of the film in a heatmap has at most `picture_side` pixels; None draws it in
        full size.
        """
        self._pipeline = pipeline
        self._rules = rules
        self._wanted = Wanted(picture_side)
        self._out = out
        self._workers = workers or min(MOST_WORKERS, len(os.sched_getaffinity(0)))
        self.work = Work()

    def run(self, files: Iterable[InputFile]) -> Generator[Row, None, None]:
        """Yield the rows of `files`, in their order.

        Raises StorageError if a picture cannot be written, ModelFailedError if the model's output
        for a film is not a result.
        """
        readers, network, drawers = (ThreadPoolExecutor(n) for n in (self._workers, 1, 2))
        with ExitStack() as running:
            for pool in (drawers, network, readers):
                running.callback(pool.shutdown, cancel_futures=True)
            ahead = 2 * BATCH + self._workers
            read = map_in_order(readers, self._read, files, ahead)
            predicted = map_in_order(network, self._predict, _groups(read, BATCH), 2)
            films = (film for group in predicted for film in group)
            yield from self._written(map_in_order(drawers, self._draw, films, BATCH))

    def _read(self, file: InputFile) -> ReadFile:
        with self.work.of("reading"):
            return read_file(self._pipeline, self._rules, file, self._wanted)

    def _predict(self, group: list[ReadFile]) -> list[_Predicted]:
        films = [item.film for item in group if isinstance(item.film, Film)]
        try:
            with self.work.of("network"):
                predictions = iter(self._pipeline.predict_all(films) if films else [])
        except ModelOutputError as error:
            names = [item.file.image_id for item in group if isinstance(item.film, Film)]
            raise ModelFailedError(
                one_line(
                    f"{names[error.image]}: {error}; no row is written for it, and no further "
                    "film is analysed: use another bundle, or fetch this one again"
                )
            ) from error
        return [
            (item, item.film if isinstance(item.film, Refusal) else (item.film, next(predictions)))
            for item in group
        ]

    def _draw(self, predicted: _Predicted) -> Drawn:
        read, outcome = predicted
        if isinstance(outcome, Refusal):
            return Drawn(_refused_row(read, outcome))
        film, prediction = outcome
        try:
            with self.work.of("drawing"):
                drawn, tiles = {}, [film_tile(film.picture)]
                for heatmap in self._pipeline.heatmaps(film.picture, prediction):
                    name = heatmap_name(read.file, heatmap.finding.label)
                    drawn[name] = encode_png(heatmap.rgb)
                    tiles.append(heatmap_tile(heatmap.rgb, film.picture.shape[0]))
                thumbnail = {thumbnail_name(read.file.image_id): strip(tiles)}
        except Exception as error:  # noqa: BLE001 - a bad file must not stop the rest
            return Drawn(_refused_row(read, failed(error)))
        row = Row(
            image_id=read.file.image_id,
            probabilities=tuple(finding.probability for finding in prediction.findings),
            summary=clinical_summary(prediction),
            heatmaps=tuple(drawn),
            detail="; ".join((*film.notes, *self._pipeline.notes)),
            identifiers=read.identifiers,
            header=read.header,
        )
        pictures = {**drawn, **thumbnail}
        return Drawn(row, tuple((self._out / name, data) for name, data in pictures.items()))

    def _written(self, drawn: Iterator[Drawn]) -> Iterator[Row]:
        """Yield the rows, with the pictures of some rows written together before the first.

        A row whose pictures cannot be written is not yielded, but the rows before it are.
        """
        group: list[Drawn] = []
        since = time.monotonic()
        try:
            for one in drawn:
                group.append(one)
                if len(group) == GROUP_ROWS or time.monotonic() - since > GROUP_SECONDS:
                    done, group = group, []
                    yield from self._write(done)
                    since = time.monotonic()
        except ModelFailedError:
            yield from self._write(group)
            raise
        yield from self._write(group)

    def _write(self, group: list[Drawn]) -> Iterator[Row]:
        try:
            self._write_files(group)
        except StorageError:
            for one in group:
                self._write_files([one])
                yield one.row
            return
        for one in group:
            yield one.row

    def _write_files(self, group: list[Drawn]) -> None:
        with self.work.of("writing"):
            write_together([picture for one in group for picture in one.pictures])


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


def _groups(items: Iterator[_Item], size: int) -> Iterator[list[_Item]]:
    while group := list(islice(items, size)):
        yield group


def _refused_row(read: ReadFile, refusal: Refusal) -> Row:
    return Row(
        read.file.image_id,
        reason=refusal.reason,
        detail="; ".join(filter(None, (refusal.detail, *refusal.notes))),
        identifiers=read.identifiers,
        header=read.header,
    )
