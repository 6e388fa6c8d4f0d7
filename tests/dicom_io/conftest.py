"""Settings of the tests that talk DICOM over the network."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Let pynetdicom leave sockets to the garbage collector.

    It skips `close` where `shutdown` fails, as it does once the peer is gone; the collector
    closes such a socket, with a warning in whichever test runs by then.
    """
    config.addinivalue_line("filterwarnings", "ignore:unclosed <socket:ResourceWarning")
