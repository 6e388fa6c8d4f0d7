"""Checkpoints and golden outputs that must be refused before they become a bundle."""

import functools
import io
import math
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.models import densenet121

from tests.builders.bad_files.case import Case, Kind

State = dict[str, Tensor]
FIRST, LAST = "features.conv0.weight", "classifier.weight"


@functools.cache
def _state() -> State:
    torch.manual_seed(1)
    network = densenet121(weights=None, num_classes=14)
    return dict(network.state_dict())


def good_checkpoint(path: Path) -> None:
    """Write a checkpoint that can be imported."""
    torch.save(_state(), path)


def saved(name: str, line: str, change: Callable[[State], Any], *, zipped: bool = True) -> Case:
    """Return the slow case of a state dict that `change` has changed or replaced."""

    def make(folder: Path) -> Path:
        state = dict(_state())
        content = change(state)
        torch.save(
            state if content is None else content,
            folder / "net.pt",
            _use_new_zipfile_serialization=zipped,
        )
        return folder / "net.pt"

    return Case(name, Kind.CHECKPOINT, make, line, slow=True)


def written(name: str, line: str, write: Callable[[Path], object], *, slow: bool = False) -> Case:
    """Return the case of a file that `write` makes."""

    def make(folder: Path) -> Path:
        write(folder / "net.pt")
        return folder / "net.pt"

    return Case(name, Kind.CHECKPOINT, make, line, slow)


def pickled(name: str, line: str, code: Callable[[], bytes], *, slow: bool = False) -> Case:
    """Return the case of a zip checkpoint with this pickle."""

    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("net/data.pkl", code())
            archive.writestr("net/version", "3\n")

    return written(name, line, write, slow=slow)


def golden(name: str, line: str, write: Callable[[Path], object]) -> Case:
    """Return the case of golden outputs that `write` makes."""

    def make(folder: Path) -> Path:
        write(folder / "golden.npz")
        return folder / "golden.npz"

    return Case(name, Kind.GOLDEN, make, line, slow=True)


def _nested_key(levels: int) -> bytes:
    """Return a pickle of a dict whose key is a tuple in a tuple…"""
    return b"\x80\x02}K\x01" + b"\x85" * levels + b"K\x02s."


def _laughing_key() -> bytes:
    """Return a pickle of a dict whose key takes 2^60 steps to hash."""
    return b"\x80\x02}" + b"K\x01" + b"2\x86" * 60 + b"K\x02s."


def _itself() -> Any:
    """Return a module that holds itself as a layer."""
    module = torch.nn.Sequential()
    module._modules["again"] = module
    return module


def _many(layers: int) -> Any:
    """Return a module of 2^layers paths."""
    module = torch.nn.Sequential()
    for _ in range(layers):
        outer = torch.nn.Sequential()
        outer._modules.update(a=module, b=module)
        module = outer
    return module


def _bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data.pkl", b"\x80\x02}.")
        archive.writestr("net/data/0", bytes(300 * 10**6))


def _many_members(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(6_000):
            archive.writestr(f"net/{number}", "")


def _tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("storages")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"bomb"))


def _large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10**12)


def _npz(path: Path, **arrays: Any) -> None:
    np.savez_compressed(path, **arrays)


def _claimed(path: Path) -> None:
    """Write an array that claims 10^12 numbers and holds none."""
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("input.npy", data)
        archive.writestr("logits.npy", data)


def _wide(state: State) -> None:
    state[LAST] = torch.zeros(1).expand(18, 10**12)
    state[FIRST] = torch.zeros(64, 1, 7, 7)


def _complex(state: State) -> State:
    return {
        name: value + 1j if value.is_floating_point() else value for name, value in state.items()
    }


def _huge() -> Tensor:
    return torch.zeros(1).expand(14, 10**12)


def _nested(state: State, levels: int) -> Any:
    content: Any = state
    for _ in range(levels):
        content = {"state_dict": content}
    return content


def _films(dtype: Any = np.float32) -> Any:
    return np.zeros((2, 3, 64, 64), dtype)


def _zeros() -> Any:
    return np.zeros((2, 14))


class _Code:
    """A pickled call."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("true",)


CHECKPOINTS = (
    saved("complex", "is torch.complex64", lambda s: s.update({FIRST: s[FIRST] + 1j})),
    saved("whole numbers", "is torch.int64", lambda s: s.update({FIRST: s[FIRST].long()})),
    saved("shape of 10^12", "no known layout|has shape", lambda s: s.update({LAST: _huge()})),
    saved("18 outputs of 10^12", "has shape \\(18, 1000000000000\\)", _wide),
    saved("not finite", "not all finite", lambda s: s.update({FIRST: s[FIRST] * math.nan})),
    saved("beyond float32", "finite", lambda s: s.update({FIRST: s[FIRST].double() * 1e300})),
    saved("a key too many", "unexpected key", lambda s: s.update({"\n" * 500 + "x": s[FIRST]})),
    saved(
        "a key too few", "missing key", lambda s: {k: v for k, v in s.items() if "norm5" not in k}
    ),
    saved("no state dict", "expected, found list", lambda s: [1, 2, 3]),
    saved("a text inside", "holds str, not a tensor", lambda s: {**s, "name": "x"}),
    saved("nested 50 dicts", "holds dict, not a tensor|expected", lambda s: _nested(s, 50)),
    saved("code", "names posix.system", lambda s: {"state_dict": _Code()}),
    saved("code in the old format", "names posix", lambda s: [_Code()], zipped=False),
    saved("a module in itself", "missing key", lambda s: _itself()),
    saved("2^40 layers", "more than 5000 layers", lambda s: _many(40)),
    saved("optimiser only", "holds dict, not a tensor", lambda s: {"optimizer": {"lr": 0.1}}),
    saved("complex, old format", "torch.complex64", _complex, zipped=False),
    pickled(
        "nested 900,000 tuples as a key", "tuple as a key", lambda: _nested_key(900_000), slow=True
    ),
    pickled("2^60 steps to a key", "tuple as a key", _laughing_key),
    pickled("a memo of 2^31", "expected, found NoneType", lambda: b"\x80\x02Nr\xff\xff\xff\x7f."),
    pickled(
        "bytes of 2^60", "pickle is larger", lambda: b"\x80\x04\x8e" + (2**60).to_bytes(8, "little")
    ),
    pickled(
        "4 MB of steps",
        "pickle is larger than 1 MB",
        lambda: b"\x80\x02" + b"N0" * (2 * 10**6),
        slow=True,
    ),
    pickled("cut pickle", "not a readable checkpoint", lambda: pickle.dumps([1, 2])[:-3]),
    pickled(
        "a class changed",
        "changes a class",
        lambda: b"\x80\x02ctorch\nSize\n}X\x01\x00\x00\x00aK\x01sb.",
    ),
    written("unpacks to 300 MB", "300 MB unpacked, more than 192 MB", _bomb, slow=True),
    written("6000 members", "more than 5000 members", _many_members, slow=True),
    written("a tar archive", "is a tar archive", _tar),
    written("10^12 bytes", "larger than 192 MB", _large),
    written("a FIFO", "is a FIFO", os.mkfifo),
    written("a folder", "is a folder", Path.mkdir),
    written("zero bytes", "not a readable checkpoint", Path.touch),
    written("noise", "not a readable checkpoint", lambda p: p.write_bytes(os.urandom(10**5))),
    golden("golden claims 10^12", "cannot be read as golden", _claimed),
    golden(
        "golden of complex",
        "complex",
        lambda p: _npz(p, input=_films(np.complex64), logits=_zeros()),
    ),
    golden(
        "golden of NaN", "differs by", lambda p: _npz(p, input=_films(), logits=_zeros() * np.nan)
    ),
    golden(
        "golden of 300 MB",
        "more than 192 MB",
        lambda p: _npz(p, input=_films(), logits=_zeros(), x=np.zeros(300 * 10**6, np.uint8)),
    ),
    golden(
        "golden of objects",
        "cannot be read",
        lambda p: _npz(p, input=np.array([{}]), logits=_zeros()),
    ),
    golden("golden is a FIFO", "is a FIFO", os.mkfifo),
    golden(
        "golden of 1 pixel",
        "smaller than 32",
        lambda p: _npz(p, input=np.zeros((1, 3, 1, 1)), logits=_zeros()),
    ),
)
