"""Programs that the interoperability tests talk to."""

import os
import shutil
import sys
from pathlib import Path

import pytest


def require_tool(name: str) -> str:
    """Return the path of an installed program; skip the test, or fail on CI, if it is absent.

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
    reason = f"{name} is not installed (.ci/run lists the Debian packages)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
