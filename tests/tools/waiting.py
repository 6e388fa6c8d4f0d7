"""Wait for a condition."""

import time
from collections.abc import Callable

WAIT_SECONDS = 90.0


def wait_until(
    condition: Callable[[], bool],
    what: str = "the condition holds",
    seconds: float = WAIT_SECONDS,
) -> None:
    """Fail unless the condition holds within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds:.0f} s still not: {what}"
        time.sleep(0.05)
