"""Senders that open an association after another, and never send a film twice."""

import itertools
import threading
import time
from dataclasses import dataclass, field
from typing import Self

from dicom_io.errors import AssociationError
from dicom_io.read.header import read_header
from dicom_io.send.association import Destination
from dicom_io.send.sender import Sender, pair_of
from dicom_io.send.store_status import Disposition
from tests.builders.images.films import film
from tests.hosts.site import LISTENER_PORT, TIMEOUTS
from tests.servers.hosts.namespaces import Host
from tests.tools.ports import NODE, SENDER

SENDERS = 3
_PAUSES = (0.0, 0.0, 0.3, 1.0)
"""Seconds between the two films of an association."""


@dataclass
class Load:
    """A context manager: constant load from one host on an address until the block ends."""

    sender: Host
    target: Host
    mark: str
    acknowledged: list[str] = field(default_factory=list)
    """The studies of the acknowledged films."""
    failures: list[str] = field(default_factory=list)
    associations: int = 0
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        for _ in range(SENDERS):
            self._threads.append(threading.Thread(target=self._send))
            self._threads[-1].start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        target = self.target.address
        destination = Destination("cxrd", NODE, target, LISTENER_PORT, SENDER, TIMEOUTS)
        with self.sender.inside():
            while not self._over.is_set():
                number = next(self._numbers)
                images = [film(f"{self.mark}-{number}-{each}") for each in range(2)]
                self._send_together(destination, images, _PAUSES[number % len(_PAUSES)])

    def _send_together(self, destination: Destination, images: list[bytes], pause: float) -> None:
        self.associations += 1
        try:
            with Sender(destination, sop_classes=(), also=[pair_of(images[0])]) as sender:
                for image in images:
                    result = sender.send(image)
                    if result.disposition is not Disposition.DELIVERED:
                        self.failures.append(result.detail)
                        return
                    self.acknowledged.append(read_header(image).study_instance_uid)
                    time.sleep(pause)
        except AssociationError as error:
            self.failures.append(str(error))
