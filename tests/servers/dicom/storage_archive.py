"""A Storage SCP whose answers a test sets."""

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.events import Event

from dicom_io.objects.classes import RESULT_CLASSES
from dicom_io.send.association import Destination, Timeouts
from tests.builders.images.films import chest_film, file_bytes
from tests.servers.dicom.raw_peer import ASSOCIATE_AC, USER_INFORMATION, item, pdu

SC = SecondaryCaptureImageStorage
CR = ComputedRadiographyImageStorage
QUICK = Timeouts(connect=2, association=2, response=2, network=2)

Handler = Callable[[Event], Any]


@contextmanager
def storage_archive(
    on_store: Handler = lambda _: 0x0000,
    *,
    classes: tuple[str, ...] = (*RESULT_CLASSES, CR),
    syntaxes: tuple[str, ...] = (ExplicitVRLittleEndian,),
    on_requested: Handler | None = None,
    on_echo: Handler = lambda _: 0x0000,
    verification: bool = True,
) -> Iterator[Destination]:
    """Run a Storage SCP with these answers and yield it as a destination."""
    ae = AE(ae_title="PACS")
    for uid in classes:
        ae.add_supported_context(uid, list(syntaxes))
    if verification:
        ae.add_supported_context("1.2.840.10008.1.1")
    handlers: list[Any] = [(evt.EVT_C_STORE, on_store), (evt.EVT_C_ECHO, on_echo)]
    if on_requested is not None:
        handlers.append((evt.EVT_REQUESTED, on_requested))
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        yield destination(int(server.server_address[1]))
    finally:
        # A rejected association may still be closing, and to abort it then raises an error.
        deadline = time.monotonic() + 2
        while ae.active_associations and time.monotonic() < deadline:
            time.sleep(0.01)
        ae.shutdown()


def destination(port: int, **changes: Any) -> Destination:
    settings: dict[str, Any] = {
        "name": "ARCHIVE",
        "ae_title": "PACS",
        "host": "127.0.0.1",
        "port": port,
        "calling_ae_title": "CXRD",
        "timeouts": QUICK,
    }
    return Destination(**(settings | changes))


FILM = file_bytes(chest_film(sop_class=SC))


def accept_and_read_no_more(listening: socket.socket) -> socket.socket:
    """Accept an association with all its contexts, then stop reading."""
    connection, _ = listening.accept()
    header = connection.recv(6, socket.MSG_WAITALL)
    request = connection.recv(struct.unpack(">BxI", header)[1], socket.MSG_WAITALL)
    accepted = item(0x40, ExplicitVRLittleEndian.encode())
    items = item(0x10, b"1.2.840.10008.3.1.1.1") + USER_INFORMATION
    for number in (1, 3, 5, 7, 9, 11, 13):
        items += item(0x21, struct.pack(">BxBx", number, 0) + accepted)
    connection.sendall(pdu(ASSOCIATE_AC, request[:68] + items))
    return connection
