"""The analyst on this machine: films/s and service times of its parts, on a CPU or a GPU.

`python -m tests.benchmarks.scaling.analyst [--seconds 150]` needs no store and no network. Its last
line is JSON, which `--gpu-output FILE` of `python -m tests.benchmarks scaling` takes.
"""

import argparse
import datetime
import itertools
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cxr_model.check.picture_check import PictureCheck
from cxr_model.engine.choice import gpu_present, open_engine
from cxr_model.engine.processors import usable_cores
from cxr_model.predict.bundle import STARTER, Bundle
from cxr_model.predict.predictor import Engine, Image, Outputs, Predictor
from daemon.analyse.batches import MOST_TOGETHER
from daemon.analyse.pipeline import Analysis, Pipeline
from daemon.analyse.reader.decoder_pool import DecoderPool
from daemon.analyse.reader.film_reader import FilmReader
from daemon.analyst import workers_of
from daemon.config.sections.roles import AnalystConfig
from daemon.worker.shares import analyst_processes
from tests.benchmarks.films import SIDE_10_MB, write_films
from tests.benchmarks.scaling.measuring.processor_time import process_seconds

FILMS = 20
SHORT_SECONDS = 2.0
"""Least time of a measurement of the network alone."""


class TimedEngine:
    """An engine that adds up the wall time, the processor time and the images of its runs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name = engine.name
        self.clear(alone=True)

    def clear(self, *, alone: bool) -> None:
        """Begin anew. `alone`: nothing else runs meanwhile, and the engine's threads count, too."""
        self._clock = time.process_time if alone else time.thread_time
        self.seconds = self.cpu_seconds = 0.0
        self.runs = self.images = 0

    def run(self, squares: Image) -> Outputs:
        started, used = time.perf_counter(), self._clock()
        outputs = self._engine.run(squares)
        self.seconds += time.perf_counter() - started
        self.cpu_seconds += self._clock() - used
        self.runs += 1
        self.images += len(squares)
        return outputs


def measure(
    engine_name: str, device: str, workers: Sequence[int], limit: float, threads: int = 1
) -> dict[str, Any]:
    """Analyse films with so many threads at once, each count for its share of `limit` seconds."""
    bundle = Bundle.load(STARTER)
    engine = TimedEngine(open_engine(bundle, engine=engine_name, device=device, threads=threads))
    readers = DecoderPool(FilmReader(PictureCheck.load(), bundle.card.input))
    together = MOST_TOGETHER if device != "cpu" else 1
    pipeline = Pipeline(Predictor(bundle, engine), readers, together=together)
    with tempfile.TemporaryDirectory(prefix="cxrd-bench-") as folder:
        films = write_films(Path(folder) / "films", FILMS, SIDE_10_MB)
        data = [path.read_bytes() for path in films.paths]
    found: dict[str, Any] = {
        "engine": engine.name,
        "megabytes": len(data[0]) / 1e6,
        "by workers": {},
    }
    for count in workers:
        # As many readers as threads are started before the time runs.
        _analyse(pipeline, data, count, rounds=count)
        engine.clear(alone=count == 1)
        found["by workers"][count] = _rate(pipeline, engine, data, count, limit / len(workers))
    return found


def _rate(
    pipeline: Pipeline, engine: TimedEngine, data: list[bytes], workers: int, limit: float
) -> dict[str, float]:
    readers, own = _readers_seconds(), time.process_time()
    started = time.perf_counter()
    done = objects = 0
    while done == 0 or time.perf_counter() - started < limit:
        objects += _analyse(pipeline, data, workers, rounds=4 * workers)
        done += 4 * workers
    wall = time.perf_counter() - started
    own = time.process_time() - own
    return {
        "films": done,
        "films/s": done / wall,
        "heatmaps": objects / done,
        "reader cpu s": (_readers_seconds() - readers) / done,
        "own cpu s": own / done,
        "engine cpu s": engine.cpu_seconds / done,
        "engine wall s": engine.seconds / done,
        "films a run": engine.images / max(1, engine.runs),
    }


def _readers_seconds() -> float:
    children = multiprocessing.active_children()
    return sum(process_seconds(child.pid) for child in children if child.pid is not None)


def _analyse(pipeline: Pipeline, data: list[bytes], workers: int, rounds: int) -> int:
    """Analyse `rounds` films with so many threads; return the number of objects made."""
    numbers = itertools.islice(itertools.cycle(range(len(data))), rounds)
    now = datetime.datetime.now().astimezone()

    def one(number: int) -> int:
        outcome = pipeline.analyse(data[number], "bench", now)
        assert isinstance(outcome, Analysis), outcome
        return len(outcome.objects)

    with ThreadPoolExecutor(workers) as pool:
        return sum(pool.map(one, numbers))


def measure_together(processes: int, workers: int, limit: float, threads: int) -> dict[str, float]:
    """Analyse films on the GPU in several processes at once; the rates are added up."""
    several = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=several) as pool:
        runs = [
            pool.submit(measure, "torch", "cuda", [workers], limit, threads)
            for _ in range(processes)
        ]
        found = [run.result()["by workers"][workers] for run in runs]
    means = {name: statistics.mean(one[name] for one in found) for name in found[0]}
    return means | {"workers": workers, "films/s": sum(one["films/s"] for one in found)}


def measure_here(limit: float) -> dict[str, Any]:
    """Measure the GPU if there is one, else one core, with the workers that the node would use."""
    cores = usable_cores()
    usual = workers_of(AnalystConfig())
    found: dict[str, Any] = {
        "processors": len(os.sched_getaffinity(0)),
        "cores": cores,
        "workers of the node": usual,
        "gpu": "",
    }
    if not gpu_present():
        return found | measure("auto", "cpu", [1], limit)
    import torch

    counts = sorted({1, *(n for n in (4, 8, 16) if n <= cores)})
    found["gpu"] = torch.cuda.get_device_name()
    found |= measure("torch", "cuda", counts, limit / 2, threads=cores)
    shares = sorted({2, analyst_processes(AnalystConfig()), cores // 2})
    found["by processes"] = {
        n: measure_together(n, -(-usual // n), limit / 2 / len(shares), max(1, cores // n))
        for n in shares
    }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=150.0, help="time of the measurement")
    found = measure_here(parser.parse_args().seconds)
    for workers, values in found["by workers"].items():
        shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        print(f"{found['gpu'] or found['engine']}, {workers} workers: {shown}", flush=True)
    for processes, values in found.get("by processes", {}).items():
        shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        print(f"{found['gpu']}, {processes} processes: {shown}", flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
