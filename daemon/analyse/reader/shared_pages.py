"""Memory that a process shares with its reader, as an anonymous file.

The process that makes it sets its size, and reads and writes it by system calls: it maps nothing,
so that a reader that cuts the file off causes a short read here, and no SIGBUS.
"""

import os
import tempfile
from contextlib import ExitStack
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from daemon.errors import DecoderError

_Number = TypeVar("_Number", bound=np.generic)

KEPT_BYTES = 16 * 2**20
"""Bytes that stay allocated between two films; those of a larger film are given back."""


class SharedPages:
    """A file without a name, in memory where the system has `memfd_create`, else on the disk."""

    def __init__(self, size: int = 0) -> None:
        """Make a file of `size` zero bytes; a page takes memory once it is written."""
        self.descriptor = _anonymous_file()
        os.ftruncate(self.descriptor, size)

    def put(self, data: bytes) -> None:
        """Write the bytes at the start. Raises DecoderError if memory or disk has no room."""
        view = memoryview(data)
        done = 0
        try:
            while done < len(view):
                done += os.pwrite(self.descriptor, view[done:], done)
        except OSError as error:
            self.give_back()
            raise DecoderError(
                f"an image of {len(data) >> 20} MiB cannot be passed to its reader "
                f"({error.strerror or error}): is this machine out of memory?"
            ) from error

    def take(self, shape: tuple[int, ...], kind: type[_Number], offset: int) -> NDArray[_Number]:
        """Return a copy of the array at this offset. Raises EOFError if the file is shorter."""
        array = np.empty(shape, dtype=kind)
        rest, place = array.data.cast("B"), offset
        while rest:
            count = os.preadv(self.descriptor, [rest], place)
            if not count:
                raise EOFError("the shared memory is shorter than the image")
            rest, place = rest[count:], place + count
        return array

    def copy(self, size: int, offset: int) -> "SharedPages":
        """Return a copy of `size` bytes from an offset on, in a file of its own.

        Raises EOFError if the file is shorter, and DecoderError if memory or disk has no room.
        """
        made = SharedPages()
        try:
            with ExitStack() as undone:
                undone.callback(made.close)
                os.lseek(made.descriptor, 0, os.SEEK_SET)
                done = 0
                while done < size:
                    count = os.sendfile(
                        made.descriptor, self.descriptor, offset + done, size - done
                    )
                    if not count:
                        raise EOFError("the shared memory is shorter than the image")
                    done += count
                undone.pop_all()
        except OSError as error:
            raise DecoderError(
                f"an image of {size >> 20} MiB cannot be kept ({error.strerror or error}): is this "
                "machine out of memory?"
            ) from error
        return made

    def chunk(self, most: int, offset: int) -> bytes:
        """Return at most this many bytes from an offset on; none at the end."""
        return os.pread(self.descriptor, most, offset)

    def give_back(self) -> None:
        """Give back the pages beyond `KEPT_BYTES`; the size stays."""
        size = os.fstat(self.descriptor).st_size
        if size > KEPT_BYTES:
            os.ftruncate(self.descriptor, KEPT_BYTES)
            os.ftruncate(self.descriptor, size)

    def close(self) -> None:
        """Give all pages back."""
        os.close(self.descriptor)


def _anonymous_file() -> int:
    create = getattr(os, "memfd_create", None)
    if create is not None:
        return int(create("cxrd-film", os.MFD_CLOEXEC))
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
