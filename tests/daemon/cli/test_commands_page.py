"""docs/commands.md: exit statuses, JSON documents, help, version and completion."""

import json
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main

from daemon.__main__ import INTERRUPTED
from daemon.cli.main import app
from daemon.config import loading
from daemon.preflight import checks
from daemon.preflight.result import CheckResult
from storage.files.folder_spool import FolderSpool
from storage.hosts.nodes import NodeRole
from storage.store import Store
from tests.builders.store_rows import SOURCE
from tests.builders.stores.new import new_store
from tests.tools.cli import cxrd
from tests.tools.paths import ROOT
from tests.tools.ports import HOST, free_port

pytestmark = pytest.mark.network

PAGE = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")


def all_commands(group: Any = None, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the words of each group and command."""
    group = group or typer.main.get_command(app)
    found = [before]
    for name, command in getattr(group, "commands", {}).items():
        found += all_commands(command, (*before, name))
    return found


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A folder with an empty store and spool."""
    with new_store(tmp_path / "data" / "cxrd.sqlite"):
        FolderSpool(tmp_path / "data" / "spool")
    (tmp_path / "config.yaml").write_text(
        f"listener: {{port: {free_port()}}}\nweb: {{port: {free_port()}}}\n"
    )
    return tmp_path


@pytest.mark.parametrize("words", all_commands(), ids=" ".join)
def test_every_command_has_short_help(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = cxrd(*words, "-h", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--help" in click.unstyle(done.stdout)


def test_the_version_is_shown(tmp_path: Path) -> None:
    done = cxrd("--version", cwd=tmp_path)
    python, engine = platform.python_version(), version("onnxruntime")
    assert done.returncode == 0
    assert done.stdout.startswith(f"cxrd {version('cxrd')}, Python {python}, onnxruntime {engine}")
    assert done.stdout.count("\n") == 1


def test_each_documented_exit_status_occurs(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    occurs = {
        cxrd("verify", cwd=house).returncode,
        cxrd("jobs", "show", "4711", cwd=house).returncode,
        cxrd("verify", "--no-such-option", cwd=house).returncode,
    }

    def interrupted(_path: Path) -> dict[str, object]:
        raise KeyboardInterrupt

    monkeypatch.setattr(loading, "read_yaml", interrupted)
    ended = cxrd("verify", cwd=house)
    assert ended.returncode == INTERRUPTED
    assert "Traceback" not in ended.stderr
    statuses = re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)
    assert {*map(str, sorted(occurs)), str(INTERRUPTED)} == set(statuses)


def test_a_failed_check_is_exit_status_1_with_its_document(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = CheckResult("model", False, "no bundle")
    monkeypatch.setattr(checks, "check_model", lambda _config: failed)
    done = cxrd("check", "--json", cwd=house)
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["ok"] is False
    assert document["checks"][-1] == {"name": "model", "result": "failed", "detail": "no bundle"}
    assert done.stderr == "cxrd: 1 check(s) failed; see above\n"


def keys_of(document: Any) -> set[str]:
    if isinstance(document, list):
        return set().union(*map(keys_of, document))
    if isinstance(document, dict):
        return set(document) | set().union(*map(keys_of, document.values()))
    return set()


OF_STUDIES = {"cxrd studies list", "cxrd show"}
"""Commands whose documents need a store with studies."""
OF_ARCHIVES = {"cxrd pull"}
"""Commands whose documents need an archive to query."""


def documented_keys() -> dict[str, set[str]]:
    table = PAGE.split("<!-- json -->")[1]
    values = {
        "ok`, `warning` or `failed",
        "instance` or `object",
        "ok`, `starting`, `degraded` or `failing",
        "there`, `missing` or `deleted",
    }
    for value in values:
        table = table.replace(f"(`{value}`)", "")
    return {
        command: set(re.findall(r"`(\w+)`", keys))
        for command, keys in re.findall(r"^\| `(cxrd [a-z -]+)` \| (.*) \|$", table, re.MULTILINE)
    }


def test_json_documents_have_the_documented_keys(
    parked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    well = CheckResult("model", True, "sound")
    monkeypatch.setattr(checks, "check_model", lambda _config: well)
    peers = [
        {"name": SOURCE, "ae_title": "MODALITY", "sends": True},
        {"name": "pacs", "ae_title": "P", "host": HOST, "port": 4242, "receives": ["report"]},
    ]
    ports = {"listener": {"port": free_port()}, "web": {"port": free_port()}}
    (parked / "config.yaml").write_text(json.dumps({"peers": peers, **ports}))
    with Store.open(f"sqlite:///{parked / 'data' / 'cxrd.sqlite'}", migrate=False) as store:
        store.nodes.renew([NodeRole("n", "north", "analyst", "1", "0008", "{}", "down")])
    listed = json.loads(cxrd("jobs", "list", "--json", cwd=parked).stdout)
    number = listed["jobs"][0]["job"]
    assert (listed["total"], len(listed["jobs"])) == (6, 6)
    commands: dict[str, list[object]] = {
        "cxrd check": ["check"],
        "cxrd export": ["export", "--out", "rows.csv"],
        "cxrd verify": ["verify"],
        "cxrd audit verify": ["audit", "verify"],
        "cxrd status": ["status"],
        "cxrd jobs list": ["jobs", "list"],
        "cxrd jobs show": ["jobs", "show", number],
        "cxrd jobs retry": ["jobs", "retry", number, "4711"],
        "cxrd jobs priority": ["jobs", "priority", number, "4711", "stat"],
        "cxrd jobs discard": ["jobs", "discard", number, "4711"],
        "cxrd studies analyse-again": ["studies", "analyse-again", "2.25.82"],
        "cxrd studies send-again": ["studies", "send-again", "2.25.82", "--to", "pacs"],
    }
    expected = documented_keys()
    assert set(expected) - OF_STUDIES - OF_ARCHIVES == set(commands)
    expected["cxrd jobs list"] |= expected["cxrd jobs show"]
    # A second request is refused while the first waits.
    assert cxrd("studies", "analyse-again", "2.25.82", cwd=parked).returncode == 0
    for command, arguments in commands.items():
        done = cxrd(*arguments, "--json", cwd=parked)
        assert keys_of(json.loads(done.stdout)) == expected[command], command


def test_documents_of_studies_have_the_documented_keys(node: Path) -> None:
    expected = documented_keys()
    held = json.loads(cxrd("studies", "list", "--json", cwd=node).stdout)
    assert keys_of(held) == expected["cxrd studies list"]
    assert [len(films) for films in held["studies"][0]["patients"]] == [1, 1]
    shown = json.loads(cxrd("show", "1.2.3", "--json", cwd=node).stdout)
    # The document of a study is that of the interface for programs.
    assert shown.pop("study")
    assert keys_of(shown) | {"study"} == expected["cxrd show"]


def test_completion_completes_a_command(tmp_path: Path) -> None:
    asked = {"_CXRD_COMPLETE": "complete_bash", "COMP_WORDS": "cxrd ser", "COMP_CWORD": "1"}
    assert cxrd(cwd=tmp_path, variables=asked).stdout.split() == ["serve"]
    script = cxrd(cwd=tmp_path, variables={"_CXRD_COMPLETE": "source_bash"}).stdout
    assert "complete -o default -F _cxrd_completion cxrd" in script
