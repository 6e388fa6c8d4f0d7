"""Runs a graph with ONNX Runtime, on the CPU or with its CUDA provider."""

import os
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

import numpy as np

from cxr_model.engine.cpu_runs import CpuRuns, Run, joined
from cxr_model.engine.graph import INPUT, LOGITS, MAPS
from cxr_model.errors import DeviceError, EngineError, first_line
from cxr_model.predict.predictor import Image, Outputs

# Newer releases otherwise keep an identifier of this machine and send records of use to Microsoft.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_ERRORS_ONLY = 3


class OnnxRuntimeEngine:
    """A graph in ONNX Runtime on `threads` cores."""

    def __init__(self, graph: bytes, threads: int) -> None:
        """Load the graph. Raises EngineError if ONNX Runtime cannot run it."""

        def together() -> Run:
            return _run_of(_session(graph, threads, [_CPU]))

        def apart() -> Run:
            # Any number of threads may run a session at once.
            run = _run_of(_session(graph, 1, [_CPU]))
            pool = ThreadPoolExecutor(threads, "engine")
            return lambda squares: joined(list(pool.map(run, squares[:, None])))

        self.name = f"ONNX Runtime {onnxruntime.__version__}, {threads} threads"
        self._runs = CpuRuns(threads, together, apart)

    def run(self, squares: Image) -> Outputs:
        """Return the outputs for squares, uint8 (n, size, size)."""
        return self._runs.run(squares)


class OnnxRuntimeCudaEngine:
    """A graph in ONNX Runtime on a GPU, in float32."""

    def __init__(self, graph: bytes, device: int = 0) -> None:
        """Load the graph. Raises DeviceError if ONNX Runtime has no CUDA provider or no GPU."""
        # TF32 would round logits to three digits.
        options = {"device_id": str(device), "use_tf32": "0"}
        session = _session(graph, 1, [(_CUDA, options)]) if has_cuda() else None
        if session is None or _CUDA not in session.get_providers():
            raise DeviceError(
                f"ONNX Runtime cannot use GPU {device} here: install onnxruntime-gpu, or set "
                "model.engine to torch or model.device to cpu"
            )
        self.name = f"ONNX Runtime {onnxruntime.__version__}, CUDA"
        self._run, self._lock = _run_of(session), Lock()

    def run(self, squares: Image) -> Outputs:
        """Return the outputs for squares, uint8 (n, size, size)."""
        with self._lock:
            return self._run(squares)


def has_cuda() -> bool:
    """Return True if the ONNX Runtime installed here has a CUDA provider."""
    return _CUDA in onnxruntime.get_available_providers()


def _session(graph: bytes, threads: int, providers: list[Any]) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # Threads wait for work without computing only while a run lasts.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return onnxruntime.InferenceSession(graph, options, providers=providers)
    except Exception as error:
        raise EngineError(f"ONNX Runtime cannot load the network: {first_line(error)}") from error


def _run_of(session: Any) -> Run:
    def run(squares: Image) -> Outputs:
        try:
            logits, maps = session.run([LOGITS, MAPS], {INPUT: squares[:, None]})
        except Exception as error:
            raise EngineError(
                f"ONNX Runtime cannot run the network: {first_line(error)}"
            ) from error
        return Outputs(logits.astype(np.float64), maps)

    return run
