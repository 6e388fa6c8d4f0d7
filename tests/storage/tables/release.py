"""Filled stores as SQL: `python -m tests.storage.tables.release` writes that of this revision.

Run it once for each new revision, with the code of that revision. The upgrade tests use the file of
every released revision. An existing file is not changed.
"""

import contextlib
import itertools
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from storage.records import Delivery, InstanceName, JobKind, ObjectKind, StudyStatus
from storage.store import Store
from tests.builders.store_rows import (
    LEASE,
    analyse,
    analysis,
    claim,
    made_object,
    new_instance,
    receive,
)

FOLDER = Path(__file__).with_name("released")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite"
        ticks = itertools.count()
        start = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
        url = f"sqlite:///{path}"
        with Store.open(
            url, clock=lambda: start + timedelta(seconds=next(ticks)), migrate=True
        ) as store:
            fill(store, start)
        with contextlib.closing(sqlite3.connect(path)) as database:
            (revision,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
            script = "\n".join(database.iterdump())
    target = FOLDER / f"{revision}.sql"
    if target.exists():
        sys.exit(f"{target} is there already: a released revision does not change")
    target.write_text(f"{script}\n", encoding="utf-8")
    print(target)


def revisions() -> Iterator[str]:
    """Yield the revisions with a file, oldest first."""
    yield from sorted(path.stem for path in FOLDER.glob("*.sql"))


def restore(revision: str, path: Path) -> None:
    """Create the SQLite store of a revision."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript((FOLDER / f"{revision}.sql").read_text(encoding="utf-8"))


def fill(store: Store, at: datetime) -> None:
    """Record a study with instances and jobs in every state, and another with a running job."""
    first, second = receive(store, "1.1", "1.2")
    heatmap = made_object("5.1", ObjectKind.HEATMAP, first)
    job = claim(store, JobKind.ANALYSE)
    store.results.record_analysis(job, first, analysis(at, objects=[heatmap]))
    job = claim(store, JobKind.ANALYSE)
    store.results.record_refusal(job, second, "LATERAL_VIEW", "a lateral film", ["no PixelSpacing"])
    store.results.record_report(
        claim(store, JobKind.REPORT),
        StudyStatus.REPORTED,
        "",
        [made_object("9.9")],
        [Delivery(uid, to) for uid in ("9.9", "5.1") for to in ("PACS", "ARCHIVE")],
    )
    for _ in range(2):
        due = store.jobs.claim([JobKind.DELIVER], "courier", LEASE, lane="PACS")
        assert due is not None
        store.results.record_delivery(due, 0x0000, commit_after=timedelta(0))
    parked = store.jobs.claim([JobKind.DELIVER], "courier", LEASE, lane="ARCHIVE")
    assert parked is not None
    store.jobs.fail(parked, "status 0xA900: not wanted", None)
    record_commitments(store, at)
    store.record_instance(new_instance("2.1", study_instance_uid="1.2.4"), 0)
    analyse(store, at)
    store.record_instance(new_instance("2.1", "other pixels", study_instance_uid="1.2.4"), 0)
    claim(store, JobKind.ANALYSE, "analyst")


def record_commitments(store: Store, at: datetime) -> None:
    """Record a request with one committed and one failed object, and an answered inquiry."""
    step = store.commitments.next_step(claim(store, JobKind.COMMIT), "2.25.1")
    assert step.order is not None
    store.commitments.record_sent("2.25.1", at + timedelta(hours=1))
    store.commitments.record_answer(
        ["PACS"],
        "2.25.1",
        ["9.9"],
        {"5.1": 0x0119},
        resend_for=[],
        max_resends=0,
        resend_wait=lambda _: timedelta(0),
    )
    asked = [InstanceName(step.order.instances[0].sop_class_uid, "1.1")]
    store.inquiries.record_answered(
        store.inquiries.record("modality", "2.25.2", asked, "listener", LEASE)
    )


if __name__ == "__main__":
    main()
