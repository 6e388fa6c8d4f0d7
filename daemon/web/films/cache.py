"""Rendered pictures in memory, the last ones used up to a number of bytes."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

MOST_BYTES = 64 * 2**20

_Kept = TypeVar("_Kept")


class ByteCache(Generic[_Kept]):
    """Values by key, the least recently used thrown out first; thread-safe.

    `size_of` returns the bytes of a value. A value of more than an eighth of the room is not kept.
    """

    def __init__(self, size_of: Callable[[_Kept], int], most_bytes: int = MOST_BYTES) -> None:
        self._size_of = size_of
        self._most = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self.bytes = 0

    def get(self, key: Hashable) -> _Kept | None:
        """Return the value of a key, or None."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: Hashable, value: _Kept) -> None:
        """Keep a value."""
        size = self._size_of(value)
        if size > self._most // 8:
            return
        with self._lock:
            replaced = self._kept.pop(key, None)
            self._kept[key] = value
            self.bytes += size - (self._size_of(replaced) if replaced is not None else 0)
            while self.bytes > self._most:
                _, oldest = self._kept.popitem(last=False)
                self.bytes -= self._size_of(oldest)
