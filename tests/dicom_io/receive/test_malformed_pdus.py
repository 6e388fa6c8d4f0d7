"""A conversation that is not DICOM leaves no thread and no error in the node.

An exception in a thread fails the test by itself: pytest turns it into a warning, and that into
an error.
"""

import pytest

from dicom_io.receive.limits import AbortReason, Limits
from tests.builders.images.films import ROOT, chest_film, chest_values, data_set_bytes, file_bytes
from tests.builders.malformed_pdus import BEFORE, WITHIN, conversations, hold
from tests.servers.dicom.raw_peer import RawPeer
from tests.servers.dicom.storage_node import Inbox, running_node
from tests.servers.watching import threads_of_connections
from tests.tools.waiting import wait_until

pytestmark = pytest.mark.network

FILM = data_set_bytes(file_bytes(chest_film(chest_values(20, 16))))
COUNT = 2 * max(len(BEFORE), len(WITHIN))


@pytest.mark.parametrize(
    "seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
)
def test_no_conversation_leaves_a_thread_or_an_error(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = Inbox()
    with running_node(inbox, limits=Limits(stall_seconds=1, request_seconds=1)) as node:
        for conversation in conversations(seed, COUNT, f"{ROOT}.9", FILM):
            hold(conversation, node.port, listen_seconds=0.02)
            wait_until(lambda: not threads_of_connections(), seconds=5)
            assert "Traceback" not in caplog.text, conversation
        with RawPeer(node.port) as peer:
            assert peer.associate().store(f"{ROOT}.1.1.1", FILM) == 0
    assert inbox.instances[-1].sop_instance_uid == f"{ROOT}.1.1.1"
    assert all(stored.sop_instance_uid.startswith(ROOT) for stored in inbox.instances)
    ended_for = {rejection.reason for rejection in inbox.rejections}
    assert {AbortReason.NOT_DICOM, AbortReason.MALFORMED, AbortReason.TOO_LARGE} <= ended_for
