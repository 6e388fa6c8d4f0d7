"""Chooses and opens the engine of a bundle by the names in the configuration."""

import logging
import os
from pathlib import Path

from cxr_model.engine.graph_cache import cache_folder, cached_graph
from cxr_model.engine.installed import PACKAGES, installed_engines, require_engine
from cxr_model.engine.processors import usable_cores
from cxr_model.errors import DeviceError
from cxr_model.predict.bundle import Bundle
from cxr_model.predict.choices import Device, EngineName
from cxr_model.predict.predictor import Engine, Predictor

logger = logging.getLogger(__name__)


def open_predictor(
    bundle: Bundle,
    *,
    engine: str = EngineName.AUTO,
    device: str = Device.AUTO,
    threads: int | None = None,
) -> Predictor:
    """Return a predictor of the bundle on the engine that `open_engine` opens."""
    return Predictor(bundle, open_engine(bundle, engine=engine, device=device, threads=threads))


def open_engine(
    bundle: Bundle,
    *,
    engine: str = EngineName.AUTO,
    device: str = Device.AUTO,
    threads: int | None = None,
) -> Engine:
    """Open the network of `bundle` in an engine on a device.

    The engine `auto` is torch on an NVIDIA GPU if there is one, else the first installed of ONNX
    Runtime, OpenVINO and torch. The device `auto` is a GPU if there is one that the engine can
    use, else the CPU; another name than those of `Device` is one that torch knows. `threads` are
    those of the CPU; None is one per core. Raises EngineError in one line for an engine that is
    not installed, DeviceError for a device that is not here or not the engine's, and ValueError if
    `threads` is below 1.
    """
    if threads is not None and threads < 1:
        raise ValueError("threads must be at least 1")
    require_engine(engine)
    if engine == EngineName.AUTO:
        return _first_engine(bundle, device, threads)
    return _open(EngineName(engine), bundle, device, threads)


def gpu_present() -> bool:
    """Return True if this machine has an NVIDIA GPU that this process may see."""
    # Without importing torch, which takes seconds and 300 MB.
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    return any(Path("/dev").glob("nvidia[0-9]*"))


def _first_engine(bundle: Bundle, device: str, threads: int | None) -> Engine:
    installed = installed_engines()
    on_gpu = device == Device.AUTO and gpu_present()
    if on_gpu or device not in (Device.AUTO, Device.CPU):
        installed.sort(key=lambda name: name is not EngineName.TORCH)
    if on_gpu:
        try:
            return _open(installed[0], bundle, Device.CUDA, threads)
        except DeviceError as error:
            logger.info("the GPU is not used: %s", error)
            installed.sort(key=list(PACKAGES).index)
            device = Device.CPU
    return _open(installed[0], bundle, device, threads)


def _open(name: EngineName, bundle: Bundle, device: str, threads: int | None) -> Engine:
    match name:
        case EngineName.TORCH:
            return _open_torch(bundle, device, threads)
        case EngineName.OPENVINO:
            return _open_openvino(bundle, device, threads)
    return _open_onnx_runtime(bundle, device, threads)


def _open_torch(bundle: Bundle, device: str, threads: int | None) -> Engine:
    from cxr_model.engine.torch_engine import TorchEngine, has_cuda

    if device == Device.AUTO:
        device = Device.CUDA if gpu_present() and has_cuda() else Device.CPU
    return TorchEngine(bundle, device, threads)


def _open_openvino(bundle: Bundle, device: str, threads: int | None) -> Engine:
    from cxr_model.engine.openvino_cpu import OpenVinoEngine

    if device not in (Device.AUTO, Device.CPU):
        raise DeviceError(
            f"no device {device!r} for OpenVINO, which runs on the CPU here: set model.device to "
            "auto or cpu, or model.engine to torch"
        )
    return OpenVinoEngine(_graph(bundle), threads or usable_cores())


def _open_onnx_runtime(bundle: Bundle, device: str, threads: int | None) -> Engine:
    from cxr_model.engine.onnx_runtime import OnnxRuntimeCudaEngine, OnnxRuntimeEngine, has_cuda

    if device == Device.AUTO:
        device = Device.CUDA if gpu_present() and has_cuda() else Device.CPU
    if device == Device.CPU:
        return OnnxRuntimeEngine(_graph(bundle), threads or usable_cores())
    kind, _, number = device.partition(":")
    if kind != Device.CUDA or not (number or "0").isdecimal():
        raise DeviceError(f"no device {device!r} for ONNX Runtime; use 'auto', 'cpu' or 'cuda'")
    return OnnxRuntimeCudaEngine(_graph(bundle), int(number or 0))


def _graph(bundle: Bundle) -> bytes:
    return cached_graph(bundle, cache_folder())
