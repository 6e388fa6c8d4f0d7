"""systemd accepts the units, finds them hardened, and each command and key in them exists."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer.main

from daemon.cli.main import app
from daemon.config.loading import load_config
from tests.tools.installed import require_tool
from tests.tools.paths import ROOT

UNITS = ROOT / "deploy" / "systemd"
SERVICES = sorted(UNITS.glob("*.service"))
PROGRAM = "/opt/cxrd/bin/cxrd"
MOST_EXPOSED = 13
"""Exposure of `systemd-analyze security` in tenths: 0 is the best, 100 a unit without hardening."""


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units with their drop-ins, for a machine on which the program lies elsewhere."""
    for path in [*SERVICES, *UNITS.glob("*.timer")]:
        text = path.read_text(encoding="utf-8").replace(PROGRAM, shutil.which("true") or "")
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    for drop_in in (UNITS / "drop-ins").glob("*.conf"):
        folder = tmp_path / "cxrd.service.d"
        folder.mkdir(exist_ok=True)
        shutil.copy(drop_in, folder)
    return tmp_path


def test_systemd_accepts_the_units(units: Path) -> None:
    tool = require_tool("systemd-analyze")
    paths = sorted(path for path in units.iterdir() if path.is_file())
    done = subprocess.run(
        [tool, "verify", "--man=no", "--recursive-errors=no", *paths],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "cxrd" in line]
    assert (ours, done.returncode) == ([], 0), done.stderr


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_systemd_finds_a_unit_hardened(unit: Path) -> None:
    tool = require_tool("systemd-analyze")
    done = subprocess.run(
        [tool, "security", "--offline=yes", f"--threshold={MOST_EXPOSED}", "--no-pager", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-200:] + done.stderr


def settings(unit: str) -> list[str]:
    lines = (UNITS / unit).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and line[0] not in "#["]


def test_a_single_role_runs_as_all_roles_do() -> None:
    alone, together = set(settings("cxrd@.service")), set(settings("cxrd.service"))
    differing = {line.partition("=")[0] for line in alone ^ together}
    assert differing == {"Conflicts", "Description", "ExecStart"}


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_a_unit_calls_a_command_that_exists(unit: Path) -> None:
    calls = re.findall(rf"^ExecStart={PROGRAM} (.+)$", unit.read_text(encoding="utf-8"), re.M)
    assert calls
    for call in calls:
        command = typer.main.get_command(app)
        words = call.replace("%i", "listener").split()
        while (inner := getattr(command, "commands", None)) is not None:
            command = inner[words.pop(0)]
        context = command.make_context(call, words)
        assert str(context.params["config"]) == "/etc/cxrd/config.yaml"


def test_the_credentials_are_secrets_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (UNITS / "drop-ins" / "credentials.conf").read_text(encoding="utf-8")
    loaded = dict(re.findall(r"^LoadCredential=(\w+):(/etc/cxrd/secrets/\w+)$", text, re.M))
    shown = dict(re.findall(r"^Environment=(CXRD_\w+)=%d/(\w+)$", text, re.M))
    assert sorted(shown.values()) == sorted(loaded)
    for variable, name in shown.items():
        (tmp_path / name).write_text("sqlite:///a-secret-of-the-site\n", encoding="utf-8")
        monkeypatch.setenv(variable, str(tmp_path / name))
    monkeypatch.chdir(tmp_path)
    config = load_config()
    assert config.token_path == tmp_path / "web_token"
    assert config.database_url_file == tmp_path / "database_url"
