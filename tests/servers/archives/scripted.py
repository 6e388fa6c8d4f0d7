"""A Query/Retrieve SCP whose answers a test sets."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pydicom import Dataset
from pydicom.config import disable_value_validation
from pynetdicom import AE, evt
from pynetdicom.events import Event

from dicom_io.query.classes import FILM_CLASSES
from dicom_io.query.services import FIND, GET, MOVE
from dicom_io.send.association import Destination, Timeouts
from tests.tools.ports import HOST, NODE

QUICK = Timeouts(connect=2, association=5, response=5, network=5)
PENDING = 0xFF00

Answers = Callable[[Event], Iterator[Any]]


def nothing(_: Event) -> Iterator[Any]:
    yield from ()


def study(**keys: str) -> Dataset:
    """Return an answer to a query."""
    answer = Dataset()
    with disable_value_validation():
        for keyword, value in {"StudyInstanceUID": "1.2.3", **keys}.items():
            setattr(answer, keyword, value)
    return answer


@contextmanager
def scripted_archive(
    find: Answers = nothing,
    get: Answers = nothing,
    move: Answers = nothing,
    *,
    models: tuple[str, ...] = (FIND, GET, MOVE),
    timeouts: Timeouts = QUICK,
) -> Iterator[Destination]:
    """Run a Query/Retrieve SCP with these answers and yield it as a destination."""
    ae = AE(ae_title="ARCHIVE")
    for uid in (*models, "1.2.840.10008.1.1"):
        ae.add_supported_context(uid)
    for sop_class in FILM_CLASSES:
        ae.add_supported_context(sop_class, scu_role=True, scp_role=True)
    handlers: list[Any] = [
        (evt.EVT_C_FIND, find),
        (evt.EVT_C_GET, get),
        (evt.EVT_C_MOVE, move),
        (evt.EVT_C_ECHO, lambda _: 0x0000),
    ]
    server = ae.start_server((HOST, 0), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        yield Destination(
            name="archive",
            ae_title="ARCHIVE",
            host=HOST,
            port=int(server.server_address[1]),
            calling_ae_title=NODE,
            timeouts=timeouts,
        )
    finally:
        deadline = time.monotonic() + 2
        while ae.active_associations and time.monotonic() < deadline:
            time.sleep(0.01)
        ae.shutdown()
