"""Run `cxrd` commands."""

import contextlib
import io
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest import mock

from daemon.cli.main import main
from tests.tools.paths import ROOT


def cxrd(
    *arguments: object, cwd: Path, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, in the folder `cwd`."""
    command = ["cxrd", *map(str, arguments)]
    status = 0
    with _as_a_process(command, cwd, _environment(variables)) as (out, err):
        try:
            main()
        except SystemExit as ended:
            status = int(ended.code or 0)
    return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())


def cxrd_process(
    *arguments: object, cwd: Path, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, for commands that start processes."""
    return subprocess.run(
        [sys.executable, "-m", "daemon", *map(str, arguments)],
        cwd=cwd,
        env=environment(variables),
        capture_output=True,
        text=True,
        check=False,
    )


def one_line_of_error(done: subprocess.CompletedProcess[str]) -> str:
    """Return the error of a failed command, which must be the only line on stderr."""
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("cxrd: ")
    return line


def environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a `cxrd` process whose CXRD_ variables are `variables`."""
    return _environment(variables) | {"PYTHONPATH": str(ROOT)}


def _environment(variables: Mapping[str, str] | None) -> dict[str, str]:
    """Return this process's environment with its CXRD_ variables replaced by `variables`."""
    inherited = {name: value for name, value in os.environ.items() if name[:5] != "CXRD_"}
    return inherited | dict(variables or {})


@contextlib.contextmanager
def _as_a_process(
    command: list[str], cwd: Path, environment: Mapping[str, str]
) -> Iterator[tuple[io.StringIO, io.StringIO]]:
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
            mock.patch.dict(os.environ, environment, clear=True),
            warnings.catch_warnings(),
        ):
            yield out, err
    finally:
        os.umask(umask)
        root.handlers[:] = handlers
        root.setLevel(level)
