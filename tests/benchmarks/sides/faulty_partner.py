"""A partner that fails, in a process of its own: prints its port, and ends with its input.

`python -m tests.benchmarks.sides.faulty_partner FAULT`: a `silent` one accepts and says nothing; a
`slow` one sends a byte of its answer each second; the others answer at once, with something that is
no answer to what they were sent: `http`, `hl7`, or `rubbish`.
"""

import contextlib
import socket
import sys
import threading
import time

from tests.tools.ports import HOST

_HTTP = b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nContent-Length: 2\r\n\r\n{}"
_ACK = b"\x0bMSH|^~\\&|||||20260101||ACK^R01|1|P|2.5.1\rMSA|AA|of-another-message\r\x1c\r"
ANSWERS = {"silent": b"", "slow": _HTTP, "http": _HTTP, "hl7": _ACK, "rubbish": b"\x00" * 200}
_READ_SECONDS = 0.05
"""The time without data after which a message counts as complete."""
_LONGEST = 600


def main() -> None:
    fault = sys.argv[1]
    with socket.create_server((HOST, 0), backlog=200) as server:
        print(server.getsockname()[1], flush=True)
        serving = threading.Thread(target=_accept, args=(server, fault), daemon=True)
        serving.start()
        sys.stdin.read()


def _accept(server: socket.socket, fault: str) -> None:
    while True:
        connection, _ = server.accept()
        threading.Thread(target=_serve, args=(connection, fault), daemon=True).start()


def _serve(connection: socket.socket, fault: str) -> None:
    with connection, contextlib.suppress(OSError):
        while _read(connection):
            match fault:
                case "silent":
                    time.sleep(_LONGEST)
                case "slow":
                    for byte in ANSWERS[fault]:
                        connection.sendall(bytes([byte]))
                        time.sleep(1.0)
                case _:
                    connection.sendall(ANSWERS[fault])


def _read(connection: socket.socket) -> bool:
    """Read until nothing comes for a moment. Return False at the end of the connection."""
    connection.settimeout(None)
    data = connection.recv(65536)
    connection.settimeout(_READ_SECONDS)
    with contextlib.suppress(TimeoutError):
        while data:
            data = connection.recv(65536)
    return bool(data) or connection.fileno() >= 0


if __name__ == "__main__":
    main()
