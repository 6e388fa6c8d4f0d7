"""The start of `cxrd` names a package of another distribution that is in the way.

The packages here are made: they have the names, files and records that pip leaves behind.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools.paths import ROOT

PACKAGES = ("cxrd", "daemon", "storage", "dicom_io", "cxr_model")


def install(site: Path, name: str, version: str, files: dict[str, str]) -> None:
    """Write files and their RECORD over what is there, as pip does."""
    lines = [f"{name}-{version}.dist-info/METADATA,,", f"{name}-{version}.dist-info/RECORD,,"]
    for file, text in files.items():
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).write_text(text)
        lines.append(f"{file},sha256=x,{len(text)}")
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text("\n".join(lines) + "\n")


def install_cxrd(site: Path) -> None:
    files = {f"{package}/__init__.py": f'"""{package}."""\n' for package in PACKAGES}
    ran = "def main():\n    print('ran')\n"
    main = "if __name__ == '__main__':\n    from cxrd.__main__ import main\n    main()\n"
    start = (ROOT / "cxrd" / "__main__.py").read_text(encoding="utf-8")
    files |= {"daemon/__main__.py": ran + main, "cxrd/__main__.py": start}
    install(site, "cxrd", "1.0", files)


def install_python_daemon(site: Path) -> None:
    files = {"daemon/__init__.py": "from .daemon import A\n", "daemon/daemon.py": "A = 1\n"}
    install(site, "python-daemon", "3.1.2", files)


def run(*path: Path, cwd: Path, module: str = "cxrd") -> subprocess.CompletedProcess[str]:
    """Start `cxrd` as its script does, or as `python -m daemon`."""
    inserted = f"sys.path[1:1] = {[str(one) for one in path]}"
    run_it = "runpy.run_module('daemon', run_name='__main__', alter_sys=True)"
    code = {"cxrd": "del sys.path[0]; from cxrd.__main__ import main; main()", "daemon": run_it}[
        module
    ]
    return subprocess.run(
        [sys.executable, "-S", "-c", f"import runpy, sys; {inserted}; {code}"],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    return line


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "site-packages"


def test_alone_it_runs(site: Path, tmp_path: Path) -> None:
    install_cxrd(site)
    (site / "daemon" / "__pycache__").mkdir()
    for module in ("cxrd", "daemon"):
        done = run(site, cwd=tmp_path, module=module)
        assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")


@pytest.mark.parametrize("module", ["cxrd", "daemon"])
@pytest.mark.parametrize("order", [1, -1])
def test_python_daemon_in_the_same_folder(
    site: Path, tmp_path: Path, order: int, module: str
) -> None:
    for one in [install_cxrd, install_python_daemon][::order]:
        one(site)
    line = refused(run(site, cwd=tmp_path, module=module))
    folder = site / "daemon"
    assert line.startswith(f"cxrd: python-daemon 3.1.2 is installed into the same folder {folder};")
    assert line.endswith("install cxrd in one of its own (python3 -m venv)")


@pytest.mark.parametrize("order", [1, -1])
def test_a_package_storage_in_the_same_folder(site: Path, tmp_path: Path, order: int) -> None:
    def install_storage(site: Path) -> None:
        install(site, "storage", "0.4", {"storage/__init__.py": ""})

    for one in [install_cxrd, install_storage][::order]:
        one(site)
    line = refused(run(site, cwd=tmp_path))
    assert line.startswith(f"cxrd: storage 0.4 is installed into the same folder {site}/storage;")


def test_a_package_in_a_folder_before(site: Path, tmp_path: Path) -> None:
    before = tmp_path / "user-site"
    install_cxrd(site)
    install_python_daemon(before)
    line = refused(run(before, site, cwd=tmp_path))
    assert line.startswith("cxrd: python-daemon 3.1.2 also has a package called 'daemon', in ")
    # The other way round Python finds the packages of cxrd.
    assert run(site, before, cwd=tmp_path).stdout == "ran\n"


def test_a_module_in_the_current_folder(site: Path, tmp_path: Path) -> None:
    install_cxrd(site)
    (tmp_path / "storage.py").write_text("")
    line = refused(run(site, cwd=tmp_path, module="daemon"))
    assert line == (
        f"cxrd: {tmp_path / 'storage.py'} hides the package 'storage' of cxrd: rename it, or start"
        " cxrd in another folder"
    )
    # The script does not look into the current folder.
    assert run(site, cwd=tmp_path).stdout == "ran\n"


def test_what_an_uninstallation_of_the_other_leaves(site: Path, tmp_path: Path) -> None:
    install_cxrd(site)
    (site / "daemon" / "__init__.py").unlink()
    line = refused(run(site, cwd=tmp_path))
    assert line.startswith(f"cxrd: {site / 'daemon' / '__init__.py'} is missing;")
