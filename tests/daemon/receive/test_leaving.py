"""A listener that is told to stop leaves its peers time to notice, and to finish."""

import time

import pytest

from daemon import listener
from daemon.config.sections.roles import ListenerConfig
from daemon.listener import leave
from daemon.worker.listening import Address, is_taken
from daemon.worker.role import RoleName
from tests.servers.dicom.raw_peer import RawPeer
from tests.servers.dicom.storage_node import Inbox, running_node
from tests.tools.ports import HOST

pytestmark = pytest.mark.network


def test_a_listener_accepts_until_its_balancer_has_noticed() -> None:
    with running_node(Inbox()) as node:
        began = time.monotonic()
        leave(ListenerConfig(leave_seconds=0.3), [node])
        assert time.monotonic() - began >= 0.3
        with pytest.raises(ConnectionRefusedError):
            RawPeer(node.port)


def test_a_listener_waits_for_open_associations_for_a_limited_time() -> None:
    with running_node(Inbox()) as node, RawPeer(node.port).associate() as peer:
        began = time.monotonic()
        leave(ListenerConfig(drain_seconds=0.3), [node])
        assert time.monotonic() - began >= 0.3
        assert peer.echo() == 0


def test_a_listener_without_its_supervisor_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "has_supervisor", lambda: False)
    with running_node(Inbox()) as node, RawPeer(node.port).associate():
        began = time.monotonic()
        leave(ListenerConfig(leave_seconds=60, drain_seconds=60), [node])
        assert time.monotonic() - began < 5


def test_a_shared_port_is_free_for_those_that_share_it() -> None:
    with running_node(Inbox(), reuse_port=True) as node:
        address = Address(RoleName.LISTENER, HOST, node.port, encrypted=False)
        assert is_taken(address)
        assert not is_taken(Address(RoleName.LISTENER, HOST, node.port, False, shared=True))
