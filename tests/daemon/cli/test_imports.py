"""A command imports only the libraries that it uses, so that it answers at once."""

import subprocess
import sys
from pathlib import Path

from tests.builders.stores.new import new_store
from tests.tools.cli import environment

LIBRARIES = {
    "PIL",
    "alembic",
    "cv2",
    "highdicom",
    "jinja2",
    "matplotlib",
    "numpy",
    "onnx",
    "onnxruntime",
    "openvino",
    "pandas",
    "pydantic",
    "pydantic_settings",
    "pydicom",
    "pynetdicom",
    "scipy",
    "sklearn",
    "sqlalchemy",
    "starlette",
    "torch",
    "uvicorn",
    "yaml",
}
CONFIGURATION = {"pydantic", "pydantic_settings", "yaml"}
STORE = CONFIGURATION | {"sqlalchemy"}

RUN = """
import sys
from daemon.__main__ import main
for command in {commands}:
    sys.argv = ["cxrd", *command.split()]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, command
print(*sys.modules, file=sys.stderr)
"""


def imported(cwd: Path, *commands: str) -> set[str]:
    """Run commands in one new process; return the libraries that it has imported."""
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(commands=commands)],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return LIBRARIES & {name.split(".")[0] for name in done.stderr.split()}


def test_version_and_help_import_no_library(tmp_path: Path) -> None:
    assert imported(tmp_path, "--version", "--help") == set()


def test_the_help_of_a_command_imports_no_library(tmp_path: Path) -> None:
    shown = ("serve", "export", "jobs list", "audit", "studies", "model train", "model evaluate")
    # Typer itself converts arguments with pydantic.
    assert imported(tmp_path, *(f"{command} --help" for command in shown)) <= {"pydantic"}


def test_commands_of_the_store_import_its_libraries_only(tmp_path: Path) -> None:
    new_store(tmp_path / "data" / "cxrd.sqlite").close()
    read = ("jobs list", "studies list", "audit verify", "export --out rows.csv")
    assert imported(tmp_path, *read) == STORE
