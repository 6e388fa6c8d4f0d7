"""A command that needs the store for itself is refused while a role works on it."""

import sqlite3
from pathlib import Path

import pytest

from daemon.config.settings import Config
from daemon.errors import RoleFailedError
from daemon.hosts.presence import place_of
from daemon.hosts.stopped import require_stopped
from daemon.worker.board import Board, RoleState, RoleStatus, board_folder
from daemon.worker.role import RoleName
from storage.hosts.nodes import NodeRole
from storage.records import JobKind
from storage.store import Store
from storage.tables.clock import utc_now
from tests.builders.store_rows import LEASE, new_instance
from tests.builders.stores.new import new_store
from tests.tools.cli import cxrd, one_line_of_error


@pytest.fixture
def config(tmp_path: Path) -> Config:
    new_store(tmp_path / "cxrd.sqlite").close()
    return Config(data_dir=tmp_path)


def announced(config: Config, host: str, name: str) -> None:
    role = NodeRole(name, host, "analyst", "1.0", "0008", "{}", "up")
    with Store.open(config.resolved_database_url, migrate=False) as store:
        store.nodes.renew([role])


def test_a_role_of_this_host_is_named(config: Config) -> None:
    require_stopped(config)
    status = RoleStatus(RoleName.ANALYST, RoleState.UP, utc_now())
    with Board(board_folder(config)) as board:
        board.publish([status])
        with pytest.raises(RoleFailedError, match=r"cxrd runs here .*\(analyst\): stop it first"):
            require_stopped(config)
    require_stopped(config)


def test_a_role_of_another_host_is_named_until_it_is_silent(config: Config) -> None:
    announced(config, "b", "b:analyst:1")
    with pytest.raises(RoleFailedError, match=r"\(analyst on b, seen 0 s ago\): stop it on every"):
        require_stopped(config)
    path = config.data_dir / "cxrd.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE nodes SET seen_at = '2026-01-01 00:00:00.000000'")
    connection.close()
    require_stopped(config)


def test_a_lease_of_another_host_is_waited_for(config: Config) -> None:
    with Store.open(config.resolved_database_url, migrate=False) as store:
        store.record_instance(new_instance(), 0)
        store.jobs.claim([JobKind.ANALYSE], "b:analyst:1", LEASE)
    with pytest.raises(RoleFailedError, match="the worker b:analyst:1 holds a job until"):
        require_stopped(config)


def test_a_killed_role_of_this_host_does_not_count(config: Config) -> None:
    announced(config, "here", f"{place_of(config)}analyst:dead")
    require_stopped(config)


def test_the_command_moves_the_store_and_names_the_key_to_set(
    config: Config, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(f"data_dir: {tmp_path}\n")
    (tmp_path / "url").write_text(f"sqlite:///{tmp_path}/new.sqlite\n")
    announced(config, "b", "b:analyst:1")
    refused = cxrd("store", "migrate", "--to-file", "url", cwd=tmp_path)
    assert "cxrd runs on this store (analyst on b" in one_line_of_error(refused)
    with Store.open(config.resolved_database_url, migrate=False) as store:
        store.nodes.remove(["b:analyst:1"])

    done = cxrd("store", "migrate", "--to-file", "url", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"database_url: sqlite:///{tmp_path}/new.sqlite"
    for command in (("check",), ("export", "--out", "x.csv"), ("serve",)):
        refused = cxrd(*command, cwd=tmp_path)
        assert "was moved to" in refused.stdout + refused.stderr
        assert refused.returncode == 1
    assert cxrd("store", "migrate", "--undo", cwd=tmp_path).returncode == 0
    assert cxrd("export", "--out", "x.csv", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    "options", [(), ("--to", "sqlite:///x", "--undo"), ("--to", "x", "--to-file", "y")]
)
def test_one_target_is_named(tmp_path: Path, options: tuple[str, ...]) -> None:
    refused = cxrd("store", "migrate", *options, cwd=tmp_path)
    assert "--to or --to-file, or use --undo" in one_line_of_error(refused)
