"""The machine and the versions that a result is from."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from tests.benchmarks.sides.programs import find_program
from tests.tools.paths import ROOT

PACKAGES = (
    *("numpy", "torch", "torchvision", "onnxruntime", "openvino", "grad-cam"),
    *("opencv-python-headless", "pydicom", "pynetdicom", "sqlalchemy"),
)


def machine(scratch: Path) -> dict[str, Any]:
    """Return processor, cores, memory, disk of the scratch folder, and versions."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "disk": _disk(scratch),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "programs": {name: _program(name) for name in ("storescp", "storescu", "Orthanc")},
    }


def commit() -> str:
    """Return the commit of the checkout, with a + if files differ from it."""
    head = _said("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
    changed = _said("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no")
    return f"{head}{'+' if changed else ''}"


def now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _disk(folder: Path) -> str:
    lines = _said("df", "--output=source,fstype,size", "-h", str(folder)).splitlines()
    return " ".join(lines[-1].split()) if lines else "unknown"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _program(name: str) -> str | None:
    path = find_program(name)
    if path is None:
        return None
    lines = _said(path, "--version").splitlines()
    return lines[0].strip("$ ").replace(path, name) if lines else "unknown"


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()
