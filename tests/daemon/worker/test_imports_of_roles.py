"""A role imports the libraries that it uses: each costs time at its start, and memory."""

import subprocess
import sys

import pytest

from daemon.worker.role import PIXEL_LIBRARIES
from tests.tools.cli import environment
from tests.tools.paths import ROOT

NEVER = {
    "alembic",
    "matplotlib",
    "onnx",
    "pandas",
    "scipy",
    "sklearn",
    "torch",
    "typer",
}
PAGE = {"jinja2", "starlette", "uvicorn"}
PICTURES = {"cv2", "highdicom", "imagecodecs", "onnxruntime", "openvino"}

LEFT_OUT = {
    "listener": NEVER | PAGE | PICTURES | set(PIXEL_LIBRARIES),
    "courier": NEVER | PAGE | {"highdicom", "onnxruntime", "openvino"},
    # It draws overlays and reads its own reports; films are decoded in processes of their own.
    "web": NEVER | {"highdicom", "imagecodecs", "onnxruntime", "openvino", "pynetdicom"},
}

CODE = """
import sys
from daemon.config.settings import Config
from daemon.worker.role import RoleName, import_role
import_role(RoleName(sys.argv[1]))
print(*(name for name, module in sys.modules.items() if module is not None))
"""


@pytest.mark.parametrize(
    "role",
    [
        "listener",
        pytest.param("courier", marks=pytest.mark.slow),
        pytest.param("web", marks=pytest.mark.slow),
    ],
)
def test_a_role_leaves_out_the_libraries_of_the_others(role: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, role],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert LEFT_OUT[role] & set(done.stdout.split()) == set()
