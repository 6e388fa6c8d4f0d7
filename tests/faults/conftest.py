"""The daemon with its destinations, on each database, ready to be killed or stopped."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.site import FaultSite, fault_site


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """URL of a database of the site's own; None for the default, a file."""
    if request.param == "sqlite":
        return None
    # Imported here: psycopg is optional.
    from tests.servers.postgresql_server import own_database

    return own_database(request.getfixturevalue("postgresql_socket"))


@pytest.fixture
def site(
    request: pytest.FixtureRequest, tmp_path: Path, bundle: Path, database_url: str | None
) -> Iterator[FaultSite]:
    """A daemon that is not started yet. `FORKS` of the module: True if roles are forked."""
    forks = request.module.FORKS
    with fault_site(tmp_path / "node", bundle, forks=forks, database_url=database_url) as made:
        yield made
