"""The forward pass with all 14 maps, by each engine, against a matrix product of as much work."""

import contextlib
import json
import os
import statistics
import time
from functools import partial

from tests.benchmarks.model.engine_worker import MATRIX, Kind
from tests.benchmarks.results import Fact, Measure, Part, Ratio, at_most
from tests.benchmarks.setting import PeerMissingError, Setting
from tests.benchmarks.sides.worker_process import WorkerProcess
from tests.benchmarks.timing import alternate

FLOORS = {Kind.NUMPY_PRODUCT: "floor by NumPy", Kind.TORCH_PRODUCT: "floor by torch"}
ENGINES = {
    Kind.ONNX_RUNTIME: "ONNX Runtime",
    Kind.OPENVINO: "OpenVINO",
    Kind.TORCH: "torch eager",
    Kind.LOGITS_ONLY: "ONNX Runtime, logits only",
}
BATCHES = {1: at_most(1.15), 8: at_most(1.0)}
MAPS_PER_CENT = 3
REST_SECONDS = 0.25
"""Threads of a library may spin so long after its work, on the cores of the next side."""
Workers = dict[str, WorkerProcess]


def run(setting: Setting) -> Part:
    """Measure milliseconds per image at batch 1 and 8 with the threads of all cores."""
    threads = len(os.sched_getaffinity(0))
    part = Part("forward", f"The network with 14 maps, {threads} threads")
    module = "tests.benchmarks.model.engine_worker"
    with contextlib.ExitStack() as stack:
        workers: Workers = {}
        for kind, name in (FLOORS | ENGINES).items():
            try:
                worker = WorkerProcess(module, kind.value, threads, threads=threads)
                workers[name] = stack.enter_context(worker)
            except PeerMissingError as error:
                part.notes.append(str(error))
        counts = json.loads(workers[FLOORS[Kind.NUMPY_PRODUCT]].ask("count"))
        for batch in BATCHES:
            _measure(part, setting, workers, counts["network"] + counts["maps"], batch)
    size = int(counts["size"])
    part.facts += [
        Fact(f"multiply-adds of the network at {size} pixels", counts["network"] / 1e9, "10^9"),
        Fact("multiply-adds of the maps", counts["maps"] / 1e9, "10^9"),
        Fact("multiply-adds of the engines' graph, with maps", counts["graph"] / 1e9, "10^9"),
    ]
    return part


def _measure(part: Part, setting: Setting, workers: Workers, work: float, batch: int) -> None:
    runs = max(3, setting.pick(30, 6) // batch)
    sides = {name: partial(_ask, worker, batch, runs) for name, worker in workers.items()}
    values = alternate(setting.pick(15, 3), sides)
    for name in FLOORS.values():
        if name in values:
            values[name] = [one * batch * work / MATRIX**3 for one in values[name]]
    floor = min(
        (name for name in FLOORS.values() if name in values),
        key=lambda name: statistics.median(values[name]),
    )
    engines = [name for kind, name in ENGINES.items() if kind is not Kind.LOGITS_ONLY]
    # The goal is that of the engine which `auto` chooses: the first that is installed.
    chosen = next(name for name in engines if name in values)
    ratios = [
        Ratio(name, floor, f"{name}, of the {floor}", BATCHES[batch] if name == chosen else None)
        for name in engines
        if name in values
    ]
    part.measures.append(Measure(f"forward at batch {batch}, per image", "ms", values, ratios))
    with_maps, without = ENGINES[Kind.ONNX_RUNTIME], ENGINES[Kind.LOGITS_ONLY]
    if without in values and with_maps in values:
        pairs = zip(values[with_maps], values[without], strict=True)
        share = statistics.median(100 * (1 - logits / maps) for maps, logits in pairs)
        part.facts.append(
            Fact(f"share of the maps at batch {batch}", share, "%", at_most(MAPS_PER_CENT))
        )


def _ask(worker: WorkerProcess, batch: int, runs: int) -> float:
    time.sleep(REST_SECONDS)
    milliseconds, _cpu = json.loads(worker.ask({"batch": batch, "runs": runs}))
    return float(milliseconds)
