"""The configuration's names choose the engine; an impossible choice is refused in one line."""

from pathlib import Path

import pytest

from cxr_model.engine import choice, installed
from cxr_model.engine.choice import gpu_present, open_engine
from cxr_model.engine.onnx_runtime import OnnxRuntimeEngine
from cxr_model.engine.torch_engine import TorchEngine
from cxr_model.errors import DeviceError, EngineError
from cxr_model.predict.bundle import Bundle
from cxr_model.predict.choices import EngineName
from tests.builders.made_models import random_bundle


@pytest.fixture(scope="module")
def made() -> Bundle:
    return random_bundle()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that seems to have a GPU, which no library can use."""
    monkeypatch.setattr(choice, "gpu_present", lambda: True)


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of the engines that seem to be installed; a test fills it."""
    names: set[str] = set()
    monkeypatch.setattr(
        installed, "find_spec", lambda package: package if package in names else None
    )
    return names


def test_onnx_runtime_is_the_first_choice_on_a_cpu(made: Bundle) -> None:
    for device in ("auto", "cpu"):
        engine = open_engine(made, device=device, threads=2)
        assert isinstance(engine, OnnxRuntimeEngine)
        assert engine.name.startswith("ONNX Runtime ")
        assert engine.name.endswith(", 2 threads")


def test_torch_runs_where_nothing_else_is_installed(made: Bundle, only: set[str]) -> None:
    only.add(EngineName.TORCH)
    assert isinstance(open_engine(made), TorchEngine)


def test_no_engine_at_all_is_refused(made: Bundle, only: set[str]) -> None:
    assert only == set()
    with pytest.raises(EngineError, match="no engine is installed here: pip install onnxruntime"):
        open_engine(made)


@pytest.mark.parametrize("engine", [EngineName.OPENVINO, EngineName.ONNX_RUNTIME, EngineName.TORCH])
def test_a_missing_engine_is_named(made: Bundle, only: set[str], engine: EngineName) -> None:
    only.update(set(EngineName) - {engine})
    with pytest.raises(EngineError, match=f"{engine}, which is not installed here: pip install"):
        open_engine(made, engine=engine)


@pytest.mark.usefixtures("gpu")
def test_a_gpu_that_no_library_can_use_leaves_the_cpu(made: Bundle) -> None:
    assert isinstance(open_engine(made), OnnxRuntimeEngine)


@pytest.mark.parametrize(
    ("engine", "device", "message"),
    [
        ("auto", "cuda:99", "no device 'cuda:99'"),
        ("torch", "nonsense", "no device 'nonsense'"),
        ("onnxruntime", "nonsense", "no device 'nonsense' for ONNX Runtime"),
        ("onnxruntime", "cuda:x", "no device 'cuda:x' for ONNX Runtime"),
        ("onnxruntime", "cuda", "ONNX Runtime cannot use GPU 0 here: install onnxruntime-gpu"),
    ],
)
def test_an_impossible_device_is_refused(
    made: Bundle, engine: str, device: str, message: str
) -> None:
    with pytest.raises(DeviceError, match=message) as caught:
        open_engine(made, engine=engine, device=device)
    assert "\n" not in str(caught.value)


def test_openvino_runs_on_the_cpu_only(made: Bundle) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    with pytest.raises(DeviceError, match="no device 'cuda' for OpenVINO"):
        open_engine(made, engine="openvino", device="cuda")


def test_no_thread_is_refused(made: Bundle) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        open_engine(made, threads=0)


def test_a_hidden_gpu_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "glob", lambda *_: iter([Path("/dev/nvidia0")]))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_present()
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert not gpu_present()
