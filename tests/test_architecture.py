"""The import rule of ARCHITECTURE.md, held by reading every import in the tree."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("storage", "dicom_io", "cxr_model", "daemon")
MAY_IMPORT = {
    "storage": set(),
    "dicom_io": set(),
    "cxr_model": set(),
    "daemon": {"storage", "dicom_io", "cxr_model"},
}
HOMES = {
    "torch": "cxr_model",
    "torchvision": "cxr_model",
    "safetensors": "cxr_model",
    "sklearn": "cxr_model",
    "pydicom": "dicom_io",
    "pynetdicom": "dicom_io",
    "highdicom": "dicom_io",
    "sqlalchemy": "storage",
    "alembic": "storage",
}
MAXIMUM_LINES = 400


def sources(room: str) -> Iterator[Path]:
    yield from sorted((ROOT / room).rglob("*.py"))


def imported_packages(path: Path) -> Iterator[tuple[int, str]]:
    """Every absolute import in the file, wherever it stands, as (line, top-level package)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            yield node.lineno, (node.module or "").split(".")[0]


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_what_they_may(room: str) -> None:
    offences = [
        f"{path.relative_to(ROOT)}:{line} imports {package}"
        for path in sources(room)
        for line, package in imported_packages(path)
        if package in set(ROOMS) - MAY_IMPORT[room] - {room}
    ]
    assert offences == []


@pytest.mark.parametrize("room", ROOMS)
def test_libraries_stay_in_their_home(room: str) -> None:
    offences = [
        f"{path.relative_to(ROOT)}:{line} imports {package}"
        for path in sources(room)
        for line, package in imported_packages(path)
        if HOMES.get(package, room) != room
    ]
    assert offences == []


def test_the_rule_sees_a_breach(tmp_path: Path) -> None:
    breach = tmp_path / "breach.py"
    breach.write_text("def f():\n    from torch import nn\n    import daemon.cli\n")
    assert list(imported_packages(breach)) == [(2, "torch"), (3, "daemon")]


@pytest.mark.parametrize(
    "module", ["dicom_io.node", "storage.store", "daemon.listener", "daemon.web.server"]
)
def test_torch_is_not_loaded(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("room", ROOMS)
def test_files_can_be_read_in_one_sitting(room: str) -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sources(room)
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAXIMUM_LINES
    }
    assert long == {}


@pytest.mark.parametrize("room", ROOMS)
def test_packages_hold_no_logic(room: str) -> None:
    for path in sources(room):
        if path.name == "__init__.py":
            body = ast.parse(path.read_text(encoding="utf-8")).body
            assert len(body) == 1, f"{path} holds more than its docstring"


@pytest.mark.parametrize("room", ROOMS)
def test_every_module_says_what_it_is(room: str) -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in sources(room)
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_architecture_names_every_file() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    missing = [
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in sources(room)
        if path.name != "__init__.py"
        and "migrations" not in path.parts
        and f"`{path.name}`" not in page
    ]
    assert missing == []
