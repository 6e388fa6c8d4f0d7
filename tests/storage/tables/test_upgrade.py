"""An upgrade keeps every row of a store of any released revision, or changes no row."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, create_engine, insert, select, text

from storage.errors import SchemaError
from storage.records import (
    InstanceState,
    JobKind,
    JobState,
    ReceiptOutcome,
    Standing,
    StudyStatus,
)
from storage.store import Store
from storage.tables import upgrade
from storage.tables.database import Database, open_database
from tests.builders.store_rows import STUDY, analyse, claim, new_instance
from tests.storage.tables.release import restore, revisions
from tests.tools.paths import ROOT

REVISIONS = tuple(revisions())
Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(params=REVISIONS)
def revision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def kept(revision: str, tmp_path: Path) -> Iterator[Rows]:
    """Yield the rows of the filled store of a revision."""
    path = tmp_path / "kept.sqlite"
    restore(revision, path)
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        yield read(connection)
    engine.dispose()


@pytest.fixture
def old_store(revision: str, kept: Rows, database_url: str) -> str:
    """Return the URL of a database of that revision with those rows."""
    if database_url.startswith("sqlite"):
        restore(revision, Path(database_url.removeprefix("sqlite:///")))
        return database_url
    with open_database(database_url) as database:
        upgrade.migrate(database, revision)
        write(database, kept)
    return database_url


def read(connection: Connection) -> Rows:
    """Return every row of every table in key order, without Alembic's table."""
    metadata = MetaData()
    metadata.reflect(connection)
    return {
        table.name: [
            {name: _aware(value) for name, value in row.items()}
            for row in connection.execute(
                select(table).order_by(*table.primary_key.columns)
            ).mappings()
        ]
        for table in metadata.sorted_tables
        if table.name != "alembic_version"
    }


def _aware(value: object) -> object:
    """Return times in UTC, the zone of all times in a store; SQLite stores none."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return value


def write(database: Database, rows: Rows) -> None:
    metadata = MetaData()
    with database.writing() as connection:
        metadata.reflect(connection)
        for table in metadata.sorted_tables:
            if rows.get(table.name):
                connection.execute(insert(table), rows[table.name])
            if connection.dialect.name == "postgresql" and "id" in table.columns:
                connection.execute(
                    text(
                        f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'),"  # noqa: S608
                        f" (SELECT coalesce(max(id), 1) FROM {table.name}))"
                    )
                )


def test_a_filled_store_of_every_released_revision_exists() -> None:
    known = ScriptDirectory.from_config(upgrade.alembic_config())
    released = {script.revision for script in known.walk_revisions()}
    assert released - {known.get_current_head()} <= set(REVISIONS) <= released


def test_the_newest_revision_is_that_of_alembic() -> None:
    known = ScriptDirectory.from_config(upgrade.alembic_config())
    assert upgrade.head_revision() == known.get_current_head()


def test_an_upgrade_keeps_every_row(old_store: str, revision: str, kept: Rows) -> None:
    Store.open(old_store, migrate=True).close()

    with open_database(old_store) as database, database.reading() as connection:
        upgraded = read(connection)
    assert sum(map(len, kept.values())) > 20
    for job in kept["jobs"]:
        if job["kind"] == JobKind.REPORT and revision < "0005":
            job["subject"] += "@"
    # The upgrade itself records which software may work on the store.
    for tables in (upgraded, kept):
        facts = tables.get("node_facts", [])
        tables["node_facts"] = [row for row in facts if row["name"] != "compatible_from"]
    for table, rows in kept.items():
        shared = [{name: row[name] for name in rows[0]} for row in upgraded[table]] if rows else []
        assert shared == rows, table
        assert len(upgraded[table]) == len(rows)


def test_a_study_of_one_known_sender_gets_its_source(old_store: str) -> None:
    with Store.open(old_store, migrate=True) as store:
        assert store.adopt_sources({"MODALITY": "north"}) == 2
        assert store.adopt_sources({"MODALITY": "south"}) == 0

        for uid in (STUDY, "1.2.4"):
            study = store.results.study(uid)
            assert study.source == "north"
            assert {item.source for item in study.instances} == {"north"}
            assert all(report.source == "north" for report in study.reports)
        assert store.results.study(STUDY).status is StudyStatus.REPORTED
        assert claim(store, JobKind.REPORT).subject == "1.2.4@north"
        again = new_instance("1.1", source="north")
        assert store.record_instance(again, 0).outcome is ReceiptOutcome.DUPLICATE


def test_sources_are_adopted_once(old_store: str) -> None:
    """A later configuration may give the AE title to another sender."""
    with Store.open(old_store, migrate=True) as store:
        assert store.adopt_sources({"SOMEONE ELSE": "west"}) == 0
        assert store.adopt_sources({"MODALITY": "north"}) == 0
        assert {store.results.study(uid).source for uid in (STUDY, "1.2.4")} == {""}
        *_, row = store.audit.rows()
        assert (row.kind, row.detail) == (
            "sources_adopted",
            "0 study(ies) have the source of their sender, 2 none",
        )


def test_a_new_store_has_no_sources_to_adopt(store: Store) -> None:
    assert store.adopt_sources({"MODALITY": "north"}) == 0
    assert list(store.audit.rows()) == []


def test_a_study_of_two_patients_of_an_earlier_version_is_held(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.sqlite"
    restore("0004", path)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE instances SET patient_id = 'P2' WHERE sop_instance_uid = '1.2'")
        database.execute("UPDATE jobs SET state = 'queued' WHERE state = 'parked'")
        database.commit()
    with Store.open(f"sqlite:///{path}", migrate=True) as store:
        assert store.hold_mixed_studies() == 1
        assert store.hold_mixed_studies() == 1
        study = store.results.study(STUDY)
        assert study.status is StudyStatus.HELD
        assert [report.standing for report in study.reports] == [Standing.IN_DOUBT]
        states = {job.state for job in store.jobs.list(kind=JobKind.DELIVER)}
        assert JobState.QUEUED not in states
        assert [row.kind for row in store.audit.rows()].count("study_held") == 1


def test_a_study_of_two_senders_or_known_to_its_source_keeps_its_place(
    store: Store,
) -> None:
    for uid, study, title in (
        ("1.1", "1", "A"),
        ("1.2", "1", "B"),
        ("2.1", "2", "A"),
        ("3.1", "3", "A"),
        ("4.1", "4", "A"),
    ):
        store.record_instance(
            new_instance(uid, study_instance_uid=study, calling_ae_title=title), 0
        )
    store.record_instance(new_instance("2.9", source="north", study_instance_uid="2"), 0)
    store.record_instance(new_instance("3.1", source="north", study_instance_uid="9"), 0)

    assert store.adopt_sources({"A": "north", "B": "south"}) == 1
    held = [item.source for number in range(1, 6) for item in [store.results.instance(number)]]
    assert held == ["", "", "", "", "north"]


def test_jobs_continue_in_an_upgraded_store(old_store: str) -> None:
    with Store.open(old_store, migrate=True) as store:
        assert store.jobs.release("analyst") == 1
        analyse(store, datetime.now(UTC))
        study = store.results.study("1.2.4")
        assert [item.state for item in study.instances] == [InstanceState.ANALYSED]
        store.results.record_report(claim(store, JobKind.REPORT), StudyStatus.REPORTED, "")
        (parked,) = store.jobs.list(state=JobState.PARKED)
        store.jobs.retry(parked.id)
        for _ in range(2):
            store.results.record_delivery(claim(store, JobKind.DELIVER), 0x0000)
        assert len(list(store.export.rows(["Mass"]))) == 4
        assert store.results.study(STUDY).status is StudyStatus.REPORTED
        assert store.record_instance(new_instance("3.1"), 0).revision == 1


def test_a_new_store_knows_its_first_schema(database_url: str) -> None:
    for _ in range(2):
        with Store.open(database_url, migrate=True) as store:
            assert store.first_schema() == upgrade.head_revision()


@pytest.mark.parametrize("revision", [each for each in REVISIONS if each < "0007"])
def test_a_store_from_before_the_facts_knows_no_first_schema_and_no_views(
    revision: str, tmp_path: Path
) -> None:
    path = tmp_path / "old.sqlite"
    restore(revision, path)
    with Store.open(f"sqlite:///{path}", migrate=True) as store:
        assert store.first_schema() is None
        assert {store.results.instance(number).view_position for number in (1, 2)} == {None}


def test_an_upgrade_keeps_the_first_schema_that_a_store_knows(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    restore("0007", path)
    with Store.open(f"sqlite:///{path}", migrate=True) as store:
        assert store.first_schema() == "0007"


def test_an_older_store_is_refused_without_migration(old_store: str) -> None:
    with pytest.raises(SchemaError, match="cxrd serve"):
        Store.open(old_store, migrate=False)


DIE_BEFORE_THE_COMMIT = """
import os, signal, sys
from alembic import command
from storage.store import Store
run = command.upgrade
def run_and_die(config, revision):
    run(config, revision)
    os.kill(os.getpid(), signal.SIGKILL)
command.upgrade = run_and_die
Store.open(sys.argv[1], migrate=True)
"""


def test_a_killed_upgrade_leaves_the_store_unchanged(old_store: str, kept: Rows) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DIE_BEFORE_THE_COMMIT, old_store],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL

    with open_database(old_store) as database, database.reading() as connection:
        assert read(connection) == kept
    Store.open(old_store, migrate=True).close()


def test_a_film_that_moved_between_studies_keeps_none_of_them_from_its_source(
    store: Store,
) -> None:
    store.record_instance(new_instance("1.1", "first", study_instance_uid="1"), 0)
    store.record_instance(new_instance("1.1", "second", study_instance_uid="2"), 0)

    assert store.adopt_sources({"MODALITY": "north"}) == 2
    assert store.results.study("1").instances == ()
    assert [item.source for item in store.results.study("2").instances] == ["north"]


def test_a_study_whose_film_was_corrected_before_an_upgrade_is_reported_again(
    tmp_path: Path,
) -> None:
    """The upgrade stops its deliveries, which only a report lets go."""
    path = tmp_path / "store.sqlite"
    with Store.open(f"sqlite:///{path}", migrate=True) as store:
        for patient in ("A", "B"):
            store.record_instance(new_instance("1.1", patient, patient_id=patient), 0)
        for _ in range(2):
            job = claim(store, JobKind.ANALYSE)
            store.results.record_refusal(job, int(job.subject), "NOT_CHEST", "")
        store.jobs.finish(claim(store, JobKind.REPORT))
        assert store.jobs.next_due([JobKind.REPORT]) is None
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute("UPDATE instances SET patient_name = NULL")
            database.commit()

        assert store.hold_mixed_studies() == 0

        assert claim(store, JobKind.REPORT).subject == f"{STUDY}@"
