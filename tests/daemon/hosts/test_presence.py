"""The rows of a host's roles: written at a change and in time, removed at a stop."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from daemon.config.settings import Config
from daemon.hosts.presence import Presence
from daemon.version import own_version
from daemon.worker.board import Board, RoleState, RoleStatus, board_folder
from daemon.worker.role import RoleName
from storage.errors import StoreUnavailableError
from tests.builders.stores.new import new_store
from tests.tools.clock import Clock

DAY = datetime(2026, 3, 1, tzinfo=UTC)
UP = RoleStatus(RoleName.ANALYST, RoleState.UP, DAY)
DOWN = RoleStatus(RoleName.ANALYST, RoleState.DOWN, DAY, reason="signal SIGKILL")


def test_rows_are_written_at_a_change_and_in_time(tmp_path: Path) -> None:
    clock = Clock()
    with new_store(tmp_path / "store.db", clock=clock) as store:
        presence = Presence(Config(data_dir=tmp_path), store.nodes, clock.seconds)
        presence.begin("north-1")
        presence.renew([UP])
        (first,) = store.nodes.list()
        clock.advance(store.nodes.renew_seconds - 1)
        presence.renew([UP])
        assert store.nodes.list()[0].seen_at == first.seen_at
        clock.advance(1)
        presence.renew([UP])
        assert store.nodes.list()[0].age.total_seconds() == 0

        clock.advance(1)
        presence.renew([DOWN])
        (row,) = store.nodes.list()
        assert (row.node.state, row.node.detail) == ("down", "signal SIGKILL")
        assert (row.node.version, row.since) == (own_version(), clock.now)

        presence.end()
        assert store.nodes.list() == ()


def test_a_start_removes_the_rows_of_dead_supervisors_of_its_folder_only(tmp_path: Path) -> None:
    config, other = (Config(data_dir=tmp_path / name) for name in ("one", "two"))
    with new_store(tmp_path / "store.db") as store, Board(board_folder(config)) as living:
        living.publish([UP])
        for folder, name in ((config, "killed"), (config, living.supervisor), (other, "there")):
            presence = Presence(folder, store.nodes)
            presence.begin(name)
            presence.renew([UP])
        assert len(store.nodes.list()) == 3 - 1

        Presence(config, store.nodes).begin("next")

        names = [one.node.name.rpartition(":")[2] for one in store.nodes.list()]
        assert sorted(names) == sorted([living.supervisor, "there"])


def test_a_store_that_does_not_answer_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    with new_store(tmp_path / "store.db", clock=clock) as store:
        presence = Presence(Config(data_dir=tmp_path), store.nodes, clock.seconds)
        with monkeypatch.context() as patched:

            def refuse(_nodes: object, _roles: object) -> None:
                raise StoreUnavailableError("it does not answer")

            patched.setattr(type(store.nodes), "renew", refuse)
            for _ in range(3):
                presence.renew([UP])
                clock.advance(60)
        assert caplog.text.count("do not see the roles of this host: it does not answer") == 1
        presence.renew([UP])
        assert [one.node.state for one in store.nodes.list()] == ["up"]
