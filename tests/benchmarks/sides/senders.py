"""Senders: dcmtk's storescu, one or several at once."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.sides.programs import program
from tests.tools.ports import HOST, NODE, SENDER


def send(paths: Sequence[Path], port: int, *options: str) -> None:
    """Send the files in one association. Raises RuntimeError unless all were taken."""
    send_in_parallel([paths], port, *options)


def send_in_parallel(groups: Sequence[Sequence[Path]], port: int, *options: str) -> None:
    """Send each group in an association of its own, all at the same time."""
    command = [program("storescu"), *options, "-aet", SENDER, "-aec", NODE, HOST, str(port)]
    running = [
        subprocess.Popen([*command, *map(str, group)], stderr=subprocess.PIPE) for group in groups
    ]
    for process in running:
        _, said = process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"storescu failed: {said.decode(errors='replace')[-500:]}")
