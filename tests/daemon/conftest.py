"""A daemon and its parts, with a PACS that records each object."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cxr_model.engine.choice import open_predictor
from cxr_model.predict.bundle import Bundle
from daemon.analyse.pipeline import Pipeline
from daemon.analyse.reader.decoder_pool import DecoderPool
from daemon.analyse.reader.film_reader import FilmReader
from storage.files.folder_spool import FolderSpool
from storage.records import JobKind
from storage.store import Store
from tests.builders.bench import Bench, open_bench
from tests.builders.made_checks import FixedCheck
from tests.builders.outbox import queue_report
from tests.builders.store_rows import claim
from tests.builders.stores.new import new_store
from tests.daemon.cli.node.made_node import make_node
from tests.servers.dicom.orthanc import Orthanc, running_orthanc
from tests.servers.dicom.pacs import RecordingPacs
from tests.servers.running import RunningDaemon
from tests.servers.website import Site, running_site


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[RecordingPacs]:
    """A running PACS that accepts everything."""
    with RecordingPacs(tmp_path / "pacs") as running:
        yield running


@pytest.fixture
def database() -> dict[str, Any]:
    """The keys of the configuration that name the store. A module may run on more databases."""
    return {}


def database_keys(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the keys for the database that the parameter of a fixture names."""
    if request.param == "sqlite":
        return {}
    # Imported here: psycopg is optional.
    from tests.servers.postgresql_server import own_database

    return {"database_url": own_database(request.getfixturevalue("postgresql_socket"))}


@pytest.fixture
def daemon(
    tmp_path: Path, bundle: Path, pacs: RecordingPacs, database: dict[str, Any]
) -> Iterator[RunningDaemon]:
    """`cxrd serve`, ready, delivering to `pacs`."""
    with RunningDaemon(tmp_path / "node", bundle, pacs.port, database) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """The store in `tmp_path`, new and empty."""
    with new_store(tmp_path / "cxrd.sqlite") as opened:
        yield opened


@pytest.fixture
def site(tmp_path: Path, store: Store) -> Iterator[Site]:
    """The web role over `store`, answering."""
    with running_site(tmp_path) as answering:
        yield answering


@pytest.fixture(scope="module")
def pipeline(bundle: Path) -> Pipeline:
    """The pipeline of `bundle`. Its picture check takes every picture for a frontal chest film.

    So a test may use a film of another room that does not look like a chest.
    """
    predictor = open_predictor(Bundle.load(bundle), device="cpu", threads=1)
    reader = FilmReader(FixedCheck(), predictor.bundle.card.input)
    return Pipeline(predictor, DecoderPool(reader))


@pytest.fixture
def bench(tmp_path: Path, pipeline: Pipeline) -> Iterator[Bench]:
    """An analyst in this process, with an empty store and spool."""
    with open_bench(tmp_path, pipeline) as opened:
        yield opened


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    """An Orthanc with an empty store; the test skips where there is none."""
    with running_orthanc(tmp_path) as running:
        yield running


@pytest.fixture
def parked(tmp_path: Path) -> Path:
    """A folder whose store holds one parked delivery and one that is queued."""
    data = tmp_path / "data"
    data.mkdir()
    with new_store(data / "cxrd.sqlite") as store:
        spool = FolderSpool(data / "spool")
        for number in (1, 2):
            queue_report(store, spool, "pacs", number)
        store.jobs.fail(claim(store, JobKind.DELIVER), "status 0xA900: not wanted", None)
    return tmp_path


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """The folder of a node that does not run, with studies; see `make_node`."""
    return make_node(tmp_path)
