"""A role imports the libraries that it uses: each costs time at its start, and memory."""

import subprocess
import sys

import pytest

from daemon.web.server import LOADED_LATER
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
    # Its pages load numpy, OpenCV and pydicom at their first use.
    "web": NEVER | PICTURES | set(PIXEL_LIBRARIES) | {"pydicom", "pynetdicom"},
}

CODE = """
import sys
from daemon.config.settings import Config
from daemon.worker.role import RoleName, import_role
import_role(RoleName(sys.argv[1]))
print(*(name for name, module in sys.modules.items() if module is not None))
"""

# Threads ask for all of it at once, as the first pages may.
CODE_OF_FIRST_USE = """
import importlib, sys, threading
from daemon.config.sections.roles import AnalystConfig
from daemon.web.films.readers import FilmReaders
from daemon.web.server import LOADED_LATER
readers, pools = FilmReaders(AnalystConfig()), []
threads = [
    threading.Thread(target=target, args=args)
    for name in LOADED_LATER
    for target, args in (
        (importlib.import_module, (name,)),
        (lambda: pools.append(readers._pool), ()),
    )
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(pools) == len(LOADED_LATER), len(set(pools)), *sys.modules)
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
    assert LEFT_OUT[role] & set(printed(CODE, role)) == set()


@pytest.mark.slow
def test_pages_load_their_libraries_once_though_several_ask() -> None:
    are_all_made, pools, *modules = printed(CODE_OF_FIRST_USE)
    assert (are_all_made, pools) == ("True", "1")
    assert {"cv2", "numpy", "pydicom"} | set(LOADED_LATER) <= set(modules)


def printed(code: str, *arguments: str) -> list[str]:
    """Return the words that code prints in a process of its own; it prints no error."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()
