"""`requirements-serving.txt` names each package that serving needs, and none that it does not."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement

from tests.tools.paths import ROOT

LEFT_OUT = {"torch", "torchvision", "pandas", "scikit-learn"}
"""Dependencies that only training, import and measuring need."""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(requirement: Requirement, found: set[str]) -> None:
    """Add a requirement and all that it requires to `found`."""
    name = canonical(requirement.name)
    if name in found | LEFT_OUT:
        return
    found.add(name)
    try:
        required = distribution(name).requires or []
    except PackageNotFoundError:
        return
    for one in map(Requirement, required):
        extras = requirement.extras or {""}
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras):
            needed(one, found)


def test_the_list_is_complete() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        dependencies = tomllib.load(file)["project"]["dependencies"]
    found: set[str] = set()
    for dependency in dependencies:
        needed(Requirement(dependency), found)
    lines = (ROOT / "requirements-serving.txt").read_text(encoding="utf-8").splitlines()
    named = [canonical(line.partition("==")[0]) for line in lines if line and line[0] != "#"]
    assert named == sorted(set(named))
    # A marker of another Python or system may add a package here, but never take one away.
    assert found - set(named) == set()
    assert set(named) & LEFT_OUT == set()


def test_an_installation_has_every_package() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        packages = tomllib.load(file)["tool"]["setuptools"]["packages"]
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("cxr_model", "daemon", "dicom_io", "storage")
        for path in (ROOT / top).rglob("*.py")
    }
    assert packages == sorted({*folders, "daemon.shipped_files"})
