"""The health check of a container follows the states of its supervisor."""

import runpy
import sys
from pathlib import Path

import pytest
import yaml

from daemon.config.settings import Config
from daemon.worker.board import RoleState
from daemon.worker.role import RoleName
from tests.servers.website import status_of, supervised
from tests.tools.paths import ROOT

pytestmark = [pytest.mark.daemon, pytest.mark.network]


@pytest.mark.parametrize(
    ("listener", "healthy"), [(RoleState.UP, 0), (RoleState.STARTING, 1), (RoleState.DOWN, 1)]
)
def test_each_role_must_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listener: RoleState, healthy: int
) -> None:
    config = Config(data_dir=tmp_path / "data")
    roles = [
        status_of(config, RoleName.LISTENER, state=listener),
        status_of(config, RoleName.COURIER),
    ]
    with supervised(config, *roles):
        assert health(tmp_path, monkeypatch) == healthy


def test_a_container_without_a_node_is_not_healthy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert health(tmp_path, monkeypatch) == 1


def health(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the exit status of the check."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"data_dir": "data"}), encoding="utf-8")
    script = ROOT / "deploy" / "docker" / "healthcheck.py"
    monkeypatch.setattr(sys, "argv", [str(script), str(path)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script))
    return int(ended.value.code or 0)
