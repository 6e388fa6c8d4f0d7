"""The acknowledging transaction records an instance with its jobs, or neither."""

import dataclasses
import multiprocessing
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from storage.errors import StorageError, UnknownRecordError
from storage.records import InstanceState, JobKind, JobState, Receipt, ReceiptOutcome
from storage.store import Store
from storage.tables.database import open_database
from storage.tables.schema import instances
from tests.builders.store_rows import STUDY_KEY, claim, new_instance
from tests.servers.postgresql_server import emptied_database
from tests.tools.clock import Clock
from tests.tools.paths import ROOT


def test_a_new_instance_queues_its_analysis_and_the_report_after_the_quiet_time(
    store: Store, clock: Clock
) -> None:
    receipt = store.record_instance(new_instance(), quiet_seconds=30)

    assert (receipt.outcome, receipt.revision) == (ReceiptOutcome.NEW, 1)
    report, analyse = store.jobs.list()
    assert (analyse.kind, analyse.subject) == (JobKind.ANALYSE, str(receipt.instance_id))
    assert (report.kind, report.subject) == (JobKind.REPORT, STUDY_KEY.subject)
    assert analyse.not_before == clock.now
    assert report.not_before == clock.now + timedelta(seconds=30)


def test_an_instance_is_recorded_with_all_its_values(store: Store, clock: Clock) -> None:
    given = new_instance(patient_id="Ünïcode^名前")
    receipt = store.record_instance(given, 0)

    found = store.results.instance(receipt.instance_id)
    for name in given.__slots__:
        assert getattr(found, name) == getattr(given, name)
    assert found.received_at == clock.now


def test_an_invalid_byte_in_a_header_does_not_refuse_the_image(store: Store) -> None:
    receipt = store.record_instance(new_instance(patient_id="P\0 1\udc80"), 0)

    assert store.results.instance(receipt.instance_id).patient_id == "P 1?"


def test_a_duplicate_queues_no_job(store: Store, clock: Clock) -> None:
    first = store.record_instance(new_instance(), 30)
    before = store.jobs.list()
    clock.advance(10)

    again = store.record_instance(new_instance(spool_path="received/bb/bb.dcm"), 30)

    assert again == Receipt(ReceiptOutcome.DUPLICATE, first.instance_id, 1)
    assert store.jobs.list() == before


def test_other_bytes_are_a_revision_and_known_bytes_a_duplicate(store: Store) -> None:
    first = store.record_instance(new_instance(content="a"), 0)
    second = store.record_instance(new_instance(content="b"), 0)
    again = store.record_instance(new_instance(content="a"), 0)

    assert (second.outcome, second.revision) == (ReceiptOutcome.REVISION, 2)
    assert again == Receipt(ReceiptOutcome.DUPLICATE, first.instance_id, 1)
    assert len(store.jobs.list(kind=JobKind.ANALYSE)) == 2


def test_of_sixteen_threads_with_one_image_one_records_a_new_instance(store: Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        receipts = list(pool.map(lambda _: store.record_instance(new_instance(), 0), range(16)))

    outcomes = Counter(receipt.outcome for receipt in receipts)
    assert outcomes == {ReceiptOutcome.NEW: 1, ReceiptOutcome.DUPLICATE: 15}
    assert len({receipt.instance_id for receipt in receipts}) == 1
    assert len(store.jobs.list(kind=JobKind.ANALYSE)) == 1


def test_sixteen_threads_with_sixteen_contents_make_sixteen_revisions(store: Store) -> None:
    contents = [new_instance(content=str(number)) for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        receipts = list(pool.map(lambda instance: store.record_instance(instance, 0), contents))

    assert sorted(receipt.revision for receipt in receipts) == list(range(1, 17))
    assert len(store.jobs.list(kind=JobKind.ANALYSE)) == 16


def _record_ten(url: str) -> list[Receipt]:
    with Store.open(url, migrate=False) as store:
        return [store.record_instance(new_instance(f"1.{n}"), 0) for n in range(10)]


def test_processes_with_the_same_images_record_each_once(database_url: str) -> None:
    Store.open(database_url, migrate=True).close()
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        receipts = [receipt for ten in pool.map(_record_ten, [database_url] * 2) for receipt in ten]

    outcomes = Counter(receipt.outcome for receipt in receipts)
    assert outcomes == {ReceiptOutcome.NEW: 10, ReceiptOutcome.DUPLICATE: 10}


def test_an_instance_without_its_jobs_is_not_recorded(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise StorageError("no job")

    monkeypatch.setattr("storage.images.receipt.enqueue", fail)
    with pytest.raises(StorageError, match="no job"):
        store.record_instance(new_instance(), 0)
    monkeypatch.undo()

    path = new_instance().spool_path
    assert store.unreferenced([path], wait_for_writers=True) == (path,)
    assert store.record_instance(new_instance(), 0).outcome is ReceiptOutcome.NEW


def test_unreferenced_paths_are_found(store: Store) -> None:
    store.record_instance(new_instance(spool_path="received/aa/one"), 0)

    paths = ["received/aa/two", "received/aa/one"]
    assert (
        store.unreferenced(paths)
        == store.unreferenced(paths, wait_for_writers=True)
        == ("received/aa/two",)
    )


def test_a_new_image_reports_a_study_with_a_discarded_report(store: Store) -> None:
    store.record_instance(new_instance("1.1"), 0)
    (report,) = store.jobs.list(kind=JobKind.REPORT)
    store.jobs.discard(report.id)

    store.record_instance(new_instance("1.2"), 0)

    assert store.jobs.get(report.id).state is JobState.QUEUED
    assert claim(store, JobKind.REPORT).id == report.id


def test_an_unknown_instance_raises_an_error(store: Store) -> None:
    with pytest.raises(UnknownRecordError):
        store.results.instance(1)


_RECORDER = """
import sys
from storage.store import Store
from tests.builders.store_rows import new_instance
store = Store.open(sys.argv[1], migrate=False)
number = 0
while True:
    number += 1
    receipt = store.record_instance(new_instance(f"1.{number}"), 0)
    print(receipt.instance_id, flush=True)
"""


def test_acknowledged_instances_survive_a_kill(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    Store.open(url, migrate=True).close()
    command = [sys.executable, "-c", _RECORDER, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as recorder:
        assert recorder.stdout is not None
        acknowledged = [int(recorder.stdout.readline()) for _ in range(50)]
        recorder.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in recorder.stdout.read().splitlines()]

    with Store.open(url, migrate=True) as store:
        queued = {job.subject for job in store.jobs.list(kind=JobKind.ANALYSE, limit=None)}
        found = {str(store.results.instance(number).id) for number in acknowledged}
    assert len(found) >= 50
    assert found <= queued
    assert len(queued - found) <= 1


def test_an_open_transaction_on_a_server_is_waited_for(
    postgresql_socket: str, clock: Clock
) -> None:
    url = emptied_database(postgresql_socket)
    with Store.open(url, clock=clock, migrate=True) as store, ThreadPoolExecutor(1) as other:
        with open_database(url) as database, database.writing() as connection:
            connection.execute(
                instances.insert().values(
                    **dataclasses.asdict(new_instance(spool_path="received/aa/in-doubt")),
                    revision=1,
                    received_at=clock.now,
                    state=InstanceState.RECEIVED,
                    notes=[],
                )
            )
            query = other.submit(
                store.unreferenced, ["received/aa/in-doubt"], wait_for_writers=True
            )
            with pytest.raises(TimeoutError):
                query.result(0.5)
        assert query.result(5) == ()
