"""`cxrd analyse` over folders, beside its stages alone and beside a plain script with Grad-CAM."""

import contextlib
import functools
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.films import write_films, write_pngs
from tests.benchmarks.results import Fact, Measure, Part, Ratio, at_least
from tests.benchmarks.setting import PeerMissingError, Setting
from tests.benchmarks.sides.worker_process import WorkerProcess
from tests.benchmarks.timing import alternate, seconds
from tests.tools.cli import environment

OURS, AFTER_START, START = "cxrd analyse", "cxrd analyse, without its start", "its start: one film"
DECODING, INFERENCE = "decoding alone", "inference alone"
BOTH = "both stages, one after another"
PLAIN, PLAIN_AT_ONCE = "plain script, a call per finding", "plain script, one call of 14 copies"
BATCH = 8
LEAST_SHARE, LEAST_TIMES = 0.85, 20


def run(setting: Setting) -> Part:
    """Measure a folder of DX and a folder of PNG, then the plain script on some of the DX."""
    part = Part("analyse", "`cxrd analyse`")
    films = write_films(setting.folder / "dx", setting.pick(200, 8)).paths
    pngs = write_pngs(setting.folder / "png", setting.pick(1000, 24))
    cores = len(os.sched_getaffinity(0))
    with contextlib.ExitStack() as stack:
        decoders = [
            stack.enter_context(WorkerProcess("tests.benchmarks.model.decode_worker", threads=1))
            for _ in range(cores)
        ]
        module = "tests.benchmarks.model.engine_worker"
        engine = stack.enter_context(WorkerProcess(module, "auto", cores, threads=cores))
        stages = _Stages(decoders, engine)
        per_film = _measure_folder(part, setting, "DX of 10 MB", films, stages)
        _measure_folder(part, setting, "PNG of 1024 x 1024", pngs, stages)
    _measure_script(part, setting, films, per_film, cores)
    return part


@dataclass(slots=True)
class _Stages:
    """The stages alone, and the CPU seconds of every run of each."""

    decoders: list[WorkerProcess]
    engine: WorkerProcess
    decoding_cpu: list[float] = field(default_factory=list)
    inference_cpu: list[float] = field(default_factory=list)

    def decode(self, paths: Sequence[Path]) -> float:
        return seconds(lambda: self._decode(paths))

    def _decode(self, paths: Sequence[Path]) -> None:
        for number, decoder in enumerate(self.decoders):
            decoder.begin([str(path) for path in paths[number :: len(self.decoders)]])
        self.decoding_cpu.append(sum(float(decoder.answer()) for decoder in self.decoders))

    def infer(self, images: int) -> float:
        asked = {"batch": BATCH, "runs": max(1, images // BATCH)}
        milliseconds, cpu = json.loads(self.engine.ask(asked))
        self.inference_cpu.append(cpu * images / 1e3)
        return float(milliseconds) * images / 1e3


def _measure_folder(
    part: Part, setting: Setting, kind: str, paths: Sequence[Path], stages: _Stages
) -> float:
    """Add the measures of a folder; return the median seconds per film of the whole command."""
    count, cpu = len(paths), list[float]()
    stages.decoding_cpu.clear()
    stages.inference_cpu.clear()
    out = setting.folder / "out"
    _analyse(paths[:1], out, [])  # compiles modules and builds what is cached
    values = alternate(
        setting.pick(3, 1),
        {
            OURS: functools.partial(_analyse, [paths[0].parent], out, cpu),
            START: functools.partial(_analyse, paths[:1], out, []),
            DECODING: functools.partial(stages.decode, paths),
            INFERENCE: functools.partial(stages.infer, count),
        },
    )
    stage_pairs = list(zip(values[DECODING], values[INFERENCE], strict=True))
    middle = {name: statistics.median(series) for name, series in values.items()}
    slower = max((DECODING, INFERENCE), key=lambda name: middle[name])
    values[BOTH] = [decoding + inference for decoding, inference in stage_pairs]
    rounds = zip(values[OURS], values[START], strict=True)
    values[AFTER_START] = [whole - start for whole, start in rounds]
    part.measures.append(
        Measure(
            f"{count} {kind}",
            "s",
            values,
            [
                Ratio(slower, OURS, f"of the rate of {slower}", at_least(LEAST_SHARE)),
                Ratio(slower, AFTER_START, f"without its start, of the rate of {slower}"),
                Ratio(BOTH, OURS, "of the rate of both stages one after another"),
                Ratio(BOTH, AFTER_START, "without its start, of the rate of both stages"),
            ],
        )
    )
    whole = statistics.median(cpu)
    decoding = statistics.median(stages.decoding_cpu)
    inference = statistics.median(stages.inference_cpu)
    part.facts += [
        Fact(f"{kind}: rate of the whole command", count / middle[OURS], "films/s"),
        Fact(f"{kind}: CPU of the whole command", 1e3 * whole / count, "ms a film"),
        Fact(f"{kind}: share of decoding in the CPU", 100 * decoding / whole, "%"),
        Fact(f"{kind}: share of inference", 100 * inference / whole, "%"),
        Fact(
            f"{kind}: share of start, drawing, writing and passing on",
            100 * (whole - decoding - inference) / whole,
            "%",
        ),
    ]
    return middle[OURS] / count


def _analyse(paths: Sequence[Path], out: Path, cpu: list[float]) -> float:
    """Return the seconds of the command, and note the CPU seconds of it and its processes."""
    shutil.rmtree(out, ignore_errors=True)
    os.sync()
    command = [sys.executable, "-m", "daemon", "analyse", *map(str, paths), "--out", str(out)]
    before = _children_cpu()
    action = functools.partial(
        subprocess.run, command, env=environment(), capture_output=True, check=True
    )
    taken = seconds(action)
    cpu.append(_children_cpu() - before)
    return taken


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _measure_script(
    part: Part, setting: Setting, films: Sequence[Path], per_film: float, cores: int
) -> None:
    sample = films[: setting.pick(10, 1)]
    out = setting.folder / "overlays"
    out.mkdir()
    module = "tests.benchmarks.model.grad_cam_script"
    try:
        with WorkerProcess(module, cores, threads=cores) as script:

            def explain(at_once: bool) -> float:
                asked = {"films": list(map(str, sample)), "out": str(out), "at_once": at_once}
                return seconds(lambda: script.ask(asked)) / len(sample)

            explain(at_once=True)
            values = alternate(
                setting.pick(3, 1),
                {
                    PLAIN: functools.partial(explain, at_once=False),
                    PLAIN_AT_ONCE: functools.partial(explain, at_once=True),
                },
            )
    except PeerMissingError as error:
        part.notes.append(str(error))
        return
    values[OURS] = [per_film] * len(values[PLAIN])
    part.measures.append(
        Measure(
            f"a DX with 14 Grad-CAMs (the script: {len(sample)} films; cxrd: the folder above)",
            "s",
            values,
            [
                Ratio(PLAIN, OURS, "times as fast as the plain script", at_least(LEAST_TIMES)),
                Ratio(PLAIN_AT_ONCE, OURS, "times as fast as its form with one call"),
            ],
        )
    )
