"""What dicom3tools thinks of an object."""

import subprocess
from pathlib import Path

from tests.tools.installed import require_tool


def _verdict(path: Path) -> list[str]:
    tool = require_tool("dciodvfy")
    done = subprocess.run([tool, str(path)], capture_output=True, check=False, timeout=60)
    return (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()


def validate(path: Path) -> list[str]:
    """Error lines of dciodvfy on a file; an empty list means a valid object."""
    lines = _verdict(path)
    assert any(line and not line.startswith((" ", "Warning", "Error")) for line in lines), (
        f"dciodvfy did not recognise the IOD: {lines}"
    )
    return [line for line in lines if line.startswith("Error")]


def warnings(path: Path) -> list[str]:
    """Warning lines of dciodvfy on a file."""
    return [line.strip() for line in _verdict(path) if line.strip().startswith("Warning")]


def new_errors(path: Path, source: Path) -> list[str]:
    """Errors of an object that the source it was made from does not have itself."""
    known = {line for line in _verdict(source) if line.startswith("Error")}
    return [line for line in validate(path) if line not in known]
