"""The node's listener in this process, with clients of dcmtk and pynetdicom."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from pynetdicom import AE, build_context
from pynetdicom.dimse_primitives import C_STORE

from dicom_io.commitment.answer_channel import pause_reactor, resume_reactor
from dicom_io.peer.peers import Peer
from dicom_io.receive.events import RefusedObject, Rejection
from dicom_io.receive.node import Node
from dicom_io.receive.store_request import ReceivedInstance, StoreStatus
from tests.builders.images.films import ROOT
from tests.tools.installed import require_tool

CR = "1.2.840.10008.5.1.4.1.1.1"


@dataclass
class Inbox:
    """Instances, rejections and refusals that a node reports."""

    instances: list[ReceivedInstance] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    refusals: list[RefusedObject] = field(default_factory=list)

    def take(self, instance: ReceivedInstance) -> StoreStatus:
        self.instances.append(instance)
        return StoreStatus.SUCCESS


@contextmanager
def running_node(inbox: Inbox, **options: Any) -> Iterator[Node]:
    settings: dict[str, Any] = {
        "ae_title": "CXRD",
        "host": "127.0.0.1",
        "port": 0,
        "peers": [Peer("STORESCU")],
        "on_store": inbox.take,
        "on_rejected": inbox.rejections.append,
        "on_refused": inbox.refusals.append,
    }
    with Node(**(settings | options)) as node:
        yield node


def echoscu(node: Node, calling: str, called: str = "CXRD") -> subprocess.CompletedProcess[str]:
    command = [require_tool("echoscu"), "-aet", calling, "-aec", called]
    return subprocess.run(
        [*command, "127.0.0.1", str(node.port)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def store_raw(
    node: Node,
    data_set: bytes,
    *,
    uid: str = f"{ROOT}.1.1.1",
    sop_class: str = CR,
    context_class: str = CR,
    syntax: str = "1.2.840.10008.1.2.1",
) -> Any:
    """Send bytes as they are, under any UIDs, and return the response."""
    ae = AE(ae_title="STORESCU")
    association = ae.associate(
        "127.0.0.1", node.port, contexts=[build_context(context_class, syntax)], ae_title="CXRD"
    )
    assert association.is_established
    request = C_STORE()
    request.MessageID = 1
    request.Priority = 2
    request.AffectedSOPClassUID = sop_class
    request.AffectedSOPInstanceUID = uid
    request.DataSet = BytesIO(data_set)
    assert pause_reactor(association, time.monotonic() + 5)
    association.dimse.send_msg(request, 1)
    _, response = association.dimse.get_msg(block=True)
    resume_reactor(association)
    association.release()
    assert isinstance(response, C_STORE)
    return response
