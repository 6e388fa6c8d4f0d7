"""Starts `cxrd`, once it is sure that the packages it will import are its own.

Other distributions, such as python-daemon, also have a package `daemon` or `storage`. pip installs
two packages of one name into one folder without a word, and Python imports the first on its path.
So the check imports none of the packages, and lies in a package whose name no other has.
"""

from __future__ import annotations  # an older Python reads this file, too

import sys
from importlib.util import find_spec
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
PACKAGES = ("daemon", "storage", "dicom_io", "cxr_model")


OLDEST = (3, 11)


def main() -> None:
    """Run a command, or name what is in the way: an old Python, or another package."""
    problem = too_old(sys.version_info[:2]) or conflict()
    if problem:
        sys.exit(f"cxrd: {problem}")
    from daemon.__main__ import main as run

    run()


def too_old(version: tuple[int, ...]) -> str:
    """Return the reason that this Python cannot run cxrd; empty if it can."""
    if version >= OLDEST:
        return ""
    return (
        f"this is Python {'.'.join(map(str, version))}, and cxrd needs"
        f" {'.'.join(map(str, OLDEST))} or newer: make its environment with it (python3.11 -m venv)"
    )


def conflict() -> str:
    """Return the reason that an import would not find a package of cxrd; empty if there is none."""
    for name in PACKAGES:
        own = HOME / name / "__init__.py"
        spec = find_spec(name)
        origin = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        if not own.is_file():
            return (
                f"{own} is missing; uninstalling another package called {name!r} removes it: "
                "pip install --force-reinstall --no-deps the wheel of cxrd"
            )
        if origin != own.resolve():
            return _shadowed(name, origin)
    return _shared()


def _shadowed(name: str, origin: Path | None) -> str:
    """Word that Python finds another package or module of this name first."""
    folder = origin.parent if origin is not None else Path()
    owner = _owner(name, folder if folder.name != name else folder.parent)
    if owner:
        return f"{owner} also has a package called {name!r}, in {folder}; {_OWN_ENVIRONMENT}"
    return (
        f"{origin} hides the package {name!r} of cxrd: rename it, or start cxrd in another folder"
    )


def _shared() -> str:
    """Word that another distribution has files in a folder of this one, in either order."""
    for record in HOME.glob("*.dist-info/RECORD"):
        # pip leaves a folder with a tilde where it could not remove an earlier version.
        if record.parent.name.startswith(("cxrd-", "~")):
            continue
        lines = b"\n" + record.read_bytes()
        for name in PACKAGES:
            if f"\n{name}/".encode() in lines:
                owner = _owner(name, HOME)
                return (
                    f"{owner} is installed into the same folder {HOME / name}; {_OWN_ENVIRONMENT}"
                )
    return ""


_OWN_ENVIRONMENT = (
    "the two cannot share an environment: install cxrd in one of its own (python3 -m venv)"
)


def _owner(name: str, folder: Path) -> str:
    """Return name and version of the distribution whose package or module lies in the folder."""
    from importlib.metadata import distributions

    for one in distributions(path=[str(folder)]):
        tops = {file.parts[0] for file in one.files or ()}
        if one.name != "cxrd" and tops & {name, f"{name}.py"}:
            return f"{one.name} {one.version}"
    return ""


if __name__ == "__main__":
    main()
