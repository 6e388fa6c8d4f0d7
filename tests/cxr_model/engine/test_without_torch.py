"""Serving needs neither torch nor the packages of training, installed or not."""

import datetime
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dicom_io.phantom import PhantomFilm, build_film
from tests.tools.paths import ROOT

POISONED = ("torch", "torchvision", "pandas", "sklearn", "scipy")
SERVING = (
    "daemon.analyst",
    "daemon.courier",
    "daemon.listener",
    "daemon.web.server",
    "daemon.supervise.supervisor",
    "daemon.batch.analyse_files",
)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Environment in which an import of a poisoned package fails, in child processes, too."""
    for package in POISONED:
        (tmp_path / "poison" / package).mkdir(parents=True)
        (tmp_path / "poison" / package / "__init__.py").write_text(
            f"raise ModuleNotFoundError('No module named {package}', name='{package}')\n"
        )
    path = os.pathsep.join([str(tmp_path / "poison"), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "CXRD_MODEL__THREADS": "1"}


def run(
    environment: dict[str, str], folder: Path, *arguments: object
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_films_are_analysed(environment: dict[str, str], tmp_path: Path) -> None:
    film = tmp_path / "film.dcm"
    drawn = PhantomFilm("1", "1.2.3", rows=512, columns=448)
    film.write_bytes(build_film(drawn, datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)))
    home = tmp_path / "home"
    home.mkdir()
    cache = Path(environment["XDG_CACHE_HOME"])
    ended = run(
        {**environment, "HOME": str(home)},
        tmp_path,
        *("-m", "daemon", "analyse", film, "--out", "out"),
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("1 analysed, 0 not analysed"), ended.stdout
    assert "Effusion" in (tmp_path / "out" / "final_clinical_report.csv").read_text()
    # ONNX Runtime would keep an identifier and records of use there, to send them to its maker.
    assert {path.name for path in (*home.iterdir(), *cache.iterdir())} <= {"cxrd", "matplotlib"}


@pytest.mark.slow
def test_the_model_is_checked_and_shown(environment: dict[str, str], tmp_path: Path) -> None:
    checked = run(environment, tmp_path, "-m", "daemon", "check", "--json")
    (model,) = [one for one in json.loads(checked.stdout)["checks"] if one["name"] == "model"]
    assert model["result"] == "ok", model
    assert "ONNX Runtime" in model["detail"]
    shown = run(environment, tmp_path, "-m", "daemon", "model", "show")
    assert "\nengine: ONNX Runtime" in shown.stdout, shown.stderr


@pytest.mark.slow
def test_a_command_that_needs_torch_says_so(environment: dict[str, str], tmp_path: Path) -> None:
    ended = run(
        environment, tmp_path, "-m", "daemon", "model", "import", "weights.pt", "--out", "out"
    )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("cxrd: this command needs torch, which is not installed here")


def test_no_role_imports_a_package_of_training(tmp_path: Path) -> None:
    code = (
        f"import importlib, sys\nfor name in {SERVING}: importlib.import_module(name)\n"
        f"unwanted = {{*{POISONED}, 'matplotlib.pyplot'}}\n"
        "print(*sorted(unwanted & set(sys.modules)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = run(environment, tmp_path, "-c", code)
    assert ended.stdout.split() == [], ended.stdout + ended.stderr
    assert ended.returncode == 0, ended.stderr
