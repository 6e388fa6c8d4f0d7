"""Reads pickled checkpoints of third parties without running their code.

A pickle can call any function that it names. This reader allows a short list of names: tensors are
rebuilt by torch's own functions, layers of known networks become inert shells that hold their
pickled state, and any other name is an error.
"""

import collections
import pickle
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, ClassVar

import torch
from torch import Tensor

from cxr_model.errors import CheckpointError


class Shell:
    """Placeholder of a pickled object of a known class; the code of that class is not run."""

    def __init__(self, *_: object, **__: object) -> None:
        self.state: Any = {}

    def __setstate__(self, state: Any) -> None:
        """Store the pickled state unchanged."""
        self.state = state

    def attribute(self, name: str) -> Any:
        """Return the pickled attribute, or None."""
        state = getattr(self, "state", None)
        return state.get(name) if isinstance(state, dict) else None

    def tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Yield parameters and buffers with their names in a state dict."""
        for table in ("_parameters", "_buffers"):
            for name, value in (self.attribute(table) or {}).items():
                if isinstance(value, Tensor):
                    yield f"{prefix}{name}", value
        for name, child in (self.attribute("_modules") or {}).items():
            if isinstance(child, Shell):
                yield from child.tensors(f"{prefix}{name}.")


class ModuleShell(Shell):
    """Placeholder of a layer or network."""

    #: Read by torch for its old file format; True would write source patches.
    dump_patches: ClassVar[bool] = False


def _module_names() -> Iterator[tuple[str, str]]:
    for package in ("torchvision.models.densenet", "torchxrayvision.models", "models"):
        for name in ("DenseNet", "_DenseBlock", "_DenseLayer", "_Transition"):
            yield package, name
    for package in ("DensenetModels", "model", "__main__"):
        yield package, "DenseNet121"
    for package, names in {
        "container": ("Sequential", "ModuleDict", "ModuleList"),
        "conv": ("Conv2d",),
        "batchnorm": ("BatchNorm2d",),
        "activation": ("ReLU", "Sigmoid"),
        "pooling": ("MaxPool2d", "AvgPool2d", "AdaptiveAvgPool2d"),
        "linear": ("Linear",),
        "dropout": ("Dropout",),
    }.items():
        for name in names:
            yield f"torch.nn.modules.{package}", name
    yield "torch.nn.parallel.data_parallel", "DataParallel"


# Classes that very old torch and numpy store beside the weights; their content is not used.
_IGNORED = (
    ("torch.nn.backends.thnn", "_get_thnn_function_backend"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
)

_STORAGES = ("Float", "Half", "Double", "Long", "Int", "Short", "Char", "Byte", "Bool", "BFloat16")


def _tensor_names() -> Iterator[tuple[tuple[str, str], Any]]:
    for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter"):
        yield ("torch._utils", name), getattr(torch._utils, name)
    for name in _STORAGES:
        yield ("torch", f"{name}Storage"), getattr(torch, f"{name}Storage")
    yield ("torch", "Size"), torch.Size
    yield ("collections", "OrderedDict"), collections.OrderedDict
    # The names of Python 2 and Python 3; the pickle protocol decides which is used.
    yield ("__builtin__", "set"), set
    yield ("builtins", "set"), set


_TENSORS = dict(_tensor_names())
_MODULES = frozenset(_module_names())


def _restricted(allow_modules: bool) -> type[pickle.Unpickler]:
    class RestrictedUnpickler(pickle.Unpickler):
        """Finds the names listed above only."""

        def find_class(self, module: str, name: str) -> Any:
            key = (module, name)
            if key in _TENSORS:
                return _TENSORS[key]
            if key in _IGNORED:
                return Shell
            if key not in _MODULES:
                raise CheckpointError(
                    f"the checkpoint names {module}.{name}, which is not part of a network "
                    "this software imports; nothing of it was run"
                )
            if not allow_modules:
                raise CheckpointError(
                    f"the checkpoint is a pickled module ({module}.{name}), not a state dict; "
                    "allow pickled modules explicitly to import it"
                )
            return ModuleShell

    return RestrictedUnpickler


def read_checkpoint(path: Path, *, allow_modules: bool = False) -> Any:
    """Read a file of any version of torch.save, on the CPU.

    With `allow_modules` a module is returned as a `ModuleShell`; without it a module is an error.
    Raises CheckpointError if the file cannot be read or names anything but tensors, plain
    containers and layers of the known networks.
    """
    _refuse_script(path)
    unpickler = _restricted(allow_modules)

    def load(file: IO[bytes], **options: Any) -> Any:
        return unpickler(file, **options).load()

    pickling = SimpleNamespace(Unpickler=unpickler, load=load, __name__="restricted")
    return _load(path, lambda: _torch_load(path, pickling))


def _torch_load(path: Path, pickling: SimpleNamespace) -> Any:
    with warnings.catch_warnings():
        # Old files contain the source of their classes, and torch warns that it has changed.
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", pickle_module=pickling, weights_only=False)


def _load(path: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except FileNotFoundError as error:
        raise CheckpointError(f"no file {path}") from error
    except (
        OSError,
        EOFError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        AssertionError,
        RuntimeError,
        OverflowError,
        MemoryError,
        pickle.UnpicklingError,
    ) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} is not a readable checkpoint: {reason}") from error


def _refuse_script(path: Path) -> None:
    """Raise CheckpointError for a TorchScript archive: torch.load would prepare its code to run."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        raise CheckpointError(f"{path} is a TorchScript archive; import a state dict instead")
