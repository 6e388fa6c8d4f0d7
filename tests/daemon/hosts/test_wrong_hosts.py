"""Hosts that were set up wrongly: refused with one line before they work, or warned of."""

import contextlib
import shutil
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from daemon.config.settings import Config
from daemon.hosts.agreement import as_text, section_digests
from daemon.preflight.all_hosts import check_hosts
from daemon.supervise.supervised_store import SupervisedStore
from daemon.worker.role import RoleName
from storage.errors import IntegrityError, SchemaError, StorageError
from storage.files.folder_spool import FolderSpool
from storage.files.marker import MARKER_NAME
from storage.files.places import open_spool
from storage.hosts.nodes import NodeRole
from storage.records import JobKind, JobState
from storage.store import Store
from storage.tables.clock import utc_now
from storage.tables.database import open_database
from tests.builders.store_rows import new_instance

pytestmark = pytest.mark.daemon


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """The store that the hosts share: the rules are those of a server."""
    return f"sqlite:///{tmp_path}/shared.sqlite"


def host(folder: Path, url: str, **values: Any) -> Config:
    """Return the configuration of a host with a spool of its own, unless `values` says more."""
    return Config(data_dir=folder, database_url=SecretStr(url), **values)


@contextlib.contextmanager
def started(config: Config) -> Iterator[SupervisedStore]:
    """Start a host as far as its roles may work."""
    with SupervisedStore.opened(config, [RoleName.ANALYST], time.monotonic) as store:
        yield store


def refuse(config: Config, match: str, error: type[StorageError] = IntegrityError) -> None:
    """Require that a start is refused with one line, before a job is claimed."""
    with pytest.raises(error, match=match) as caught, started(config):
        pass
    assert "\n" not in str(caught.value)


def receive(config: Config) -> None:
    """Acknowledge a film at a host."""
    with Store.open(config.resolved_database_url, migrate=False) as store:
        stored = open_spool(config.spool_place).write("received/ab/1.dcm", b"film")
        store.record_instance(new_instance("1.1", "1", spool_path=stored.path, size=4), 0)


def waiting(config: Config) -> bool:
    """Return True if the film still waits for its analysis."""
    with Store.open(config.resolved_database_url, migrate=False) as store:
        (job,) = store.jobs.list(kind=JobKind.ANALYSE)
    return (job.state, job.attempts) == (JobState.QUEUED, 0)


@pytest.mark.parametrize("has_film", [False, True])
def test_a_host_with_a_spool_of_its_own(tmp_path: Path, store_url: str, has_film: bool) -> None:
    first, second = host(tmp_path / "a", store_url), host(tmp_path / "b", store_url)
    with started(first):
        if has_film:
            receive(first)
        refuse(second, "none of the files" if has_film else "is not the spool of")
    assert not (tmp_path / "b" / "spool").exists()
    assert not has_film or waiting(first)


def test_a_host_whose_spool_is_not_mounted(tmp_path: Path, store_url: str) -> None:
    shared = tmp_path / "mount"
    first, second = (
        host(tmp_path / name, store_url, spool={"url": f"file://{shared}"}) for name in "ab"
    )
    with started(first), started(second):
        receive(first)
    shared.rename(tmp_path / "away")
    shared.mkdir()
    refuse(second, "Mount its volume")
    assert list(shared.iterdir()) == []
    shared.rmdir()
    (tmp_path / "away").rename(shared)
    with started(second):
        assert waiting(second)


def test_a_host_with_a_copied_marker(tmp_path: Path, store_url: str) -> None:
    first, second = host(tmp_path / "a", store_url), host(tmp_path / "b", store_url)
    with started(first):
        receive(first)
    FolderSpool(tmp_path / "b" / "spool")
    shutil.copy(tmp_path / "a" / "spool" / MARKER_NAME, tmp_path / "b" / "spool" / MARKER_NAME)
    refuse(second, "none of the files that the store names is there")


def test_a_host_with_another_database(tmp_path: Path, store_url: str) -> None:
    spool = {"url": f"file://{tmp_path}/mount"}
    first = host(tmp_path / "a", store_url, spool=spool)
    second = host(tmp_path / "b", f"sqlite:///{tmp_path}/other.sqlite", spool=spool)
    with started(first):
        refuse(second, "is the spool of another store")
        receive(first)
        refuse(second, "is the spool of another store")
    assert waiting(first)


def test_a_host_with_the_spool_of_another_node(tmp_path: Path, store_url: str) -> None:
    """Each of the two nodes has an id, so both lines name both ids."""
    first = host(tmp_path / "a", store_url)
    other = host(tmp_path / "b", f"sqlite:///{tmp_path}/other.sqlite")
    with started(first), started(other):
        ids = [open_spool(config.spool_place).identity() for config in (first, other)]
    mixed = host(tmp_path / "b", store_url)
    refuse(mixed, f"has the id {ids[1]}, and the store names {ids[0]}: set data_dir")


def test_a_host_with_an_older_version(tmp_path: Path, store_url: str) -> None:
    first = host(tmp_path / "a", store_url)
    with started(first):
        receive(first)
    with open_database(store_url) as database, database.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        connection.exec_driver_sql("DELETE FROM node_facts WHERE name = 'compatible_from'")
        connection.exec_driver_sql("INSERT INTO node_facts VALUES ('compatible_from', '9999')")
    refuse(first, "the store is of a newer version", SchemaError)


def test_a_host_whose_clock_is_wrong(
    tmp_path: Path,
    store_url: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = host(tmp_path / "a", store_url)
    with started(config):
        pass
    assert "clock of this host" not in caplog.text
    assert [line for line in check_hosts(config) if line.name == "clock"] == []
    for hours, words in ((1, "3600 s behind"), (-1, "3600 s ahead of")):
        caplog.clear()
        with monkeypatch.context() as wrong:
            wrong.setattr(Store, "now", lambda _, hours=hours: utc_now() + timedelta(hours=hours))
            with started(config):
                pass
            (line,) = [line for line in check_hosts(config) if line.name == "clock"]
        logged = [record.getMessage() for record in caplog.records]
        warnings = [text for text in logged if "the clock of this host" in text]
        assert len(warnings) == 1
        assert f"the clock of this host is {words} the database's" in warnings[0]
        assert (line.word, line.detail) == ("warning", warnings[0])


def test_hosts_with_other_settings(
    tmp_path: Path, store_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    spool = {"url": f"file://{tmp_path}/mount"}
    pacs = {"name": "pacs", "ae_title": "P", "host": "pacs", "port": 104, "receives": ["report"]}
    config = host(tmp_path / "a", store_url, spool=spool)
    other = host(tmp_path / "b", store_url, spool=spool, peers=[pacs])
    digests = as_text(section_digests(other))
    with started(config):
        assert "other settings" not in caplog.text
        with Store.open(store_url, migrate=False) as store:
            store.nodes.renew([NodeRole("b:p:analyst", "b", "analyst", "1", "0008", digests, "up")])
        with started(config):
            pass
    assert "host b has other settings than this one in peers: give both the same" in caplog.text
