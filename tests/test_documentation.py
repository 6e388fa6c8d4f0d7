"""The pages match the code."""

import re
from pathlib import Path

import typer.main

from daemon.cli.main import app
from dicom_io.gate.reasons import Reason

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    group = typer.main.get_command(app)
    names = []
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        names += [f"{name} {sub}" for sub in inner] if inner else [name]
    return names


def test_every_command_is_in_the_readme() -> None:
    rows = re.findall(r"^\| `cxrd ([^|]*)\|", README, re.MULTILINE)
    documented = set()
    for row in rows:
        first, *more = re.findall(r"[a-z]+", row.replace("PATH… --out DIR", "").split("--")[0])
        documented |= {f"{first} {sub}" for sub in more} or {first}
    assert documented == set(commands())


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`?make ([a-z-]+)`?", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_reasons_named_in_the_readme_exist() -> None:
    named = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", README))
    assert named
    assert named <= set(Reason)


def test_links_lead_to_existing_files() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_architecture_stays_one_page() -> None:
    assert len((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines()) <= 100
