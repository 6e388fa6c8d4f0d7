"""Builds the distributions once, as `make dist` does, from a copy of the checkout."""

import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.tools.paths import ROOT

MADE = (".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis")
OUTPUTS = ("build", "dist", "data", "out", "runs")
BUILD = "import sys, setuptools.build_meta as b; print(getattr(b, sys.argv[1])(sys.argv[2]))"
EPOCH = "1700000000"


@dataclass(frozen=True)
class Built:
    """The distributions of one checkout, and all that the builds printed."""

    tree: Path
    sdist: Path
    unpacked: Path
    wheel: Path
    wheel_of_tree: Path
    output: str


def _ignored(folder: str, names: list[str]) -> set[str]:
    top = set(OUTPUTS) if Path(folder) == ROOT else set()
    return {name for name in names if name in {*MADE, *top, "__pycache__"} or "egg-info" in name}


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build the sdist, the wheel from it, and the wheel from the tree."""
    folder = tmp_path_factory.mktemp("distribution")
    tree = folder / "tree"
    shutil.copytree(ROOT, tree, ignore=_ignored)
    output = []

    def build(kind: str, source: Path, out: Path) -> Path:
        done = subprocess.run(
            [sys.executable, "-W", "always::DeprecationWarning", "-c", BUILD, kind, str(out)],
            cwd=source,
            env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH, "PYTHONDONTWRITEBYTECODE": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        output.append(done.stdout + done.stderr)
        return out / done.stdout.splitlines()[-1]

    wheel_of_tree = build("build_wheel", tree, folder / "from-tree")
    shutil.rmtree(tree / "build")
    sdist = build("build_sdist", tree, folder / "dist")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "sdist", filter="data")
    (unpacked,) = (folder / "sdist").iterdir()
    wheel = build("build_wheel", unpacked, folder / "dist")
    return Built(tree, sdist, unpacked, wheel, wheel_of_tree, "".join(output))
