"""Verdicts of other programs (dicom3tools, dcmtk, highdicom) on an object."""

import subprocess
from pathlib import Path
from typing import Any

import highdicom

from tests.tools.installed import require_tool


def _verdict(path: Path) -> list[str]:
    tool = require_tool("dciodvfy")
    done = subprocess.run([tool, str(path)], capture_output=True, check=False, timeout=60)
    return (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()


def validate(path: Path) -> list[str]:
    """Return the error lines of dciodvfy on a file; an empty list means a valid object."""
    lines = _verdict(path)
    assert any(line and not line.startswith((" ", "Warning", "Error")) for line in lines), (
        f"dciodvfy did not recognise the IOD: {lines}"
    )
    return [line for line in lines if line.startswith("Error")]


def warnings(path: Path) -> list[str]:
    """Return the warning lines of dciodvfy on a file."""
    return [line.strip() for line in _verdict(path) if line.strip().startswith("Warning")]


def new_errors(path: Path, source: Path) -> list[str]:
    """Return the errors of an object that its source does not have."""
    known = {line for line in _verdict(source) if line.startswith("Error")}
    return [line for line in validate(path) if line not in known]


OUTLINE = ((10.5, 20.5), (30.5, 20.5), (20.5, 40.25))


def dump(path: Path) -> str:
    tool = require_tool("dsrdump")
    done = subprocess.run([tool, "+Pl", str(path)], capture_output=True, check=True, timeout=60)
    return done.stdout.decode("utf-8", "replace")


def check_readers(path: Path, absent: int = 13) -> None:
    """Check that dsrdump and highdicom read 14 findings, with `absent` of them absent."""
    assert dump(path).count('"Absent"') == absent
    read: Any = highdicom.sr.srread(path)
    outlined = read.content.get_planar_roi_measurement_groups()
    assert len(outlined) + len(read.content.get_image_measurement_groups()) == 14
