"""Run `cxrd` commands."""

import os
import subprocess
import sys
from pathlib import Path

from tests.tools.paths import ROOT


def cxrd(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "daemon", *arguments],
        cwd=cwd,
        env={
            **{name: value for name, value in os.environ.items() if name[:5] != "CXRD_"},
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def one_line_of_error(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("cxrd: ")
    return line
