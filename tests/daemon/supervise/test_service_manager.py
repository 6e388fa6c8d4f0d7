"""A service manager gets the messages of sd_notify(3) at the socket that it names."""

import os
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

from daemon.supervise.service_manager import ServiceManager
from daemon.worker.board import RoleState, RoleStatus
from daemon.worker.role import RoleName
from tests.daemon.supervise.manager_socket import manager_socket
from tests.tools.clock import Clock

pytestmark = pytest.mark.daemon


def status(role: RoleName, state: RoleState, reason: str = "") -> RoleStatus:
    return RoleStatus(role, state, datetime(2026, 3, 1, tzinfo=UTC), reason=reason)


@pytest.mark.parametrize("name", ["", f"cxrd-{uuid.uuid4().hex}"], ids=["path", "abstract"])
def test_a_manager_is_told_from_start_to_stop(tmp_path: Path, name: str) -> None:
    with manager_socket(tmp_path, name) as received:
        environment = {"NOTIFY_SOCKET": received.address, "PATH": "/bin"}
        manager = ServiceManager.of_environment(environment)
        assert environment == {
            "PATH": "/bin"
        }  # a child that sent messages would be mistaken for it
        manager.started()
        manager.beat([status(RoleName.LISTENER, RoleState.STARTING)])
        up = status(RoleName.LISTENER, RoleState.UP)
        manager.beat([up, status(RoleName.WEB, RoleState.STARTING)])
        manager.ready()
        for _ in range(2):
            manager.beat([up, status(RoleName.WEB, RoleState.DOWN, "no\nmemory")])
        manager.stopping(12.5)
        assert received.messages() == [
            "STATUS=starting: the store is checked, and upgraded if it is older",
            "STATUS=starting: listener",
            "STATUS=starting; ready: listener; starting: web",
            "READY=1",
            "STATUS=ready: listener; down: web (no memory)",
            "STOPPING=1\nSTATUS=stopping: the roles finish what they have begun\n"
            "EXTEND_TIMEOUT_USEC=43000000",
        ]


def test_the_watchdog_gets_four_signs_in_its_period(tmp_path: Path) -> None:
    clock = Clock()
    with manager_socket(tmp_path) as received:
        manager = ServiceManager(received.address, 120.0, clock.seconds)
        for _ in range(120):
            manager.beat([])
            clock.advance(1.0)
        assert received.messages().count("WATCHDOG=1") == 4


@pytest.mark.parametrize(
    ("more", "beats"),
    [
        ({}, 0),
        ({"WATCHDOG_USEC": "1000"}, 1),
        ({"WATCHDOG_USEC": "1000", "WATCHDOG_PID": str(os.getpid())}, 1),
        ({"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
    ],
)
def test_a_watchdog_is_that_of_this_process(
    tmp_path: Path, more: dict[str, str], beats: int
) -> None:
    with manager_socket(tmp_path) as received:
        ServiceManager.of_environment({"NOTIFY_SOCKET": received.address, **more}).beat([])
        assert received.messages().count("WATCHDOG=1") == beats


def test_a_manager_that_is_gone_is_logged_once_and_told_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with manager_socket(tmp_path) as received:
        pass
    manager = ServiceManager(received.address)
    manager.started()
    manager.ready()
    assert [record.message for record in caplog.records] == [
        "the service manager gets no messages (Connection refused)"
    ]
    Path(received.address).unlink()
    with manager_socket(tmp_path) as received:
        for _ in range(2):
            manager.beat([])
        assert received.messages().count("READY=1") == 1


@pytest.mark.parametrize("address", ["", "vsock:2:1234"])
def test_without_a_socket_there_is_no_message(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    manager = ServiceManager.of_environment({"NOTIFY_SOCKET": address})
    manager.started()
    manager.ready()
    assert ["NOTIFY_SOCKET is no path" in record.message for record in caplog.records] == (
        [True] if address else []
    )
