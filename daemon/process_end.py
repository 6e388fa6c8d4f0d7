"""How a process ended, in words."""

import signal


def end_of(exitcode: int | None) -> str:
    """The signal by its name, or the exit status, of what `multiprocessing` gives as exit code."""
    if exitcode is None or exitcode >= 0:
        return f"exit status {exitcode}"
    number = -exitcode
    try:
        return f"signal {signal.Signals(number).name}"
    except ValueError:
        # Of the real-time signals only the first and the last have names.
        return f"signal {number}"
