"""The locks name each package that is needed, in a version that pyproject.toml allows, by hash."""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from tests.tools.paths import ROOT

SERVING, FULL = "requirements-serving.txt", "requirements-full.txt"
TRAINING_ONLY = {"torch", "torchvision", "pandas", "scikit-learn"}
"""Dependencies that only training, import and measuring need."""


@dataclass(frozen=True, slots=True)
class Pin:
    """A package in a lock. A package can have several pins, each for other versions of Python."""

    name: NormalizedName
    version: Version
    hashes: frozenset[str]


@cache
def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def pins(lock: str) -> list[Pin]:
    text = (ROOT / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    found = []
    for line in text.splitlines():
        if line and line.lstrip()[0] != "#":
            requirement = Requirement(line.partition(" --hash")[0])
            (specifier,) = requirement.specifier
            assert specifier.operator == "==", line
            hashes = frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})\b", line))
            found.append(
                Pin(canonicalize_name(requirement.name), Version(specifier.version), hashes)
            )
    return found


def direct() -> list[Requirement]:
    """The dependencies of the project, and those for each kind of store and spool."""
    table = project()["project"]
    optional = table["optional-dependencies"]
    return [
        Requirement(one)
        for one in [*table["dependencies"], *optional["postgresql"], *optional["s3"]]
    ]


def add_needed(requirement: Requirement, left_out: set[str], found: set[str]) -> None:
    """Add a requirement and all that it requires to `found`."""
    name = canonicalize_name(requirement.name)
    if name in found | left_out:
        return
    found.add(name)
    try:
        required = distribution(name).requires or []
    except PackageNotFoundError:
        return
    for one in map(Requirement, required):
        extras = requirement.extras or {""}
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras):
            add_needed(one, left_out, found)


@pytest.mark.parametrize(("lock", "left_out"), [(SERVING, TRAINING_ONLY), (FULL, set[str]())])
def test_a_lock_is_complete(lock: str, left_out: set[str]) -> None:
    found: set[str] = set()
    for dependency in direct():
        add_needed(dependency, left_out, found)
    named = [pin.name for pin in pins(lock)]
    assert named == sorted(named)
    # A marker of another Python or system may add a package, but never take one away.
    assert found - set(named) == set()
    assert set(named) & left_out == set()


@pytest.mark.parametrize("lock", [SERVING, FULL])
def test_a_lock_has_versions_that_the_project_allows(lock: str) -> None:
    allowed = {canonicalize_name(one.name): one.specifier for one in direct()}
    refused = [
        pin for pin in pins(lock) if pin.name in allowed and pin.version not in allowed[pin.name]
    ]
    assert refused == []


@pytest.mark.parametrize("lock", [SERVING, FULL])
def test_a_lock_has_hashes(lock: str) -> None:
    assert [pin.name for pin in pins(lock) if not pin.hashes] == []


def test_both_locks_hold_the_same_builds() -> None:
    assert [pin for pin in pins(SERVING) if pin not in pins(FULL)] == []


def test_the_makefile_leaves_out_what_only_training_needs() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (names,) = re.findall(r"(?m)^TRAINING_ONLY := (.*)$", makefile)
    assert set(names.split()) == TRAINING_ONLY


def test_an_installation_has_every_package() -> None:
    packages = project()["tool"]["setuptools"]["packages"]
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("cxr_model", "cxrd", "daemon", "dicom_io", "storage")
        for path in (ROOT / top).rglob("*.py")
    }
    assert packages == sorted({*folders, "daemon.shipped_files"})
