"""Several hosts, of which no daemon is started yet."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.site import HostsSite, hosts_site


@pytest.fixture
def site(tmp_path: Path, bundle: Path) -> Iterator[HostsSite]:
    """Hosts joined by a network, with a database, a destination and room for daemons."""
    with hosts_site(tmp_path, bundle) as made:
        yield made
