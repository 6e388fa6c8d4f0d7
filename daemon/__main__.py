"""`cxrd` and `python -m daemon`. Ctrl-C ends a command quietly, also while Python imports it."""

import os
import signal

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells give it: 128 and the number of SIGINT."""


def main() -> None:
    """Import the commands and run one."""
    # Python's own handler would print the traceback of an interrupted import.
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    from daemon.cli.main import main as run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run()
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)


if __name__ == "__main__":
    from cxrd.__main__ import main as checked

    checked()
