"""Addresses and AE titles of the servers that a test starts on this machine."""

import socket

HOST = "127.0.0.1"


def free_port() -> int:
    """Return a TCP port that is free now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


NODE = "CXRD"
PACS = "TESTPACS"
SENDER = "STORESCU"
