"""The socket of an accepted connection: nothing here waits for a peer without end."""

import select
import socket
import ssl
import time
from typing import TYPE_CHECKING

from pynetdicom.transport import AssociationSocket

if TYPE_CHECKING:
    from dicom_io.accepted import AcceptedAssociation

_WAKE_SECONDS = 0.25
"""How often a thread that waits for a peer looks whether it shall end."""


class ConnectionGoneError(Exception):
    """The peer closed the connection, or this side is stopping."""


class Wire(AssociationSocket):
    """The socket of an accepted connection; it never waits for its peer without end."""

    def __init__(
        self, association: "AcceptedAssociation", connection: socket.socket, stall_seconds: float
    ) -> None:
        super().__init__(association, client_socket=connection)
        connection.settimeout(_WAKE_SECONDS)
        self._connection = connection
        self._stall_seconds = stall_seconds

    @property
    def ready(self) -> bool:
        """Whether there is something to read, or the end of it."""
        return self.wait(0)

    def wait(self, seconds: float) -> bool:
        """Whether there is something to read within `seconds`."""
        if not self._is_connected:
            return False
        if isinstance(self._connection, ssl.SSLSocket) and self._connection.pending():
            return True
        poll = select.poll()
        try:
            poll.register(self._connection, select.POLLIN)
        except ValueError:
            # Closed this instant by another thread: reading will say so.
            return True
        return bool(poll.poll(seconds * 1000))

    def take(self, view: memoryview) -> int:
        """Read what is there, at most what fits; 0 where nothing came for a moment.

        Raises ConnectionGoneError.
        """
        try:
            count = self._connection.recv_into(view)
        except (TimeoutError, ssl.SSLWantReadError):
            return 0
        except OSError as error:
            raise ConnectionGoneError from error
        if not count:
            raise ConnectionGoneError
        return count

    def send(self, bytestream: bytes) -> None:
        """Send all of it; a peer that has not taken it within `stall_seconds` counts as gone."""
        left = memoryview(bytestream)
        deadline = time.monotonic() + self._stall_seconds
        while left:
            try:
                left = left[self._connection.send(left) :]
            except (TimeoutError, ssl.SSLWantWriteError):
                if time.monotonic() < deadline:
                    continue
                self.event_queue.put("Evt17")
                return
            except OSError:
                self.event_queue.put("Evt17")
                return

    def close(self) -> None:
        """Close the connection and say so."""
        if self._is_connected:
            self._shutdown_socket()
            self.event_queue.put("Evt17")

    def _shutdown_socket(self) -> None:
        """Close the socket also where its peer was faster, when it cannot be shut down."""
        self._is_connected = False
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        finally:
            self._connection.close()
