"""The engines that are installed here, found without importing one."""

from importlib.util import find_spec

from cxr_model.errors import EngineError
from cxr_model.predict.choices import EngineName

PACKAGES = {
    EngineName.ONNX_RUNTIME: "onnxruntime",
    EngineName.OPENVINO: "openvino",
    EngineName.TORCH: "torch",
}


def installed_engines() -> list[EngineName]:
    """Return the engines that are installed, the preferred one first."""
    return [name for name, package in PACKAGES.items() if find_spec(package) is not None]


def require_engine(engine: str) -> None:
    """Raise EngineError in one line if this engine, or for `auto` each engine, is not installed."""
    installed = installed_engines()
    if not installed:
        raise EngineError("no engine is installed here: pip install onnxruntime")
    if engine != EngineName.AUTO and engine not in installed:
        raise EngineError(
            f"model.engine is {engine}, which is not installed here: pip install "
            f"{PACKAGES[EngineName(engine)]}, or set model.engine to auto"
        )
