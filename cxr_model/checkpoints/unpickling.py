"""Reads pickled checkpoints of third parties without running their code.

A pickle can call any function that it names. This reader allows a short list of names: tensors are
rebuilt by torch's own functions, layers of known networks become inert shells that hold their
pickled state, and any other name is an error.
"""

import io
import pickle
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, ClassVar

import torch
from torch import Tensor

from cxr_model.checkpoints.checked_unpickler import (
    CheckedUnpickler,
    ordered_dict,
    plain_set,
)
from cxr_model.errors import CheckpointError
from cxr_model.files.archive import check_archive
from cxr_model.files.regular_file import MB, read_regular
from cxr_model.files.strict_json import shown_name

#: DenseNet-121 and its optimiser's moments take 90 MB.
LARGEST_CHECKPOINT = 192 * MB

_MOST_LAYERS = 5_000
_LONGEST_PREFIX = 500


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

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield parameters and buffers with their names in a state dict.

        Raises CheckpointError for a network of too many layers: a layer may hold itself.
        """
        waiting: list[tuple[str, Shell]] = [("", self)]
        for _ in range(_MOST_LAYERS):
            if not waiting:
                return
            prefix, layer = waiting.pop()
            for table in ("_parameters", "_buffers"):
                for name, value in layer.children(table):
                    if isinstance(value, Tensor):
                        yield f"{prefix}{name}", value
            for name, child in layer.children("_modules"):
                if isinstance(child, Shell) and len(prefix) < _LONGEST_PREFIX:
                    waiting.append((f"{prefix}{name}.", child))
        raise CheckpointError(f"the pickled module has more than {_MOST_LAYERS} layers")

    def children(self, table: str) -> list[tuple[str, Any]]:
        """Return the named entries of a table of the pickled state."""
        entries = self.attribute(table)
        if not isinstance(entries, dict):
            return []
        return [(name, value) for name, value in entries.items() if isinstance(name, str)]


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
    yield ("collections", "OrderedDict"), ordered_dict
    # The names of Python 2 and Python 3; the pickle protocol decides which is used.
    yield ("__builtin__", "set"), plain_set
    yield ("builtins", "set"), plain_set


_TENSORS = dict(_tensor_names())
_MODULES = frozenset(_module_names())


def _restricted(allow_modules: bool) -> type[CheckedUnpickler]:
    class RestrictedUnpickler(CheckedUnpickler):
        """Finds the names listed above only."""

        def find_class(self, module: str, name: str) -> Any:
            key = (module, name)
            if key in _TENSORS:
                return _TENSORS[key]
            if key in _IGNORED:
                return Shell
            if key not in _MODULES:
                named = shown_name(f"{module}.{name}")
                raise CheckpointError(
                    f"the checkpoint names {named}, which is not part of a network this software "
                    "imports; nothing of it was run"
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
    data = read_regular(path, LARGEST_CHECKPOINT, CheckpointError)
    return parse_checkpoint(path, data, allow_modules=allow_modules)


def parse_checkpoint(path: Path, data: bytes, *, allow_modules: bool = False) -> Any:
    """Read the bytes of the file at `path` as `read_checkpoint` does."""
    check_archive(path, data, CheckpointError)
    unpickler = _restricted(allow_modules)

    def load(file: IO[bytes], **options: Any) -> Any:
        return unpickler(file, **options).load()

    pickling = SimpleNamespace(Unpickler=unpickler, load=load, __name__="restricted")
    return _load(path, lambda: _torch_load(io.BytesIO(data), pickling))


def _torch_load(file: io.BytesIO, pickling: SimpleNamespace) -> Any:
    with warnings.catch_warnings():
        # Old files contain the source of their classes, and torch warns that it has changed.
        warnings.simplefilter("ignore")
        return torch.load(file, map_location="cpu", pickle_module=pickling, weights_only=False)


def _load(path: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
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
        reason = (str(error).splitlines() or ["it ends early"])[0]
        if isinstance(error, LookupError):
            reason = "its pickle is damaged"
        raise CheckpointError(f"{path} is not a readable checkpoint: {reason[:200]}") from error
