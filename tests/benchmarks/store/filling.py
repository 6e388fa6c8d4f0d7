"""A store of many studies, filled by copying the rows of one study that the store itself made."""

import contextlib
import dataclasses
import datetime
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cxr_model.findings import LABELS
from storage.audit.chain import row_hash
from storage.files.folder_spool import FolderSpool
from storage.records import (
    AnalysisRecord,
    Delivery,
    FindingRecord,
    JobKind,
    ObjectKind,
    StudyStatus,
)
from storage.store import Store
from tests.builders.store_rows import claim, made_object, new_instance

AUDIT_ROWS_OF_A_STUDY = 3


def fill(data: Path, count: int) -> None:
    """Make a store of `count` studies of one image with 14 findings, report and heatmap.

    Both results are delivered, their files exist, and the audit trail has three rows a study.
    """
    spool = FolderSpool(data / "spool")
    path = data / "cxrd.sqlite"
    with Store.open(f"sqlite:///{path}", migrate=True) as store:
        _one_study(store)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA synchronous = OFF")
        for table in ("instances", "objects", "jobs", "findings", "deliveries", "studies"):
            _multiply(database, table, count)
        _extend_trail(database, AUDIT_ROWS_OF_A_STUDY * count)
        database.commit()
        paths = [
            row[0]
            for table in ("instances", "objects")
            for row in database.execute(f"SELECT spool_path FROM {table}")  # noqa: S608
        ]
    for folder in {spool.path(one).parent for one in paths}:
        folder.mkdir(parents=True, exist_ok=True)
    for one in paths:
        spool.path(one).write_bytes(b"data")


def _one_study(store: Store) -> None:
    image = new_instance("1.0", study_instance_uid="9.0", spool_path="received/00/0.dcm")
    store.record_instance(image, 0)
    now = datetime.datetime.now(datetime.UTC)
    objects = [
        dataclasses.replace(
            made_object(uid, kind, number),
            study_instance_uid="9.0",
            spool_path=f"objects/00/{uid}.dcm",
            size=4,
        )
        for uid, kind, number in (("5.0", ObjectKind.HEATMAP, 1), ("7.0", ObjectKind.REPORT, None))
    ]
    findings = [FindingRecord(label, 0.0, 0.5, 0.5, True) for label in LABELS]
    record = AnalysisRecord(now, "starter", "1", "cd", findings, objects=objects[:1])
    store.results.record_analysis(claim(store, JobKind.ANALYSE), 1, record)
    sent = [Delivery(one.sop_instance_uid, "pacs") for one in objects]
    store.results.record_report(
        claim(store, JobKind.REPORT), StudyStatus.REPORTED, "", objects[1:], sent
    )
    for _ in objects:
        store.results.record_delivery(claim(store, JobKind.DELIVER), 0x0000)


def _multiply(database: sqlite3.Connection, table: str, count: int) -> None:
    """Copy the rows of one study `count` times, each with numbers and UIDs of its own."""
    cursor = database.execute(f"SELECT * FROM {table}")  # noqa: S608
    names = [column[0] for column in cursor.description]
    rows = cursor.fetchall()
    moves: dict[str, Callable[[Any, int], Any]] = {
        "id": lambda value, n: value + n * len(rows),
        "instance_id": lambda value, n: None if value is None else value + n,
        "job_id": lambda value, n: value + n * 4,
        "subject": lambda value, n: str(n + 1) if value == "1" else value.replace(".0", f".{n}"),
        "sop_instance_uid": lambda value, n: value.replace(".0", f".{n}"),
        "study_instance_uid": lambda value, n: f"9.{n}",
        "spool_path": lambda value, n: _path(value, n),
    }
    copies = (
        [moves.get(name, _unchanged)(value, n) for name, value in zip(names, row, strict=True)]
        for n in range(1, count)
        for row in rows
    )
    marks = ", ".join("?" * len(names))
    database.executemany(f"INSERT INTO {table} VALUES ({marks})", copies)  # noqa: S608


def _unchanged(value: Any, _: int) -> Any:
    return value


def _path(path: str, number: int) -> str:
    """A place in the spool as the store would choose it: 256 folders."""
    top, _, name = path.split("/")
    return f"{top}/{number % 256:02x}/{number}-{name}"


def _extend_trail(database: sqlite3.Connection, count: int) -> None:
    """Append copies of the last row, each hashed with the row before it."""
    cursor = database.execute("SELECT * FROM audit_events ORDER BY number DESC LIMIT 1")
    names = [column[0] for column in cursor.description]
    row = dict(zip(names, cursor.fetchone(), strict=True))
    hashed = ("recorded_at", "kind", "outcome", "actor", "host", "subject", "detail")
    rows = []
    for number in range(row["number"] + 1, row["number"] + 1 + count):
        row = {
            **row,
            "number": number,
            "previous_hash": row["hash"],
            "subject": f"instance {number}",
        }
        row["hash"] = row_hash(row["previous_hash"], number, *(row[name] for name in hashed))
        rows.append(tuple(row.values()))
    marks = ", ".join("?" * len(names))
    database.executemany(f"INSERT INTO audit_events VALUES ({marks})", rows)  # noqa: S608
