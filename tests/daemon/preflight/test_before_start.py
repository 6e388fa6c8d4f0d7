"""`cxrd serve` names a fault of the setup in one line, and has started no process then."""

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cxr_model.engine import installed
from cxr_model.files.bundle_files import CARD_FILE, STARTER, WEIGHTS_FILE
from cxr_model.predict.choices import EngineName
from daemon.config.sections.web import WebConfig
from daemon.config.settings import Config
from daemon.errors import RoleFailedError
from daemon.preflight import before_start
from daemon.preflight.before_start import require_startable
from daemon.supervise.child import Child
from daemon.worker.board import Board, board_folder
from daemon.worker.role import RoleName
from tests.builders.certificates import Authority
from tests.builders.stores.new import new_store
from tests.servers.watching import children_of
from tests.tools.cli import cxrd, one_line_of_error
from tests.tools.ports import HOST, free_port

pytestmark = [pytest.mark.daemon, pytest.mark.network]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port at which another program listens."""
    with socket.create_server((HOST, 0)) as server:
        yield server.getsockname()[1]


def configure(folder: Path, **sections: Any) -> None:
    free = {"listener": {"port": free_port()}, "web": {"port": free_port()}}
    (folder / "config.yaml").write_text(json.dumps(free | sections))


def refused(folder: Path, *options: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the error of `cxrd serve`, which must start no process and leave no file."""
    monkeypatch.setattr(before_start, "PORT_SECONDS", 0.0)
    monkeypatch.setattr(Child, "start", lambda *_: pytest.fail("a process is started"))
    before = sorted(folder.rglob("*"))
    line = one_line_of_error(cxrd("serve", *options, cwd=folder))
    assert sorted(folder.rglob("*")) == before
    return line


def test_an_unknown_role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(tmp_path)
    line = refused(tmp_path, "--only", "listner", monkeypatch=monkeypatch)
    assert "no role is called 'listner'" in line


def test_a_configuration_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(tmp_path, analist={})
    assert "unknown key analist" in refused(tmp_path, monkeypatch=monkeypatch)


@pytest.mark.parametrize("section", ["listener", "web"])
def test_a_port_in_use(
    tmp_path: Path, taken: int, section: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(tmp_path, **{section: {"port": taken}})
    line = refused(tmp_path, monkeypatch=monkeypatch)
    assert f"port {taken} on {HOST} is in use; stop the other program" in line
    (other,) = {RoleName.LISTENER, RoleName.WEB} - {RoleName(section)}
    with pytest.raises(pytest.fail.Exception, match="a process is started"):
        cxrd("serve", "--only", other, cwd=tmp_path)


def test_a_tls_port_in_use(
    tmp_path: Path, taken: int, pki: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = pki.of("cxrd")
    tls = {"certificate": str(own.certificate), "key": str(own.key), "ca": str(pki.ca)}
    listener = {"port": free_port(), "tls": True, "tls_port": taken}
    configure(tmp_path, listener=listener, tls=tls)
    assert f"port {taken} on {HOST} is in use" in refused(tmp_path, monkeypatch=monkeypatch)


def test_a_certificate_that_does_not_fit_its_key(
    tmp_path: Path, pki: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = {"certificate": str(pki.of("cxrd").certificate), "key": str(pki.of("pacs").key)}
    configure(tmp_path, web={"port": free_port(), **web})
    assert "cxrd" in refused(tmp_path, "--only", "web", monkeypatch=monkeypatch)


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(tmp_path, data_dir="/proc/cxrd")
    assert "/proc" in refused(tmp_path, monkeypatch=monkeypatch)


def test_an_address_of_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(tmp_path, listener={"host": "192.0.2.1", "port": free_port()})
    line = refused(tmp_path, monkeypatch=monkeypatch)
    assert "cannot listen on 192.0.2.1" in line
    assert "check listener.host" in line


@pytest.mark.parametrize("damage", ["no folder", "no weights", "other weights", "no card"])
def test_a_bundle_that_is_missing_or_damaged(
    tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle"
    if damage != "no folder":
        shutil.copytree(STARTER, bundle)
    if damage == "no card":
        (bundle / CARD_FILE).unlink()
    elif damage == "no weights":
        (bundle / WEIGHTS_FILE).unlink()
    elif damage == "other weights":
        (bundle / WEIGHTS_FILE).write_bytes(bytes(4096))
    configure(tmp_path, model={"bundle": "bundle"})
    assert str(bundle) in refused(tmp_path, monkeypatch=monkeypatch)


def test_an_engine_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(installed.PACKAGES, EngineName.OPENVINO, "no_such_package")
    configure(tmp_path, model={"engine": "openvino"})
    assert "not installed here" in refused(tmp_path, monkeypatch=monkeypatch)


def test_a_damaged_store_ends_the_role_that_waits_for_it(tmp_path: Path) -> None:
    with new_store(tmp_path / "data" / "cxrd.sqlite"):
        pass
    (tmp_path / "data" / "cxrd.sqlite").write_bytes(b"\xff" * 4096)
    configure(tmp_path)
    before = children_of(os.getpid())
    line = one_line_of_error(cxrd("serve", cwd=tmp_path))
    assert "restore a backup as docs/backup.md says" in line
    assert children_of(os.getpid()) == before


def test_the_port_of_a_killed_daemon_is_left_to_the_role(
    tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(before_start, "PORT_SECONDS", 0.0)
    config = Config(data_dir=tmp_path, web=WebConfig(port=taken))
    with Board(board_folder(config), time.monotonic) as board:
        board.publish([Child(RoleName.WEB).status(config)])
        (states,) = board_folder(config).glob("*.json")
        left = states.read_bytes()
        with pytest.raises(RoleFailedError, match="already runs with the data_dir"):
            require_startable(config, [RoleName.WEB])
    # The supervisor was killed: its lock has gone, its states have not.
    states.write_bytes(left)
    assert require_startable(config, [RoleName.WEB]) == []
