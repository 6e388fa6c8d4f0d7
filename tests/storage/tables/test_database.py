"""Opening a store, its tables and transactions, and the errors of an unusable database."""

import contextlib
import sqlite3
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import event, inspect, text

from storage.errors import OutOfSpaceError, SchemaError, StorageError, StoreUnavailableError
from storage.files.places import open_spool
from storage.records import JobKind
from storage.store import Store
from storage.tables import upgrade
from storage.tables.columns import metadata
from storage.tables.database import Database, open_database, open_engine
from storage.tables.hosts import nodes
from storage.tables.schema import jobs
from storage.upkeep.integrity import check_store
from tests.builders.store_rows import new_instance


def test_the_migrations_create_the_tables_of_the_schema(database_url: str) -> None:
    Store.open(database_url, migrate=True).close()

    engine = open_engine(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert {jobs.name, nodes.name} <= set(metadata.tables)
        differences = compare_metadata(context, metadata)
    engine.dispose()
    assert differences == []


def test_a_second_migration_keeps_every_row(database_url: str) -> None:
    with Store.open(database_url, migrate=True) as store:
        store.record_instance(new_instance(), 0)

    with Store.open(database_url, migrate=True) as store:
        assert len(store.jobs.list()) == 2


def test_findings_of_an_older_version_have_no_region(database_url: str) -> None:
    database = Database(open_engine(database_url))
    upgrade.migrate(database, "0001")
    with database.writing() as connection:
        connection.execute(
            text(
                "INSERT INTO instances (id, sop_instance_uid, revision, sop_class_uid,"
                " transfer_syntax_uid, study_instance_uid, series_instance_uid, patient_id,"
                " accession_number, study_date, modality, calling_ae_title, spool_path, size,"
                " sha256, received_at, state, notes) VALUES (1, '1.1', 1, '', '', '1', '', '', '',"
                " '', '', '', '', 4, '', '2026-01-01 00:00:00', 'analysed', '[]')"
            )
        )
        connection.execute(
            text(
                "INSERT INTO findings (instance_id, position, label, logit, probability,"
                " threshold, present) VALUES (1, 0, 'Mass', 1.5, 0.75, 0.5, true)"
            )
        )

    upgrade.migrate(database)

    (found,) = Store(database).results.instance(1).findings
    assert (found.label, found.probability, found.region) == ("Mass", 0.75, None)
    database.engine.dispose()


def test_several_threads_can_create_a_store_at_once(database_url: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(lambda _: Store.open(database_url, migrate=True), range(8)))

    for store in stores:
        assert store.jobs.list() == ()
        store.close()


def test_a_store_of_a_newer_version_is_refused(database_url: str) -> None:
    Store.open(database_url, migrate=True).close()
    engine = open_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(
            text("UPDATE node_facts SET value = '9998' WHERE name = 'compatible_from'")
        )
    engine.dispose()

    for migrate in (True, False):
        with pytest.raises(SchemaError, match="newer version"):
            Store.open(database_url, migrate=migrate)


def test_an_empty_store_is_refused_without_migration(database_url: str) -> None:
    open_engine(database_url).dispose()

    with pytest.raises(SchemaError, match="cxrd serve"):
        Store.open(database_url, migrate=False)


def test_a_failed_migration_leaves_no_table(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(open_engine(database_url))
    run = command.upgrade

    def fail_at_the_end(config: Config, revision: str) -> None:
        run(config, revision)
        raise StorageError("power cut")

    monkeypatch.setattr(command, "upgrade", fail_at_the_end)
    with pytest.raises(StorageError, match="power cut"):
        upgrade.migrate(database)
    monkeypatch.undo()
    with database.reading() as connection:
        assert inspect(connection).get_table_names() == []

    upgrade.migrate(database)
    upgrade.require_current(database)
    database.engine.dispose()


def test_a_missing_file_is_not_created_without_migration(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="no store at"):
        Store.open(f"sqlite:///{tmp_path}/none.db", migrate=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_a_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"not a database at all" * 100)

    with pytest.raises(StorageError, match="restore it from a backup") as caught:
        Store.open(f"sqlite:///{path}", migrate=True)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/db", "sqlite://", "sqlite:///:memory:"])
def test_a_url_that_cannot_hold_a_store_is_refused(url: str) -> None:
    with pytest.raises(StorageError, match="database_url"):
        Store.open(url, migrate=True)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:pa@Sec:retword@h/db",
        "postgresql://u:Secret@retword@127.0.0.1:1/db",
        "postgresql://u:pa?Secret@retword@h/db",
        "postgresql://u:pa@Secret/retword@h/db",
        "postgresql://u:pa@Secret?retword@h/db",
        "postgresql://u/Secret:retword@h/db",
        "postgresql://u:x@h:retword/db",
    ],
)
def test_an_ambiguous_url_is_refused_without_its_password(tmp_path: Path, url: str) -> None:
    with pytest.raises(StorageError, match="@ is written %40") as caught:
        Store.open(url, migrate=False)
    assert "ret" not in str(caught.value)
    assert check_store(url, open_spool(tmp_path))


def test_an_at_sign_in_a_file_path_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "a@b@c" / "store.db"
    Store.open(f"sqlite:///{path}", migrate=True).close()
    assert path.exists()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:secret%40x@/db?host={}",
        "postgresql+psycopg:///db?host={}&user=user&password=secret%40x",
    ],
)
def test_an_unreachable_server_is_a_retryable_error(tmp_path: Path, url: str) -> None:
    pytest.importorskip("psycopg")

    with pytest.raises(StoreUnavailableError, match="server running") as caught:
        Store.open(url.format(tmp_path), migrate=False)
    assert f"the store postgresql://{tmp_path}/db does not answer" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_password_in_a_driver_message_is_hidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    psycopg = pytest.importorskip("psycopg")

    def fail(*_: object, **given: object) -> None:
        raise psycopg.OperationalError(f"cannot connect with {given}")

    monkeypatch.setattr(psycopg, "connect", fail)
    for url in ("//u:s3cret@h/db", "//h/db?user=u&password=s3cret", "//h/db?sslpassword=s3cret"):
        with pytest.raises(StoreUnavailableError, match="cannot connect with") as caught:
            Store.open(f"postgresql:{url}", migrate=False)
        assert "s3cret" not in str(caught.value)


def test_sqlite_is_durable_and_private_to_the_owner(tmp_path: Path) -> None:
    path = tmp_path / "made" / "store.db"
    with Store.open(f"sqlite:///{path}", migrate=True) as store:
        store.record_instance(new_instance(), 0)
        modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        with open_database(f"sqlite:///{path}") as database, database.reading() as connection:
            settings = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            ]

    assert settings == ["wal", 2, 1, 30_000]
    assert modes == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_store_locked_by_another_program_is_a_retryable_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.tables.database.BUSY_TIMEOUT_SECONDS", 0.05)
    path = tmp_path / "store.db"
    with Store.open(f"sqlite:///{path}", migrate=True) as store:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(StoreUnavailableError, match="busy") as caught:
                store.record_instance(new_instance(), 0)
        assert caught.value.retryable
        store.record_instance(new_instance(), 0)


def test_a_full_database_records_no_part_of_an_instance(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    Store.open(url, migrate=True).close()
    database = Database(open_engine(url))
    with database.reading() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    with database.engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    store = Store(database)

    with pytest.raises(OutOfSpaceError):
        store.record_instance(new_instance(calling_ae_title="x" * 100_000), 0)
    assert store.jobs.list() == ()
    store.close()


def test_two_writers_that_read_first_both_succeed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    Store.open(url, migrate=True).close()
    databases = [Database(open_engine(url)) for _ in range(2)]
    meet = threading.Barrier(2)

    def read_then_write(database: Database) -> None:
        meet.wait()
        for _ in range(20):
            with database.writing() as connection:
                value = connection.scalar(text("SELECT count(*) FROM studies"))
                connection.execute(
                    text(
                        "INSERT INTO studies (study_instance_uid, status, detail, updated_at)"
                        " VALUES (:uid, 'reported', '', '2026-01-01')"
                    ),
                    {"uid": str(value)},
                )

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(read_then_write, databases))
    with databases[0].reading() as connection:
        assert connection.scalar(text("SELECT count(*) FROM studies")) == 40
    for database in databases:
        database.engine.dispose()


def test_times_are_read_aware_and_in_utc(store: Store) -> None:
    local_time = datetime(2026, 3, 1, 14, 30, tzinfo=timezone(timedelta(hours=2)))
    store.jobs.enqueue(JobKind.REPORT, "1.2", not_before=local_time)

    (job,) = store.jobs.list()
    assert job.not_before == local_time
    assert job.not_before.tzinfo is UTC
    with pytest.raises(StorageError):
        store.jobs.enqueue(JobKind.REPORT, "1.2", not_before=local_time.replace(tzinfo=None))


DAMAGED = "CAST(x'5345435245540a81' AS TEXT)"
"""The text SECRET, a line break, and a byte that is not UTF-8."""


def test_the_readable_part_of_a_damaged_cell_is_returned(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    with Store.open(url, migrate=True) as store:
        store.record_instance(new_instance(), 0)
        with open_database(url) as database, database.writing() as connection:
            connection.execute(text(f"UPDATE instances SET patient_id = {DAMAGED}"))  # noqa: S608
        assert store.results.instance(1).patient_id == "SECRET\n\ufffd"


def test_an_error_quotes_no_damaged_cell(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/store.db")
    event.listen(engine, "connect", lambda driver, _: setattr(driver, "text_factory", str))
    database = Database(engine)
    with pytest.raises(StorageError) as caught, database.reading() as connection:
        connection.execute(text(f"SELECT {DAMAGED} AS patient_id")).all()
    database.engine.dispose()
    assert "SECRET" not in str(caught.value)
    assert "OperationalError" in str(caught.value)


def test_an_error_quotes_no_patient(database_url: str) -> None:
    with Store.open(database_url, migrate=True) as store:
        instance = new_instance(patient_id="SECRET", sop_class_uid=None)
        with pytest.raises(StorageError) as caught:
            store.record_instance(instance, 0)
    assert "SECRET" not in str(caught.value)
    assert "\n" not in str(caught.value)
