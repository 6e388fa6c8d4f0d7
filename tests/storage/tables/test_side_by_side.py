"""This version works on the tables of the next one, if that one says that it may."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from storage.errors import SchemaError
from storage.hosts.nodes import NodeRole
from storage.records import InstanceState, JobKind
from storage.store import Store
from storage.tables import upgrade
from storage.tables.database import Database, open_database, open_engine
from tests.builders.store_rows import analyse, claim, new_instance
from tests.storage.listed import assert_listed
from tests.storage.tables.next_revision import EXPANDS, NEXT, next_software, write_migration
from tests.storage.tables.release import fill
from tests.tools.clock import Clock


@pytest.fixture
def expands(tmp_path: Path) -> Path:
    return write_migration(tmp_path, EXPANDS)


def revision_of(url: str) -> str:
    with open_database(url) as database, database.reading() as connection:
        found: str = connection.execute(
            text("SELECT version_num FROM alembic_version")
        ).scalar_one()
    return found


def test_all_work_goes_on_while_the_next_version_upgrades(
    database_url: str, clock: Clock, expands: Path
) -> None:
    with Store.open(database_url, clock=clock, migrate=True) as store:
        store.record_instance(new_instance("7.1", study_instance_uid="1.2.7"), 0)
        running = claim(store, JobKind.ANALYSE)

        with next_software(expands):
            Store.open(database_url, migrate=True).close()
        assert revision_of(database_url) == NEXT

        store.results.record_refusal(running, int(running.subject), "LATERAL_VIEW", "")
        store.jobs.finish(claim(store, JobKind.REPORT))
        fill(store, clock.now)
        store.jobs.release("analyst")
        analyse(store, clock.now)
        store.nodes.renew([NodeRole("n", "h", "analyst", "1", "0008", "{}", "up")])
        assert len(store.nodes.list()) == 1
        assert {item.state for item in store.results.study("1.2.3").instances} == {
            InstanceState.ANALYSED,
            InstanceState.NOT_ANALYSED,
        }
        assert len(list(store.export.rows(["Mass"]))) > 3
        assert store.audit.verify().number > 10
    assert_listed(database_url)


@pytest.mark.parametrize("migrate", [True, False])
def test_a_process_that_starts_later_works_and_changes_no_table(
    database_url: str, expands: Path, migrate: bool
) -> None:
    Store.open(database_url, migrate=True).close()
    with next_software(expands):
        Store.open(database_url, migrate=True).close()

    with Store.open(database_url, migrate=migrate) as store:
        assert store.newer_schema() == NEXT
        store.record_instance(new_instance("1.1"), 0)
    assert revision_of(database_url) == NEXT
    with next_software(expands), Store.open(database_url, migrate=False) as store:
        assert store.newer_schema() is None
        assert len(store.jobs.list()) == 2


def test_a_version_that_may_not_go_on_is_refused(database_url: str, tmp_path: Path) -> None:
    Store.open(database_url, migrate=True).close()
    with next_software(write_migration(tmp_path, "    pass", compatible_from=NEXT)):
        Store.open(database_url, migrate=True).close()
    for migrate in (True, False):
        with pytest.raises(SchemaError, match=f"needs software of revision {NEXT}"):
            Store.open(database_url, migrate=migrate)


def test_the_list_of_studies_is_written_anew_only_if_a_migration_asks(
    database_url: str, expands: Path
) -> None:
    calls: list[str] = []
    with open_database(database_url, create=True) as database:
        upgrade.migrate(database, fill=lambda _: calls.append("new"))
        with next_software(expands):
            upgrade.migrate(database, fill=lambda _: calls.append("expands"))
    assert calls == ["new"]


def test_an_upgrade_that_waits_lets_the_others_work(
    database_url: str, expands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader keeps a table for long: the upgrade does not queue before the receptions."""
    if database_url.startswith("sqlite"):
        pytest.skip("a file has one writer at a time")
    monkeypatch.setattr(upgrade, "_LOCK_SECONDS", 0.1)
    monkeypatch.setattr(upgrade, "_PAUSE_SECONDS", 0.05)
    with Store.open(database_url, migrate=True) as store, next_software(expands):
        database = Database(open_engine(database_url))
        begin = threading.Event()

        def run() -> None:
            begin.set()
            upgrade.migrate(database)

        upgrading = threading.Thread(target=run)
        with database.reading() as reader:
            reader.execute(text("SELECT count(*) FROM instances"))
            upgrading.start()
            begin.wait()
            for number in range(20):
                store.record_instance(new_instance(f"1.{number}"), 0)
            assert upgrading.is_alive()
        upgrading.join(30)
        with database.reading() as connection:
            assert inspect(connection).has_table("things")
        database.engine.dispose()
    assert revision_of(database_url) == NEXT
