"""A TCP proxy in this process: its connections can be cut, held back and let through again."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

Target = tuple[str, int] | str
"""Host and port, or the path of a Unix socket."""

_CHUNK = 65536
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Passes bytes between its clients and a server.

    `cut` resets every connection and each new one; `hold` keeps all bytes back; `resume` ends both.
    """

    def __init__(self, target: Target, host: str = "127.0.0.1", port: int = 0) -> None:
        self._target = target
        self._listening = socket.create_server((host, port), backlog=256)
        self.host, self.port = self._listening.getsockname()[:2]
        self.delay = 0.0
        """Seconds by which every part of the data is late."""
        self.passed = 0
        """Bytes passed on, in both directions."""
        self.connections = 0
        """Connections made since the start."""
        self._flows = threading.Event()
        self._flows.set()
        self._is_cut = False
        self._cut_at: int | None = None
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def cut(self) -> None:
        """Reset every connection, and each new one, until `resume`."""
        with self._lock:
            self._is_cut = True
            self._cut_at = None
            ends = list(self._open)
        for end in ends:
            _reset(end)

    def cut_after(self, count: int) -> None:
        """Cut as soon as `count` more bytes have passed in both directions together."""
        with self._lock:
            self._cut_at = self.passed + count

    def hold(self) -> None:
        """Let connections be made and pass none of their bytes, until `resume`."""
        self._flows.clear()

    def resume(self) -> None:
        """Pass on everything again."""
        with self._lock:
            self._is_cut, self._cut_at = False, None
        self._flows.set()

    def close(self) -> None:
        """Stop listening and reset every connection."""
        # Without the shutdown, the thread that accepts would keep the port open.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()
        self._flows.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            # Without it the second part of an answer waits for the client's delayed ACK.
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = self._connected() if not self._is_cut else None
        except OSError:
            server = None
        if server is None:
            _reset(client)
            return
        with self._lock:
            self.connections += 1
            self._open |= {client, server}
            late = self._is_cut
        if late:
            self.cut()
        answers = threading.Thread(target=self._pass_on, args=(server, client), daemon=True)
        answers.start()
        self._pass_on(client, server)
        answers.join()
        with self._lock:
            self._open -= {client, server}
        client.close()
        server.close()

    def _connected(self) -> socket.socket:
        if isinstance(self._target, str):
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            return server
        server = socket.create_connection(self._target, 10)
        server.settimeout(None)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return server

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                self._flows.wait()
                if self.delay:
                    time.sleep(self.delay)
                if (count := self._let_through(len(data))) < len(data):
                    sink.sendall(data[:count])
                    self.cut()
                    return
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _let_through(self, size: int) -> int:
        """Return the bytes of the next `size` that pass before a cut."""
        with self._lock:
            count = size if self._cut_at is None else min(size, max(self._cut_at - self.passed, 0))
            self.passed += count
            return count


def _reset(end: socket.socket) -> None:
    """Close a connection so that its other end gets a reset."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    with contextlib.suppress(OSError):
        # It wakes the thread that reads, without the end of the stream that SHUT_RDWR would send.
        end.shutdown(socket.SHUT_RD)
    end.close()


@contextlib.contextmanager
def proxy_to(target: Target, host: str = "127.0.0.1", port: int = 0) -> Iterator[Proxy]:
    """Run a proxy for the block."""
    proxy = Proxy(target, host, port)
    try:
        yield proxy
    finally:
        proxy.close()
