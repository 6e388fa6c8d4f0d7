"""The audit table holds a row for every image, with formulas neutralised in its CSV file."""

import contextlib
import csv
import errno
import io
import multiprocessing
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from storage.errors import OutOfSpaceError, StorageError
from storage.export.columns import columns
from storage.export.export import Export, ExportFilter
from storage.files.csv_file import neutralise, write_csv
from storage.records import Delivery, InstanceState, JobKind, Standing, StudyKey, StudyStatus
from storage.store import Store
from storage.summaries.keep import summarise
from storage.tables.database import open_database
from storage.tables.schema import instances, objects
from tests.builders.store_rows import (
    STUDY,
    analyse,
    analysis,
    claim,
    made_object,
    new_instance,
)
from tests.builders.stores.new import new_store
from tests.tools.clock import Clock
from tests.tools.processes import slow_here

LABELS = ["Hernia", "Mass"]
POSTGRESQL_IS_SLOW = pytest.mark.parametrize(
    "database_url",
    ["sqlite", pytest.param("postgresql", marks=[pytest.mark.network, pytest.mark.slow])],
    indirect=True,
)
"""For a test that starts processes."""


def end_report(store: Store, uid: str) -> None:
    job = claim(store, JobKind.REPORT)
    deliveries = [Delivery(uid, "ARCHIVE"), Delivery(uid, "PACS")]
    store.results.record_report(job, StudyStatus.REPORTED, "", [made_object(uid)], deliveries)


def test_an_instance_of_another_source_keeps_the_report_of_this_study(
    store: Store, clock: Clock
) -> None:
    store.record_instance(new_instance("1.1"), 0)
    analyse(store, clock.now)
    clock.advance(1)
    store.record_instance(new_instance("1.1", "other", source="south"), 60)
    clock.advance(1)
    end_report(store, "9.9")

    assert [row["report_sop_instance_uid"] for row in store.export.rows(LABELS)] == ["9.9", ""]


def test_a_row_holds_reception_analysis_report_and_deliveries(store: Store, clock: Clock) -> None:
    store.record_instance(new_instance("1.1"), 0)
    clock.advance(1)
    analyse(store, clock.now)
    clock.advance(1)
    end_report(store, "9.9")
    clock.advance(1)
    sent = store.jobs.claim([JobKind.DELIVER], "a", timedelta(seconds=9), lane="PACS")
    assert sent is not None
    store.results.record_delivery(sent, 0x0000)

    (row,) = store.export.rows(LABELS)

    assert list(row) == columns(LABELS)
    assert row == {
        "received_at": "2026-03-01T12:00:00.000+00:00",
        "calling_ae_title": "MODALITY",
        "patient_id": "P1",
        "accession_number": "A1",
        "study_date": "20260301",
        "modality": "DX",
        "study_instance_uid": STUDY,
        "series_instance_uid": "1.2.3.9",
        "sop_instance_uid": "1.1",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.1",
        "revision": "1",
        "sha256": new_instance("1.1").sha256,
        "state": "analysed",
        "reason": "",
        "detail": "",
        "analysed_at": "2026-03-01T12:00:01.000+00:00",
        "model_name": "starter",
        "model_version": "1",
        "model_sha256": "cd",
        "prob_Hernia": "0.020000",
        "prob_Mass": "0.800000",
        "findings": "Mass 0.80 (4.0 times the odds of its threshold 0.50)",
        "report_sop_instance_uid": "9.9",
        "deliveries": "ARCHIVE=queued;PACS=delivered 2026-03-01T12:00:03.000+00:00",
        "purged_at": "",
        "source": "",
        "notes": "no PixelSpacing",
        "superseded_at": "",
        "set_aside_at": "",
        "rejected_by": "",
        "report_standing": "valid",
        "study_status": "reported",
        "study_detail": "",
        "Hernia_Present": "0",
        "Mass_Present": "1",
        "Review_Hernia": "",
        "Review_Mass": "",
        "Review_Remark": "",
        "Reviewed_By": "",
        "Reviewed_At": "",
    }


def test_later_columns_stand_behind_those_of_version_0_1() -> None:
    names = columns(LABELS)
    assert names[:4] == ["received_at", "calling_ae_title", "patient_id", "accession_number"]
    assert names[18:26] == [
        *("model_sha256", "prob_Hernia", "prob_Mass", "findings", "report_sop_instance_uid"),
        *("deliveries", "purged_at", "source"),
    ]
    assert names[-7:-5] == ["Hernia_Present", "Mass_Present"]
    assert names[-5:] == [
        *("Review_Hernia", "Review_Mass", "Review_Remark", "Reviewed_By", "Reviewed_At")
    ]


def test_a_row_says_what_still_stands(store: Store, clock: Clock, database_url: str) -> None:
    store.record_instance(new_instance("1.1", content="first", source="north"), 0)
    analyse(store, clock.now)
    job = claim(store, JobKind.REPORT)
    made = replace(made_object("9.1"), source="north")
    store.results.record_report(job, StudyStatus.REPORTED, "", [made], [])
    clock.advance(1)
    store.record_instance(new_instance("1.1", content="corrected", source="north"), 0)
    store.record_instance(new_instance("1.2", source="north"), 0)
    corrected, second = instances.c.revision == 2, instances.c.sop_instance_uid == "1.2"
    with open_database(database_url) as database, database.writing() as connection:
        connection.execute(update(objects).values(standing=Standing.REJECTED))
        connection.execute(update(instances).where(corrected).values(rejected_by="113001"))
        connection.execute(update(instances).where(second).values(set_aside_at=clock.now))
        summarise(connection, [StudyKey("north", STUDY)])

    at = "2026-03-01T12:00:01.000+00:00"
    columns_of_state = ("superseded_at", "rejected_by", "set_aside_at", "report_standing")
    assert [tuple(row[name] for name in columns_of_state) for row in store.export.rows()] == [
        (at, "", "", "rejected"),
        ("", "113001", "", ""),
        ("", "", at, ""),
    ]
    assert {row["source"] for row in store.export.rows()} == {"north"}


def test_a_film_that_is_not_analysed_has_no_presence(store: Store) -> None:
    store.record_instance(new_instance("1.1"), 0)
    job = claim(store, JobKind.ANALYSE)
    store.results.record_refusal(job, int(job.subject), "LATERAL_VIEW", "", ["one", "=two"])

    (row,) = store.export.rows(LABELS)

    assert (row["Mass_Present"], row["prob_Mass"], row["notes"]) == ("", "", "one; =two")


def test_a_row_names_the_sop_class_sent_if_it_differs(store: Store, clock: Clock) -> None:
    store.record_instance(new_instance("1.1"), 0)
    analyse(store, clock.now)
    end_report(store, "9.9")
    older = "1.2.840.10008.5.1.4.1.1.88.22"
    for lane, sent_as in (("PACS", older), ("ARCHIVE", made_object("9.9").sop_class_uid)):
        job = store.jobs.claim([JobKind.DELIVER], "a", timedelta(seconds=9), lane=lane)
        assert job is not None
        store.results.record_delivery(job, 0x0000, sent_as)

    (row,) = store.export.rows()

    when = "delivered 2026-03-01T12:00:00.000+00:00"
    assert row["deliveries"] == f"ARCHIVE={when};PACS={when} as {older}"


def test_a_row_names_the_report_made_from_its_revision(store: Store, clock: Clock) -> None:
    store.record_instance(new_instance("1.1", content="first"), 0)
    analyse(store, clock.now)
    end_report(store, "9.1")
    clock.advance(1)
    store.record_instance(new_instance("1.1", content="corrected"), 0)
    store.record_instance(new_instance("1.2"), 0)
    clock.advance(1)
    analyse(store, clock.now)
    clock.advance(1)
    end_report(store, "9.2")

    named = [row["report_sop_instance_uid"] for row in store.export.rows()]
    assert named == ["9.1", "9.2", ""]


def test_rows_are_filtered_by_time_study_and_state(store: Store, clock: Clock) -> None:
    begin = clock.now
    for uid in ("1.1", "1.2", "1.3"):
        store.record_instance(new_instance(uid, study_instance_uid=f"study {uid}"), 0)
        clock.advance(60)
    job = claim(store, JobKind.ANALYSE)
    store.results.record_refusal(job, int(job.subject), "LATERAL_VIEW", "")

    def uids(selection: ExportFilter) -> list[str]:
        return [row["sop_instance_uid"] for row in store.export.rows(selection=selection)]

    minute = timedelta(seconds=60)
    assert uids(ExportFilter()) == ["1.1", "1.2", "1.3"]
    assert uids(ExportFilter(since=begin + minute)) == ["1.2", "1.3"]
    assert uids(ExportFilter(until=begin + minute)) == ["1.1"]
    assert uids(ExportFilter(since=begin + minute, until=begin + 2 * minute)) == ["1.2"]
    assert uids(ExportFilter(study_instance_uid="study 1.3")) == ["1.3"]
    assert uids(ExportFilter(state=InstanceState.NOT_ANALYSED)) == ["1.1"]
    assert uids(ExportFilter(state=InstanceState.ANALYSED)) == []


def test_pages_join_without_a_gap(store: Store, database_url: str) -> None:
    uids = [f"1.{number}" for number in range(9)]
    for uid in uids:
        store.record_instance(new_instance(uid), 0)

    with open_database(database_url) as database:
        rows = list(Export(database, page_rows=3).rows())
    assert [row["sop_instance_uid"] for row in rows] == uids


def test_the_csv_file_holds_every_row_with_formulas_neutralised(
    store: Store, tmp_path: Path
) -> None:
    evil = '=HYPERLINK("http://x","y")'
    store.record_instance(replace(new_instance(), patient_id=evil, accession_number="-1"), 0)
    path = tmp_path / "audit.csv"

    assert store.export.write_csv(path, LABELS) == 1

    with path.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert list(row) == columns(LABELS)
    assert row["patient_id"] == f"'{evil}"
    assert row["accession_number"] == "-1"


def test_a_damaged_cell_does_not_stop_the_export(tmp_path: Path) -> None:
    with new_store(tmp_path / "store.db") as store:
        store.record_instance(new_instance(), 0)
        with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as database:
            database.execute("UPDATE instances SET patient_id = CAST(x'50ff' AS TEXT)")
            database.commit()
        assert store.export.write_csv(tmp_path / "audit.csv", LABELS) == 1
    with (tmp_path / "audit.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["patient_id"] == "P\ufffd"


def test_an_empty_table_still_has_its_header(store: Store, tmp_path: Path) -> None:
    assert store.export.write_csv(tmp_path / "audit.csv", LABELS) == 0
    assert (tmp_path / "audit.csv").read_text().splitlines() == [",".join(columns(LABELS))]


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1",
        "+1+1",
        "-2+3",
        "@SUM(A1)",
        "\rx",
        "  =1",
        "＝1+1",
        "-",
        "+cmd|' /C'!A0",
    ],
)
def test_a_formula_is_neutralised(cell: str) -> None:
    assert neutralise(cell) == f"'{cell}"


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("\t=1", "'\t'=1"),
        ("\n=1", "'\n'=1"),
        ("a;=cmd", "a;'=cmd"),
        ('a; "=cmd', "a; \"'=cmd"),
        ("a\t@SUM(A1)", "a\t'@SUM(A1)"),
        ("a\r\n-2+3;;+1+1", "a\r\n'-2+3;;'+1+1"),
        ("=1;＝1", "'=1;'＝1"),
        ("a;-1 +cmd|' /C'!A0", "a;'-1 +cmd|' /C'!A0"),
    ],
)
def test_a_formula_inside_a_cell_is_neutralised(cell: str, shown: str) -> None:
    assert neutralise(cell) == shown


@pytest.mark.parametrize(
    "cell",
    [
        "",
        "Mass (0.80)",
        "-1",
        "+1.5e-3",
        "1.2.840",
        "a=b",
        "P-1",
        "-.5",
        "a;-1;b",
        "A=b;P=c",
        "a;b=c",
        'a "-b',
    ],
)
def test_cells_without_a_formula_are_unchanged(cell: str) -> None:
    assert neutralise(cell) == cell


@given(st.text())
def test_only_a_number_begins_like_a_formula(cell: str) -> None:
    shown = neutralise(cell)
    if shown[:1] in set("=+-@\t\r\n"):
        float(shown)
    assert shown.replace("'", "") == cell.replace("'", "")


@given(st.text("=+-@;\t\r\n\" a1'", max_size=12))
def test_only_a_number_begins_like_a_formula_inside_a_cell(cell: str) -> None:
    for part in re.split("[;\t\r\n]", neutralise(cell))[1:]:
        if part.lstrip(' "')[:1] in set("=+-@"):
            float(part)


def test_a_failed_export_keeps_the_previous_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.csv"
    write_csv(path, ["a"], [["former"]])

    def fail(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutOfSpaceError):
        write_csv(path, ["a"], [["latter"]])
    assert path.read_text() == "a\nformer\n"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_during_an_export_leaves_no_file(tmp_path: Path) -> None:
    def rows() -> Iterator[list[str]]:
        yield ["1"]
        raise StorageError("the store went away")

    with pytest.raises(StorageError, match="went away"):
        write_csv(tmp_path / "audit.csv", ["a"], rows())
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.lists(st.text('=+-@;,\t\r\n" a1', max_size=5), min_size=2, max_size=2)))
def test_rows_are_those_of_a_csv_writer_with_every_cell_neutralised(rows: list[list[str]]) -> None:
    expected = io.StringIO(newline="")
    csv.writer(expected).writerows([["a", "b"], *([neutralise(c) for c in row] for row in rows)])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        assert write_csv(path, ["a", "b"], [list(row) for row in rows]) == len(rows)
        assert path.read_bytes() == expected.getvalue().encode()


def test_many_instances_of_one_moment_are_on_several_pages(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    for number in range(5):
        store.record_instance(new_instance(f"1.{number}", f"pixels {number}"), 0)
    pages: list[int] = []
    with open_database(database_url) as database:
        export = Export(database, page_rows=2)
        assert export.count() == 5
        assert export.write_csv(tmp_path / "audit.csv", LABELS, progress=pages.append) == 5
        rows = list(export.rows(LABELS))
    assert pages == [2, 2, 1]
    assert rows == list(store.export.rows(LABELS))
    assert [row["sop_instance_uid"] for row in rows] == [f"1.{number}" for number in range(5)]


@pytest.fixture
def varied(store: Store, clock: Clock) -> Store:
    """Return a store of several sources with revisions, refusals, and reports in two forms."""
    evil = '=HYPERLINK("http://x","y")'
    for number in range(40):
        source = ("north", "south")[number % 2]
        study = f"{STUDY}.{number // 3}"
        for revision in range(1 + (number % 5 == 0)):
            film = new_instance(
                f"1.{number}", f"{number} {revision}", study_instance_uid=study, source=source
            )
            title = evil if number % 7 == 0 else "Jörg, P"
            store.record_instance(replace(film, patient_id=title), 0)
            job = claim(store, JobKind.ANALYSE)
            if number % 4 == 0:
                store.results.record_refusal(job, int(job.subject), "LATERAL_VIEW", "a; =b")
            else:
                made = analysis(clock.now, number / 40)
                store.results.record_analysis(job, int(job.subject), made)
            # Many films of one moment, and many moments.
            clock.advance(number % 3 // 2)
    for number in range(12):
        job = claim(store, JobKind.REPORT)
        key = StudyKey.of_subject(job.subject)
        default = replace(
            made_object(f"9.{number}"), source=key.source, study_instance_uid=key.study_instance_uid
        )
        other = replace(default, sop_instance_uid=f"8.{number}", spool_path=f"o/{number}", form="9")
        sent = [Delivery(default.sop_instance_uid, "PACS"), Delivery(other.sop_instance_uid, "OLD")]
        store.results.record_report(job, StudyStatus.REPORTED, "", [default, other], sent)
    return store


@POSTGRESQL_IS_SLOW
@pytest.mark.parametrize(
    "selection",
    [
        ExportFilter(),
        pytest.param(ExportFilter(state=InstanceState.ANALYSED), marks=pytest.mark.slow),
    ],
)
def test_several_processes_write_the_same_bytes(
    varied: Store,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    selection: ExportFilter,
) -> None:
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    rows = varied.export.write_csv(one, LABELS, selection)
    with open_database(database_url) as database:
        for page_rows in (1, 2, 7):
            assert Export(database, page_rows).write_csv(other, LABELS, selection) == rows
            assert one.read_bytes() == other.read_bytes()
        slow_here(monkeypatch, "storage.export.export._csv_part")
        seen: list[int] = []
        export = Export(database, page_rows=1)
        assert export.write_csv(other, LABELS, selection, seen.append, 2) == rows == sum(seen)
    assert one.read_bytes() == other.read_bytes()
    assert b"OLD=queued;PACS=queued" in one.read_bytes()


@POSTGRESQL_IS_SLOW
def test_a_killed_process_leaves_no_file(
    store: Store, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        store.record_instance(new_instance(f"1.{number}", f"pixels {number}"), 0)
    slow_here(monkeypatch, "storage.export.export._csv_part")
    before = multiprocessing.active_children()
    folder = tmp_path / "out"
    folder.mkdir()

    def kill(_: int) -> None:
        for process in multiprocessing.active_children():
            if process not in before:
                process.kill()
                process.join()

    with (
        open_database(database_url) as database,
        pytest.raises(StorageError, match=r"was ended \(exit code -9\)"),
    ):
        Export(database, page_rows=1).write_csv(
            folder / "a.csv", LABELS, progress=kill, processes=2
        )
    assert list(folder.iterdir()) == []


def test_instances_received_meanwhile_are_not_exported(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    for number in range(4):
        store.record_instance(new_instance(f"1.{number}", f"pixels {number}"), 0)

    def receive(_: int) -> None:
        store.record_instance(new_instance("2.1", "later"), 0)

    with open_database(database_url) as database:
        export = Export(database, page_rows=1)
        assert export.write_csv(tmp_path / "audit.csv", LABELS, progress=receive) == 4
    assert store.export.count() == 5
