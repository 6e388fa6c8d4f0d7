"""A node that stops listening serves what is open, and what the system has accepted."""

import socketserver
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from dicom_io.errors import PortInUseError
from dicom_io.receive.node import Node
from tests.builders.images.films import ROOT, chest_film, data_set_bytes, file_bytes
from tests.servers.dicom.raw_peer import ASSOCIATE_RQ, RawPeer, associate_rq, pdu
from tests.servers.dicom.storage_node import Inbox, running_node
from tests.tools.waiting import wait_until

pytestmark = pytest.mark.network

FILM = data_set_bytes(file_bytes(chest_film()))


def within(seconds: float) -> Callable[[], bool]:
    until = time.monotonic() + seconds
    return lambda: time.monotonic() < until


def draining(node: Node, seconds: float = 10.0) -> threading.Thread:
    thread = threading.Thread(target=node.drain, args=(within(seconds),))
    thread.start()
    return thread


def is_refused(port: int) -> bool:
    try:
        RawPeer(port).socket.close()
    except ConnectionRefusedError:
        return True
    return False


def test_an_open_association_is_served_to_its_end() -> None:
    inbox = Inbox()
    with running_node(inbox) as node:
        with RawPeer(node.port).associate() as peer:
            drain = draining(node)
            wait_until(lambda: is_refused(node.port), "it listens no more")
            assert peer.store(f"{ROOT}.1.1.1", FILM) == 0
            assert drain.is_alive()
        drain.join(2)
        assert not drain.is_alive()
    assert len(inbox.instances) == 1


def test_a_connection_that_only_the_system_has_accepted_is_served() -> None:
    inbox = Inbox()
    with running_node(inbox) as node:
        # The thread that accepts stands still, as that of a busy machine.
        socketserver.BaseServer.shutdown(cast(Any, node._server))
        with RawPeer(node.port) as peer:
            peer.send(pdu(ASSOCIATE_RQ, associate_rq()))
            drain = draining(node)
            assert peer.next()[0] == 2
            assert peer.store(f"{ROOT}.1.1.1", FILM) == 0
        drain.join(2)
        assert not drain.is_alive()
    assert len(inbox.instances) == 1


def test_an_association_is_ended_when_the_time_is_over() -> None:
    with running_node(Inbox()) as node, RawPeer(node.port).associate() as idle:
        draining(node, 0.1).join(2)
        node.stop()
        assert idle.seconds_until_closed() < 3


def test_two_nodes_share_a_port_if_both_say_so() -> None:
    first, second = Inbox(), Inbox()
    with running_node(first, reuse_port=True) as one:
        with pytest.raises(PortInUseError), running_node(Inbox(), port=one.port):
            raise AssertionError
        with running_node(second, port=one.port, reuse_port=True) as two:
            one.stop()
            with RawPeer(two.port).associate() as peer:
                assert peer.store(f"{ROOT}.1.1.1", FILM) == 0
    assert (len(first.instances), len(second.instances)) == (0, 1)
