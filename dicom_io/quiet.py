"""Keeps what pydicom has to say about bad input off the console and out of the logs."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Warning filters and log levels are process-wide: two threads that change them at once would
# restore them in the wrong order and leave them changed for good.
_ONE_AT_A_TIME = threading.RLock()
_SILENT = logging.CRITICAL + 1


@contextmanager
def quietly() -> Iterator[list[warnings.WarningMessage]]:
    """Collect the warnings raised in the block instead of showing or logging them.

    A warning of pydicom can quote the value that it complains about, which may name a patient.
    What matters is raised as an error by the code that runs inside.
    """
    logger = logging.getLogger("pydicom")
    with _ONE_AT_A_TIME, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        level = logger.level
        logger.setLevel(_SILENT)
        try:
            yield caught
        finally:
            logger.setLevel(level)
