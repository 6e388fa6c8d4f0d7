"""The daemon with its destinations, ready to be killed or stopped."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.site import FaultSite, fault_site


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path, bundle: Path) -> Iterator[FaultSite]:
    """A daemon that is not started yet. `FORKS` of the module: True if roles are forked."""
    with fault_site(tmp_path / "node", bundle, forks=request.module.FORKS) as made:
        yield made
