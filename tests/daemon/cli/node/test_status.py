"""`cxrd status`: the overview in the terminal, with and without a node and a store."""

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.cells import cell_len

from daemon.cli import tables
from daemon.cli.node.status import command_of
from daemon.config.loading import load_config
from daemon.web.health.checks import Level
from daemon.worker.board import Board, RoleState, RoleStatus, board_folder
from daemon.worker.role import RoleName
from tests.tools.cli import cxrd, one_line_of_error


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def running(node: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a node whose supervisor says that its roles without a port are up."""
    monkeypatch.chdir(node)
    since = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    roles = [RoleStatus(role, RoleState.UP, since) for role in (RoleName.ANALYST, RoleName.COURIER)]
    with Board(board_folder(load_config(None))) as board:
        board.publish([roles[0], RoleStatus(RoleName.COURIER, RoleState.UP, since, restarts=2)])
        yield node


def test_the_faults_come_first_with_their_remedy(node: Path) -> None:
    before = files_of(node)
    done = cxrd("status", cwd=node)
    assert done.returncode == 1
    assert done.stderr == "cxrd: 3 fault(s); see above\n"
    lines = done.stdout.splitlines()
    assert lines[0].startswith("failing: 3 fault(s); no role runs on this host; ")
    faults = [line for line in lines if line.startswith(("failing: ", "degraded: "))][1:]
    assert "no supervisor of this host" in faults[0]
    assert faults[1] == "failing: 1 study is in doubt, and nothing of it leaves."
    assert faults[2].startswith("degraded: 2 parked jobs")
    assert "See `cxrd jobs list --state parked`." in done.stdout
    assert files_of(node) == before


def test_no_text_of_a_peer_and_no_patient_is_shown(node: Path) -> None:
    for option in ((), ("--json",)):
        shown = cxrd("status", *option, cwd=node).stdout
        assert "山田" not in shown
        assert "PAT\\u" not in shown
        assert "1.2.3" not in shown
        assert "status 0xA900" in shown
        assert shown.replace("\n", "").isprintable()


def test_roles_and_work_are_shown_beside_a_running_node(running: Path) -> None:
    shown = cxrd("status", cwd=running).stdout
    assert "analyst up, courier up" in shown.splitlines()[0]
    courier = next(line for line in shown.splitlines() if "role courier" in line)
    assert courier.split() == ["role", "courier", "ok", "2026-03-01", "12:00:00", "2", "-"]
    assert "films today       4 received, 3 analysed, 1 not analysed" in shown
    analyse = next(line for line in shown.splitlines() if line.startswith("  analyse"))
    assert analyse.split() == ["analyse", "0", "0", "0", "4", "0", "-"]


def test_a_node_without_a_fault_is_exit_status_0(
    running: Path,
) -> None:
    with sqlite3.connect(running / "data" / "cxrd.sqlite") as store:
        store.execute("UPDATE jobs SET state = 'done', last_error = NULL")
        store.execute("UPDATE study_summaries SET state = 'reported'")
    done = cxrd("status", "--json", cwd=running)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert json.loads(done.stdout)["level"] == Level.OK
    assert cxrd("status", cwd=running).stdout.startswith("ok: no fault; analyst up, courier up; ")


@pytest.mark.parametrize("width", [40, 80, 120])
def test_it_fits_the_terminal(node: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr(tables, "terminal_width", lambda: width)
    lines = cxrd("status", cwd=node).stdout.splitlines()
    assert max(map(cell_len, lines)) <= width


def test_without_a_store_the_rest_is_shown_and_nothing_is_made(tmp_path: Path) -> None:
    done = cxrd("status", cwd=tmp_path)
    assert done.returncode == 1
    assert "no store at" in done.stdout
    assert "no spool at" in done.stdout
    assert list(tmp_path.iterdir()) == []
    document = json.loads(cxrd("status", "--json", cwd=tmp_path).stdout)
    assert "queue" not in document


def test_a_folder_that_cannot_be_read_is_no_node_that_is_down(tmp_path: Path) -> None:
    # As for a folder of another user: also root gets an error for so long a name.
    (tmp_path / "config.yaml").write_text(f"data_dir: {'d' * 300}\n")
    shown = cxrd("status", cwd=tmp_path).stdout
    for fault, place in (("Store", "cxrd.sqlite"), ("Spool", "spool"), ("Role", "run")):
        assert f"failing: {fault}: {tmp_path / ('d' * 300) / place}: File name too long" in shown
    assert "start `cxrd serve`" not in shown


def test_an_earlier_store_is_not_upgraded(node: Path) -> None:
    with sqlite3.connect(node / "data" / "cxrd.sqlite") as store:
        store.execute("UPDATE alembic_version SET version_num = '0006'")
    done = cxrd("status", cwd=node)
    assert "start `cxrd serve` once to upgrade it" in done.stdout
    with sqlite3.connect(node / "data" / "cxrd.sqlite") as store:
        assert store.execute("SELECT version_num FROM alembic_version").fetchall() == [("0006",)]


def test_the_pages_of_faults_have_commands(node: Path) -> None:
    assert command_of("studies?state=held") == "cxrd studies list"
    named = command_of("jobs?state=queued&kind=deliver&destination=pacs")
    assert named == "cxrd jobs list --state queued --kind deliver --to pacs"
    assert command_of("") == ""
    listed = cxrd("jobs", "list", "--kind", "deliver", "--to", "pacs", cwd=node).stdout
    assert listed.splitlines()[-1] == "1 of 1 job(s)"
    assert "--kind: 'deliveries' is not one of" in one_line_of_error(
        cxrd("jobs", "list", "--kind", "deliveries", cwd=node)
    )
