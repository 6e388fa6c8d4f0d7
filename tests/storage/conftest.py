"""Fixtures: a spool, and a store on SQLite and on PostgreSQL with a clock that the test sets.

After each test the list of studies of the store must say what its tables say: so every test of a
change is a test of the list, too.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.files.folder_spool import FolderSpool
from storage.store import Store
from tests.builders.stores.bucket import Bucket, new_bucket
from tests.builders.stores.new import new_store
from tests.servers.s3_server import S3Server, s3_server
from tests.storage.listed import assert_listed
from tests.tools.clock import Clock


@pytest.fixture
def spool(tmp_path: Path) -> FolderSpool:
    return FolderSpool(tmp_path / "spool")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture
def bucket(s3: S3Server) -> Iterator[Bucket]:
    with new_bucket(s3) as made:
        yield made


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.network)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database; for a test that takes `store`, the URL of that store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    socket_folder = request.getfixturevalue("postgresql_socket")
    from tests.servers.postgresql_server import emptied_database, new_tables

    return (new_tables if "store" in request.fixturenames else emptied_database)(socket_folder)


@pytest.fixture
def store(database_url: str, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    """An empty store."""
    is_file = database_url.startswith("sqlite")
    with (
        new_store(tmp_path / "store.db", clock=clock)
        if is_file
        else Store.open(database_url, clock=clock, migrate=False)
    ) as opened:
        yield opened
    assert_listed(database_url)
