"""Start of the daemon and of the status page over a store of 100,000 images.

Each image is a study of its own with 14 findings, a report and a heatmap, both delivered, and
their files. Beside it, what looks at everything: the check at the start, the files, the purge.
"""

import contextlib
import dataclasses
import datetime
import sqlite3
import statistics
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from cxr_model.findings import LABELS
from storage.files.spool import Spool
from storage.records import (
    AnalysisRecord,
    Delivery,
    FindingRecord,
    JobKind,
    ObjectKind,
    StudyStatus,
)
from storage.store import Store
from storage.upkeep.integrity import check_sqlite
from tests.benchmarks.timing import in_turn, seconds
from tests.builders.made_models import build_bundle
from tests.builders.store_rows import claim, made_object, new_instance
from tests.servers.running import RunningDaemon
from tests.tools.ports import free_port

IMAGES = 100_000
STARTS = 3
PAGES = 20


def run() -> None:
    """Print the seconds of each, beside those of an empty store where there is one."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        build_bundle(folder / "bundle")
        empty = RunningDaemon(folder / "empty", folder / "bundle", free_port())
        large = RunningDaemon(folder / "large", folder / "bundle", free_port())
        database = large.data / "cxrd.sqlite"
        _fill(large.data, IMAGES)
        print(f"{IMAGES} images, {database.stat().st_size / 2**20:.0f} MB in {database.name}")
        _measure_starts(empty, large)
        for name, daemon in (("empty", empty), ("large", large)):
            _measure_page(name, daemon)
        _measure_checks(large.data)


def _measure_starts(empty: RunningDaemon, large: RunningDaemon) -> None:
    values = in_turn(STARTS, empty=lambda: _start(empty), large=lambda: _start(large))
    for name, series in values.items():
        print(f"start, {name} store: median {statistics.median(series):.2f} s")


def _start(daemon: RunningDaemon) -> float:
    taken = seconds(daemon.start)
    daemon.stop()
    return taken


def _measure_page(name: str, daemon: RunningDaemon) -> None:
    port = yaml.safe_load(daemon.config.read_text())["web"]["port"]
    with daemon:
        times = [
            seconds(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/").read())
            for _ in range(PAGES)
        ]
    print(
        f"status page, {name} store: median {1e3 * statistics.median(times):.0f} ms, "
        f"longest {1e3 * max(times):.0f} ms"
    )


def _measure_checks(data: Path) -> None:
    spool = Spool(data / "spool")
    now = datetime.datetime.now(datetime.UTC)
    with Store.open(f"sqlite:///{data / 'cxrd.sqlite'}", migrate=False) as store:
        measures: dict[str, Callable[[], object]] = {
            "quick_check of the store": lambda: check_sqlite(data / "cxrd.sqlite", None),
            "size of every file": lambda: list(store.integrity.faults(spool, read=False)),
            "what may be purged, nothing old": lambda: store.retention.old_studies(
                now - datetime.timedelta(days=365), ()
            ),
            "what may be purged, everything old": lambda: next(
                store.retention.purge(spool, now + datetime.timedelta(days=365), ())
            ),
        }
        for name, action in measures.items():
            print(f"{name}: {seconds(action):.2f} s")


def _fill(data: Path, count: int) -> None:
    """One image taken through its life by the store, then copied by SQL."""
    spool = Spool(data / "spool")
    path = data / "cxrd.sqlite"
    with Store.open(f"sqlite:///{path}", migrate=True) as store:
        _one_study(store)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA synchronous = OFF")
        for table in ("instances", "objects", "jobs", "findings", "deliveries"):
            _multiply(database, table, count)
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
