"""Outside programs the interoperability tests talk to."""

import os
import shutil
import sys
from pathlib import Path

import pytest


def require_tool(name: str) -> str:
    """Path of an installed program; without it the test skips, or fails on CI.

    The virtual environment is left out of the search: pynetdicom installs a `storescu`
    there that takes other options than dcmtk's.
    """
    own_scripts = Path(sys.executable).parent
    folders = [
        folder
        for folder in [*os.environ.get("PATH", "").split(os.pathsep), "/usr/bin", "/usr/sbin"]
        if folder and Path(folder).resolve() != own_scripts.resolve()
    ]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is not None:
        return found
    reason = f"{name} is not installed (Debian packages: dcmtk, dicom3tools, orthanc)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
