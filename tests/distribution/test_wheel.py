"""The sdist and the wheel are complete and reproducible, and the wheel works where it is installed.

The libraries are those of the running environment: only the wheel of cxrd is installed.
"""

import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
import venv
import zipfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest

from dicom_io.phantom import PhantomFilm, build_film
from tests.distribution.conftest import Built
from tests.tools.installed import require_tool
from tests.tools.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.daemon, pytest.mark.network]

SECONDS = 120


def files_of(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not {"build", "cxrd.egg-info"} & set(path.parts)
    }


def test_the_builds_warn_of_nothing(built: Built) -> None:
    lines = [line for line in built.output.splitlines() if re.search(r"(?i)warning\b(?!s_)", line)]
    assert [line for line in lines if not re.match(r"(copying|adding|creating) ", line)] == []


def test_the_sdist_holds_every_file_of_the_tree(built: Built) -> None:
    assert files_of(built.tree) - files_of(built.unpacked) == set()
    added = files_of(built.unpacked) - files_of(built.tree)
    assert added == {"PKG-INFO", "setup.cfg"}


def test_the_wheel_from_the_sdist_is_that_of_the_tree(built: Built) -> None:
    assert built.wheel.name == f"cxrd-{version('cxrd')}-py3-none-any.whl"
    assert built.wheel.read_bytes() == built.wheel_of_tree.read_bytes()


def test_the_wheel_holds_what_the_commands_and_people_need(built: Built) -> None:
    names = set(zipfile.ZipFile(built.wheel).namelist())
    shipped = {
        name.removeprefix("daemon/shipped_files/")
        for name in names
        if name.startswith("daemon/shipped_files/")
    }
    wanted = {
        name
        for name in files_of(built.tree)
        if name.startswith(("docs/", "deploy/"))
        or (
            (name.startswith("requirements-") or name == "config.yaml" or name.endswith(".md"))
            and "/" not in name
        )
    }
    assert shipped == wanted
    packages = ("cxr_model/", "cxrd/", "daemon/", "dicom_io/", "storage/")
    sources = {name for name in files_of(built.tree) if name.startswith(packages)}
    assert sources - names == set()
    assert not [name for name in names if name.startswith("tests/")]
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel where no command may write. Return the script `cxrd`."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PIP_NO_INDEX": "1"}
    environment.pop("PYTHONPATH", None)
    subprocess.run([*pip, "--no-deps", str(built.wheel)], env=environment, check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    # The libraries. A .pth file inside this folder, such as that of an editable cxrd, is not read.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for path in [site, *site.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o555 if path.is_dir() else 0o444)
    return folder / "bin" / "cxrd"


def as_reader(*command: object) -> list[str]:
    """Return a command that may write only where file modes allow it, also if root runs it."""
    if os.geteuid() == 0:
        drop = "-dac_override,-dac_read_search,-fowner"
        return [
            require_tool("setpriv"),
            "--bounding-set",
            drop,
            "--inh-caps",
            drop,
            *map(str, command),
        ]
    return list(map(str, command))


def environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONPATH" and not name.startswith("CXRD_")
    }


def run(script: Path, *arguments: object, cwd: Path) -> str:
    done = subprocess.run(
        as_reader(script, *arguments),
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_node_is_made_checked_and_served(installed: Path, tmp_path: Path) -> None:
    (site,) = installed.parents[1].glob("lib/python*/site-packages")
    touch = subprocess.run(as_reader("touch", site / "x"), capture_output=True, check=False)
    assert touch.returncode != 0
    assert run(installed, "--version", cwd=tmp_path).startswith(f"cxrd {version('cxrd')}, Python ")
    ports = ("--port", free_port(), "--web-port", free_port())
    run(installed, "init", "node", "--yes", *ports, cwd=tmp_path)
    text = (tmp_path / "node" / "config.yaml").read_text()
    assert "# cxrd: the complete configuration with its defaults." in text
    checked = run(installed, "check", cwd=tmp_path / "node")
    assert "FAILED" not in checked
    log = tmp_path / "log"
    with log.open("wb") as file:
        node = subprocess.Popen(
            as_reader(installed, "serve"), cwd=tmp_path / "node", env=environment(), stderr=file
        )
    try:
        deadline = time.monotonic() + SECONDS
        while b"cxrd is ready" not in log.read_bytes():
            assert node.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        node.send_signal(signal.SIGTERM)
        assert node.wait(SECONDS) == 0
    finally:
        node.kill()
        node.wait()


def test_films_are_analysed_and_exported(installed: Path, tmp_path: Path) -> None:
    # A file of the current folder that is called as a package of cxrd.
    (tmp_path / "storage.py").write_text("raise SystemExit('not this')\n")
    shown = run(installed, "demo", "--keep", "kept", cwd=tmp_path)
    assert "RESEARCH USE ONLY" in shown
    rows = run(
        installed, "export", "--out", "films.csv", "--config", "kept/config.yaml", cwd=tmp_path
    )
    assert rows.startswith("3 row(s) in films.csv")
    (tmp_path / "film.dcm").write_bytes(build_film(PhantomFilm("P", "A"), datetime.now(UTC)))
    run(installed, "analyse", "film.dcm", "--out", "out", cwd=tmp_path)
    assert (tmp_path / "out" / "final_clinical_report.csv").is_file()
    assert (tmp_path / "out" / "dashboard.html").is_file()
