"""An unpickler within a budget of bytes, for pickles of unknown origin.

The unpickler in C allocates a table as large as a memo number claims, and hashes any key: hashing
nested tuples may take for ever, or end the process. Python's own does as it is told here.
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any, ClassVar

from cxr_model.errors import CheckpointError
from cxr_model.files.regular_file import MB

# Pickles of DenseNet-121 without its numbers have 0.1 to 0.2 MB.
_MOST_PICKLED = MB

_Step = Callable[[Any], None]


def plain_key(value: Any) -> Any:
    """Return a key of a dict or set. Raises CheckpointError if it is a container."""
    if value is None or isinstance(value, str | bytes | int | float):
        return value
    raise CheckpointError(f"the checkpoint has a {type(value).__name__} as a key")


def ordered_dict(pairs: Iterable[tuple[Any, Any]] = ()) -> OrderedDict[Any, Any]:
    """Return an OrderedDict with plain keys; it stands for the class in a pickle."""
    return OrderedDict((plain_key(key), value) for key, value in pairs)


def plain_set(elements: Iterable[Any] = ()) -> set[Any]:
    """Return a set of plain elements; it stands for the class in a pickle."""
    return {plain_key(element) for element in elements}


def _checked(code: bytes, keys: Callable[[list[Any]], Iterable[Any]]) -> tuple[int, _Step]:
    """Return the step of an opcode that checks `keys` of the stack before it acts."""
    step: _Step = pickle._Unpickler.dispatch[code[0]]

    def checked(unpickler: Any) -> None:
        for key in keys(unpickler.stack):
            plain_key(key)
        step(unpickler)

    return code[0], checked


def _parts(stack: list[Any]) -> list[Any]:
    """Return what is nested in the name of a storage, a tuple that may hold a flat tuple."""
    saved = stack[-1] if isinstance(stack[-1], tuple) else ()
    return [inner for part in saved if isinstance(part, tuple) for inner in part]


def _build(unpickler: Any) -> None:
    if callable(unpickler.stack[-2]):
        raise CheckpointError("the checkpoint changes a class")
    step: _Step = pickle._Unpickler.dispatch[pickle.BUILD[0]]
    step(unpickler)


_DISPATCH: Mapping[int, _Step] = {
    **pickle._Unpickler.dispatch,
    **dict(
        (
            _checked(pickle.SETITEM, lambda stack: stack[-2:-1]),
            _checked(pickle.SETITEMS, lambda stack: stack[::2]),
            _checked(pickle.DICT, lambda stack: stack[::2]),
            _checked(pickle.ADDITEMS, lambda stack: stack),
            _checked(pickle.FROZENSET, lambda stack: stack),
            _checked(pickle.BINPERSID, _parts),
        )
    ),
    pickle.BUILD[0]: _build,
}


class CheckedUnpickler(pickle._Unpickler):
    """Python's unpickler. Raises CheckpointError beyond 1 MB and for a key that is a container."""

    dispatch: ClassVar[dict[int, _Step]] = dict(_DISPATCH)

    def __init__(self, file: IO[bytes], **options: Any) -> None:
        super().__init__(file, **options)
        self._left = _MOST_PICKLED
        for name in ("_file_read", "_file_readline"):
            setattr(self, name, self._counted(getattr(self, name)))
        # Without it the unpickler uses the reads above.
        self._file_readinto = None

    def _counted(self, read: Callable[[int], bytes]) -> Callable[..., bytes]:
        def counted(size: int = -1) -> bytes:
            if size > self._left:
                raise CheckpointError(f"the pickle is larger than {_MOST_PICKLED / MB:g} MB")
            data = read(size if size >= 0 else self._left)
            self._left -= len(data)
            return data

        return counted
