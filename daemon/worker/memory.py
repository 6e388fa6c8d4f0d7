"""The C library's memory of a process with several threads, kept small."""

import ctypes

# The numbers of malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8

_ARENAS = 2
_LARGE = 1 << 20


def return_freed_memory() -> None:
    """Make this process return the memory of films to the system when they are freed.

    Without this, glibc keeps an arena for each thread, and it keeps freed blocks of up to 32 MiB
    for later: each arena then holds the largest film that its thread had. Other C libraries have
    no such setting and are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in (
            (_M_ARENA_MAX, _ARENAS),
            (_M_MMAP_THRESHOLD, _LARGE),
            (_M_TRIM_THRESHOLD, _LARGE),
        ):
            mallopt(option, value)
