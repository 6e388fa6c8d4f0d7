"""Keeps what pydicom has to say about bad input off the console and out of the logs."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Replacing the warning filters is process-wide: two threads that do it at once would restore
# them in the wrong order and leave warnings off for good.
_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def quietly() -> Iterator[list[warnings.WarningMessage]]:
    """Collect the warnings raised in the block instead of showing them.

    A warning of pydicom can quote the value that it complains about, which may name a patient.
    """
    with _ONE_AT_A_TIME, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught
