"""The import rules of ARCHITECTURE.md, checked by reading every import in the tree."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.tools.paths import ROOT

PACKAGES = ("storage", "dicom_io", "cxr_model", "daemon")
PACKAGES_OF_DAEMON = {"storage", "dicom_io", "cxr_model"}
"""Only `daemon` imports another package."""

LIBRARIES = {
    "torch": "cxr_model",
    "onnx": "cxr_model",
    "onnxruntime": "cxr_model",
    "openvino": "cxr_model",
    "torchvision": "cxr_model",
    "safetensors": "cxr_model",
    "sklearn": "cxr_model",
    "pydicom": "dicom_io",
    "pynetdicom": "dicom_io",
    "highdicom": "dicom_io",
    "sqlalchemy": "storage",
    "alembic": "storage",
}
ROOMS = {
    "storage": {
        "errors": "",
        "records": "",
        "finding_text": "",
        "files": "errors",
        "tables": "errors records files",
        "audit": "errors files tables",
        "summaries": "records tables status",
        "queue": "errors records tables audit summaries",
        "commitment": "errors records tables audit queue summaries",
        "patients": "errors records tables",
        "images": "errors records finding_text tables audit queue commitment summaries patients",
        "worklist": "errors records tables audit queue images",
        "upkeep": "errors records files tables audit queue hosts",
        "hosts": "errors records files tables audit",
        "transfer": "errors records tables audit hosts",
        "offered": "records tables",
        "search": "errors records tables status audit images reviews summaries worklist",
        "reviews": "errors records tables audit images",
        "status": "records tables",
        "activity": "records tables",
        "statistics": "records tables",
        "export": "records finding_text files tables images",
        "store": (
            "errors records tables audit queue commitment patients images worklist upkeep "
            "hosts reviews offered search status activity summaries statistics export retrievals"
        ),
        "retrievals": "errors records tables audit queue",
        "orphans": "errors files hosts store",
        "migrations": "tables",
    },
    "dicom_io": {
        "errors": "",
        "audit_codes": "",
        "finding_text": "",
        "audit_message": "audit_codes",
        "read": "errors",
        "gate": "errors read",
        "objects": "errors finding_text read",
        "report": "errors finding_text read gate objects",
        "peer": "errors",
        "send": "errors read objects report peer",
        "commitment": "errors read peer send",
        "http": "errors peer",
        "dicomweb": "errors read objects report send http",
        "ups": "errors read objects peer send commitment dicomweb http",
        "receive": "errors read objects peer commitment dicomweb ups",
        "query": "errors read objects commitment send receive dicomweb http",
        "phantom": "objects",
    },
    "cxr_model": {
        "errors": "",
        "findings": "",
        "finding_text": "",
        "starter": "",
        "reference_film": "",
        "files": "errors findings",
        "predict": "errors findings finding_text reference_film files",
        "engine": "errors files predict",
        "data": "errors findings files predict",
        "calibrate": "errors findings files predict data",
        "evaluate": "errors findings files predict data calibrate",
        "train": "errors findings files predict data calibrate evaluate",
        "checkpoints": "errors findings files predict",
        "check": "errors files predict data calibrate",
    },
    "daemon": {
        "errors": "",
        "shipped": "errors",
        "version": "",
        "config": "errors",
        "worker": "errors config",
        "hosts": "errors version config worker",
        "audit": "errors config worker",
        "words": "",
        "receive": "errors config worker",
        "analyse": "errors version config worker",
        "report": "config worker words analyse",
        "hl7": "errors config worker audit",
        "deliver": "errors config worker fhir hl7",
        "fhir": "errors config",
        "commitment": "config worker",
        "worklist": "config worker",
        "retrieve": "errors config worker receive",
        "charts": "",
        "statistics": "charts",
        "batch": "errors config analyse charts",
        "actions": "errors config worker audit deliver",
        "web": (
            "errors version config worker hosts audit words charts actions receive analyse "
            "statistics"
        ),
        "listener": "config worker audit receive commitment worklist hl7 retrieve",
        "analyst": "errors config worker analyse report",
        "courier": "config worker audit deliver commitment worklist retrieve",
        "supervise": "errors config worker hosts audit",
        "preflight": "errors config worker hosts audit analyse deliver retrieve worklist web",
        "setup": "errors shipped version config worker preflight",
        "demo": "errors config shipped",
        "cli": (
            "errors version config worker hosts audit words analyse deliver actions web batch "
            "supervise preflight setup demo retrieve"
        ),
        "__main__": "cli",
    },
}
"""Each room (a folder, or a file beside folders) and the rooms of its package it may import."""
MOST_FILES = 12
"""Python files in a folder."""


def sources(package: str) -> Iterator[Path]:
    yield from sorted((ROOT / package).rglob("*.py"))


def imported_modules(path: Path) -> Iterator[tuple[int, str]]:
    """Every absolute import of the file as (line, dotted name); of a `from`, one per name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def package_of(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def room_of(path: Path) -> tuple[str, str]:
    """The package and the room that a source file lies in."""
    package, *inside = path.relative_to(ROOT).with_suffix("").parts
    return package, inside[0]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def assert_no_cycle(imports: Mapping[str, set[str]]) -> None:
    """Fail with the members of a cycle; the keys of `imports` import its values."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_they_may(package: str) -> None:
    allowed = PACKAGES_OF_DAEMON if package == "daemon" else set()
    offences = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sources(package)
        for line, module in imported_modules(path)
        if package_of(module) in set(PACKAGES) - allowed - {package}
    ]
    assert offences == []


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_import_only_what_they_may(package: str) -> None:
    rooms = ROOMS[package]
    offences = []
    for path in sources(package):
        room = room_of(path)[1]
        if room == "__init__":
            continue
        allowed = {room, *rooms[room].split()}
        offences += [
            f"{path.relative_to(ROOT)}:{line} imports {module}"
            for line, module in imported_modules(path)
            if package_of(module) == package and module.split(".")[1] not in allowed
        ]
    assert offences == []


@pytest.mark.parametrize("package", PACKAGES)
def test_the_table_names_each_room_once_and_no_other(package: str) -> None:
    found = {room_of(path)[1] for path in sources(package)} - {"__init__"}
    assert set(ROOMS[package]) == found
    named = {name for allowed in ROOMS[package].values() for name in allowed.split()}
    assert named <= found


@pytest.mark.parametrize("package", PACKAGES)
def test_the_page_shows_the_table_of_rooms(package: str) -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = page.split(f"| `{package}` | owns | may import |\n|---|---|---|\n")[1].split("\n\n")[0]
    rows = [row.strip("| ").split("|") for row in table.splitlines()]
    shown = {
        room: set(re.findall(r"\w+", cells[2] if len(cells) > 2 else ""))
        for cells in rows
        for room in re.findall(r"`(\w+)`", cells[0])
    }
    assert shown == {room: set(allowed.split()) for room, allowed in ROOMS[package].items()}


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_form_no_cycle(package: str) -> None:
    assert_no_cycle({room: set(allowed.split()) for room, allowed in ROOMS[package].items()})


def test_files_form_no_cycle() -> None:
    names = {module_name(path): path for package in PACKAGES for path in sources(package)}
    imports = {
        name: {
            known
            for _, module in imported_modules(path)
            for known in (module, module.rpartition(".")[0])
            if known in names and known != name
        }
        for name, path in names.items()
    }
    assert_no_cycle(imports)


@pytest.mark.parametrize("package", PACKAGES)
def test_libraries_stay_in_their_package(package: str) -> None:
    offences = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sources(package)
        for line, module in imported_modules(path)
        if LIBRARIES.get(package_of(module), package) != package
    ]
    assert offences == []


def test_the_rules_see_a_breach(tmp_path: Path) -> None:
    breach = tmp_path / "breach.py"
    breach.write_text("def f():\n    from torch import nn\n    import daemon.cli\n")
    assert list(imported_modules(breach)) == [(2, "torch.nn"), (3, "daemon.cli")]
    with pytest.raises(pytest.fail.Exception, match="import cycle"):
        assert_no_cycle({"a": {"b"}, "b": {"a"}})


@pytest.mark.parametrize(
    "module", ["dicom_io.receive.node", "storage.store", "daemon.listener", "daemon.web.server"]
)
def test_torch_is_not_loaded(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("package", [*PACKAGES, "tests"])
def test_folders_hold_few_files(package: str) -> None:
    counts: dict[Path, int] = {}
    for path in sources(package):
        if "migrations" not in path.parts:
            counts[path.parent] = counts.get(path.parent, 0) + 1
    full = {str(folder.relative_to(ROOT)): n for folder, n in counts.items() if n > MOST_FILES}
    assert full == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_hold_no_logic(package: str) -> None:
    for path in sources(package):
        if path.name == "__init__.py":
            body = ast.parse(path.read_text(encoding="utf-8")).body
            assert len(body) == 1, f"{path} holds more than its docstring"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_has_a_docstring(package: str) -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in sources(package)
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []
