"""Markers say truthfully what a test module needs."""

import ast
import re
from pathlib import Path

import pytest

from tests.tools.paths import ROOT

NEEDS = {
    "daemon": {
        "daemon.supervise",
        "tests.faults.site",
        "tests.servers.dicomweb.site",
        "tests.faults.workitems.site",
        "tests.servers.role",
        "tests.servers.running.RunningDaemon",
        "tests.servers.running.SpawningDaemon",
        "tests.servers.website",
    },
    "network": {
        "socket",
        "http.client",
        "pynetdicom.AE",
        "dicom_io.receive.node.Node",
        "tests.faults.workitems.site",
        "tests.servers",
        "tests.tools.ports.free_port",
    },
}
"""Modules and names whose import means that a test module needs a marker."""

NO_SOCKET = {"tests.servers.postgresql_server", "tests.servers.watching"}
"""Modules of tests.servers that open no TCP or UDP socket."""

FIXTURES = {
    "daemon": {"daemon", "look", "site"},
    "network": {"bucket", "daemon", "look", "orthanc", "outbox", "pacs", "site"},
}
"""Fixtures of a conftest that need a marker."""

COMMANDS = re.compile(r'(?:"-m",\s+"daemon",|cxrd_process\(|\(installed,)\s*"(?:serve|demo)"')
"""Starts of the daemon as a process."""

MODULES = sorted((ROOT / "tests").rglob("test_*.py"))


def imported(tree: ast.Module) -> set[str]:
    """Return every imported module and every name as `module.name`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def requested(tree: ast.Module) -> set[str]:
    """Return the fixtures that tests and fixtures of a module take from a conftest."""
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    own = {
        function.name
        for function in functions
        if any("fixture" in ast.dump(decorator) for decorator in function.decorator_list)
    }
    asked = {
        argument.arg
        for function in functions
        if function.name.startswith("test_") or function.name in own
        for argument in function.args.args
    }
    return asked - own


def needed(path: Path) -> set[str]:
    """Return the markers that a module needs by what it imports and requests."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    names = {name for name in imported(tree) if not name.startswith(tuple(NO_SOCKET))}
    names -= {"tests.servers"}
    found = {marker for marker, fixtures in FIXTURES.items() if requested(tree) & fixtures}
    for marker, causes in NEEDS.items():
        if any(name == cause or name.startswith(f"{cause}.") for name in names for cause in causes):
            found.add(marker)
    if COMMANDS.search(text):
        found |= {"daemon", "network"}
    return found


def marked(path: Path) -> set[str]:
    """Return the markers in a module's `pytestmark`."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            return set(re.findall(r"pytest\.mark\.(\w+)", ast.unparse(node.value)))
    return set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT / "tests")))
def test_a_module_has_the_markers_of_what_it_uses(path: Path) -> None:
    assert marked(path) & set(NEEDS) == needed(path)
