"""Runs a graph with OpenVINO on the CPU."""

from typing import Any

import numpy as np
import openvino

from cxr_model.engine.cpu_runs import CpuRuns, Run, joined
from cxr_model.engine.graph import INPUT, LOGITS, MAPS
from cxr_model.errors import EngineError, first_line
from cxr_model.predict.predictor import Image, Outputs


class OpenVinoEngine:
    """A graph in OpenVINO on `threads` cores, in float32."""

    def __init__(self, graph: bytes, threads: int) -> None:
        """Compile the graph. Raises EngineError if OpenVINO cannot run it."""
        core = openvino.Core()
        try:
            model = core.read_model(graph)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot read the network: {first_line(error)}") from error

        version = openvino.__version__.split("-")[0]
        self.name = f"OpenVINO {version}, {threads} threads"
        self._runs = CpuRuns(
            threads,
            lambda: _run_of(_compiled(core, model, threads, 1), 1),
            lambda: _run_of(_compiled(core, model, threads, threads), threads),
        )

    def run(self, squares: Image) -> Outputs:
        """Return the outputs for squares, uint8 (n, size, size)."""
        return self._runs.run(squares)


def _compiled(core: Any, model: Any, threads: int, streams: int) -> Any:
    options = {
        # The default may be bfloat16, where the processor has it.
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": streams,
        # The cores are shared with other processes.
        "ENABLE_CPU_PINNING": False,
    }
    try:
        return core.compile_model(model, "CPU", options)
    except RuntimeError as error:
        raise EngineError(f"OpenVINO cannot load the network: {first_line(error)}") from error


def _run_of(compiled: Any, streams: int) -> Run:
    """Return a run of a batch at once on one stream, or of an image on each of several."""
    # One thread drives all requests: OpenVINO 2026.4 can deadlock when Python threads do.
    requests = [compiled.create_infer_request() for _ in range(streams)]

    def run(squares: Image) -> Outputs:
        parts = [squares] if streams == 1 else [square[None] for square in squares]
        try:
            return joined(
                [
                    outputs
                    for start in range(0, len(parts), streams)
                    for outputs in _at_once(requests, parts[start : start + streams])
                ]
            )
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot run the network: {first_line(error)}") from error

    return run


def _at_once(requests: list[Any], parts: list[Image]) -> list[Outputs]:
    busy = requests[: len(parts)]
    for request, part in zip(busy, parts, strict=True):
        request.start_async({INPUT: np.ascontiguousarray(part[:, None])})
    outputs = []
    for request in busy:
        request.wait()
        # The next run overwrites the request's arrays.
        logits, maps = (request.get_tensor(name).data.copy() for name in (LOGITS, MAPS))
        outputs.append(Outputs(logits.astype(np.float64), maps))
    return outputs
