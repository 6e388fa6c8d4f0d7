"""Core dumps are off: the memory of a process holds images, names, keys and passwords."""

import ctypes
import resource

_PR_SET_DUMPABLE = 4  # linux/prctl.h


def forbid_core_dumps() -> None:
    """Make this process leave no core dump.

    The limit is for files and is inherited. A program to which the kernel pipes dumps
    (core_pattern) may ignore the limit, but it gets none of a process that is not dumpable.
    Such a process cannot be traced by other processes of its user either, and they cannot read its
    environment; a new program resets it, so that each child calls this function.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
