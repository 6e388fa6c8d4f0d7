"""Run `cxrd` commands."""

import contextlib
import io
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from daemon.cli.main import main
from tests.tools.paths import ROOT


def cxrd(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, in the folder `cwd`."""
    command = ["cxrd", *arguments]
    status = 0
    with _as_a_process(command, cwd) as (out, err):
        try:
            main()
        except SystemExit as ended:
            status = int(ended.code or 0)
    return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())


def cxrd_process(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, for commands that start processes."""
    return subprocess.run(
        [sys.executable, "-m", "daemon", *arguments],
        cwd=cwd,
        env=_environment() | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def one_line_of_error(done: subprocess.CompletedProcess[str]) -> str:
    """Return the line that says why a command failed, which must be its only line on stderr."""
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("cxrd: ")
    return line


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name[:5] != "CXRD_"}


@contextlib.contextmanager
def _as_a_process(command: list[str], cwd: Path) -> Iterator[tuple[io.StringIO, io.StringIO]]:
    """Isolate a command's folder, arguments, environment, output, umask and logging."""
    out, err = io.StringIO(), io.StringIO()
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    umask = os.umask(0o077)
    try:
        with (
            contextlib.chdir(cwd),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            mock.patch.object(sys, "argv", command),
            mock.patch.dict(os.environ, _environment(), clear=True),
            warnings.catch_warnings(),
        ):
            yield out, err
    finally:
        os.umask(umask)
        root.handlers[:] = handlers
        root.setLevel(level)
