"""`make TORCH_INDEX=…` takes torch and torchvision from that index, and nothing else.

The Makefile is that of the checkout. The project, its dependencies and both indexes are made.
"""

import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.installed import require_tool
from tests.tools.paths import ROOT

pytestmark = pytest.mark.slow

PROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "cxrd"
version = "1.0"
"""
BACKEND = """\
import shutil
def build_editable(folder, config_settings=None, metadata_directory=None):
    return shutil.copy("cxrd-1.0-py3-none-any.whl", folder).rpartition("/")[2]
"""


def write_wheel(folder: Path, name: str, version: str, *requires: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {one}" for one in requires] + ["Provides-Extra: dev"]
    tag = "Wheel-Version: 1.0\nGenerator: made\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
        wheel.writestr(f"{info}/WHEEL", tag)
        wheel.writestr(f"{info}/RECORD", "")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print no line for a request."""


@pytest.fixture
def indexes(tmp_path: Path) -> Iterator[str]:
    """Serve two indexes: /cpu has torch, and a trap; /pypi has the rest, and a newer torch."""
    folder = tmp_path / "indexes"
    for index, torch, helper in (("cpu", "9.0", "99.0"), ("pypi", "99.0", "1.0")):
        write_wheel(folder / index / "torch", "torch", torch, "helper")
        write_wheel(folder / index / "torchvision", "torchvision", torch, "torch", "helper")
        write_wheel(folder / index / "helper", "helper", helper)
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def installed(project: Path, *options: str, indexes: str) -> dict[str, str]:
    """Run the target that installs; return the made distributions and their versions."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    pip = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": f"{indexes}/pypi",
        "PIP_EXTRA_INDEX_URL": f"{indexes}/pypi",
    }
    make = [require_tool("make"), ".venv/.ready", f"PYTHON={sys.executable}", *options]
    done = subprocess.run(
        make, cwd=project, env=inherited | pip, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    python = str(project / ".venv" / "bin" / "python")
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"],
        capture_output=True,
        check=True,
    )
    return {one["name"]: one["version"] for one in json.loads(listed.stdout)}


def test_only_torch_comes_from_the_index_for_torch(tmp_path: Path, indexes: str) -> None:
    project = tmp_path / "project"
    write_wheel(project, "cxrd", "1.0", "torch", "torchvision", "helper")
    (project / "pyproject.toml").write_text(PROJECT)
    (project / "backend.py").write_text(BACKEND)
    shutil.copy(ROOT / "Makefile", project)
    found = installed(project, f"TORCH_INDEX={indexes}/cpu", indexes=indexes)
    wanted = {"torch": "9.0", "torchvision": "9.0", "helper": "1.0", "cxrd": "1.0"}
    assert wanted.items() <= found.items()
