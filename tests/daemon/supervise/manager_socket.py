"""The notification socket of a service manager, as systemd has it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LARGEST = 4096
POLL_SECONDS = 0.02


class ManagerSocket:
    """Collects the datagrams that arrive at a socket; the kernel holds only a few of them."""

    def __init__(self, receiver: socket.socket) -> None:
        self._receiver = receiver
        name = receiver.getsockname()
        self.address = name if isinstance(name, str) else f"@{name[1:].decode()}"
        self._lock = threading.Lock()
        self._messages: list[str] = []

    def messages(self) -> list[str]:
        """Return all messages so far."""
        with self._lock:
            while True:
                try:
                    self._messages.append(self._receiver.recv(LARGEST).decode())
                except BlockingIOError:
                    return self._messages.copy()


@contextmanager
def manager_socket(folder: Path, name: str = "") -> Iterator[ManagerSocket]:
    """Yield a socket in `folder`, or with the abstract name that is given."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.setblocking(False)
        receiver.bind(f"\0{name}" if name else str(folder / "notify"))
        received, stop = ManagerSocket(receiver), threading.Event()

        def read() -> None:
            while not stop.wait(POLL_SECONDS):
                received.messages()

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield received
        finally:
            stop.set()
            reader.join()
