"""A purge deletes the files of old, delivered studies only, also after an interruption."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from storage.errors import SpoolError
from storage.files.folder_spool import FolderSpool
from storage.files.marker import MARKER_NAME
from storage.queue.transitions import lock_study
from storage.records import (
    Delivery,
    InstanceName,
    InstanceState,
    JobKind,
    JobState,
    ObjectKind,
    Receipt,
    ReceiptOutcome,
    StudyStatus,
)
from storage.status import JobGroup
from storage.store import Store
from storage.tables.database import open_database
from storage.upkeep.old_studies import Hold
from storage.upkeep.retention import Purged
from tests.builders.store_rows import (
    LEASE,
    STUDY,
    STUDY_KEY,
    analysis,
    claim,
    made_object,
    new_instance,
)
from tests.servers.postgresql_server import emptied_database
from tests.tools.clock import Clock

DAYS = 7
COMMITTERS = ("ARCHIVE",)


class KilledError(BaseException):
    """Simulates SIGKILL: the process executes no further statement."""


class KillingSpool(FolderSpool):
    """A spool whose process is killed at the first deletion."""

    def delete(self, relative: str) -> None:
        raise KilledError


@dataclasses.dataclass
class House:
    """A store with its spool and its clock, and one study."""

    store: Store
    spool: FolderSpool
    clock: Clock

    def receive(self, uid: str = "1.1", content: str = "pixels") -> int:
        stored = self.spool.write(f"received/{uid}-{content}-{self.clock.now:%d%H%M}", b"pixels")
        instance = new_instance(uid, content, spool_path=stored.path, size=stored.size)
        return self.store.record_instance(instance, 0).instance_id

    def analyse(self, *, heatmap: str = "5.1") -> None:
        job = claim(self.store, JobKind.ANALYSE)
        stored = self.spool.write(f"objects/{heatmap}", b"picture")
        record = dataclasses.replace(
            made_object(heatmap, ObjectKind.HEATMAP, int(job.subject)),
            spool_path=stored.path,
            size=stored.size,
        )
        made = analysis(self.clock.now, objects=[record])
        findings = [dataclasses.replace(each, heat=b"map") for each in made.findings]
        result = dataclasses.replace(made, findings=findings)
        self.store.results.record_analysis(job, int(job.subject), result)

    def report(self, *destinations: str, uid: str = "9.9") -> None:
        stored = self.spool.write(f"objects/{uid}", b"report")
        record = dataclasses.replace(made_object(uid), spool_path=stored.path, size=stored.size)
        sent = [Delivery(made, to) for made in ("5.1", uid) for to in destinations]
        self.store.results.record_report(
            claim(self.store, JobKind.REPORT), StudyStatus.REPORTED, "", [record], sent
        )

    def deliver(self, *, commit: bool = False) -> None:
        while job := self.store.jobs.claim([JobKind.DELIVER], "courier", LEASE):
            after = timedelta(0) if commit else None
            self.store.results.record_delivery(job, 0x0000, commit_after=after)

    def deliver_study(self) -> None:
        """Receive, analyse, report and deliver one image."""
        self.receive()
        self.analyse()
        self.report("PACS")
        self.deliver()

    def purge(self, spool: FolderSpool | None = None) -> list[Purged]:
        before = self.clock.now - timedelta(days=DAYS)
        return list(self.store.retention.purge(spool or self.spool, before, COMMITTERS))

    def mark(self) -> None:
        """Purge in a process that is killed before it deletes a file."""
        with pytest.raises(KilledError):
            self.purge(KillingSpool(self.spool.path("x").parent, create=False))

    def hold(self) -> Hold | None:
        (old,) = self.store.retention.old_studies(self.clock.now - timedelta(days=DAYS), COMMITTERS)
        return old.hold

    def days_pass(self, days: float = DAYS + 1) -> None:
        self.clock.advance(days * 86400)

    @property
    def files(self) -> list[str]:
        root = self.spool.path("received").parent
        files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
        return sorted(files - {MARKER_NAME})


@pytest.fixture
def house(store: Store, clock: Clock, tmp_path: Path) -> House:
    return House(store, FolderSpool(tmp_path / "spool"), clock)


def test_a_purge_deletes_the_files_of_an_old_study_and_keeps_the_rows(house: House) -> None:
    house.deliver_study()
    house.days_pass()
    assert house.hold() is None
    assert house.store.results.heat(1, "Mass") == b"map"

    purged = house.purge()

    assert purged == [Purged(number=1, images=1, objects=2, size=6 + 7 + 6)]
    assert house.files == []
    instance = house.store.results.instance(1)
    assert (instance.state, instance.purged_at) == (InstanceState.ANALYSED, house.clock.now)
    assert [finding.label for finding in instance.findings] == ["Mass", "Hernia"]
    assert house.store.results.heat(1, "Mass") is None
    (row,) = house.store.export.rows()
    assert row["purged_at"].startswith("2026-03-09")
    assert row["deliveries"].startswith("PACS=delivered 2026-03-01")
    assert house.purge() == []


def test_open_work_of_another_study_does_not_hold_a_study(house: House) -> None:
    house.deliver_study()
    waiting = new_instance("2.1", study_instance_uid="9.8", spool_path="received/2.1")
    house.store.record_instance(waiting, 0)
    house.days_pass()

    before = house.clock.now - timedelta(days=DAYS)
    first, second = house.store.retention.old_studies(before, COMMITTERS)

    assert (first.number, first.hold, second.hold) == (1, None, Hold.WORK_OPEN)
    assert [purged.number for purged in house.purge()] == [1]
    assert house.store.results.instance(2).purged_at is None


def test_a_recent_study_stays(house: House) -> None:
    house.deliver_study()
    house.days_pass(DAYS - 1)
    assert house.purge() == []
    assert len(house.files) == 3


def test_the_age_counts_from_the_delivery(house: House) -> None:
    house.receive()
    house.analyse()
    house.report("PACS")
    house.days_pass()
    house.deliver()
    assert house.purge() == []
    house.days_pass()
    assert len(house.purge()) == 1


def queued_image(house: House) -> None:
    house.receive()


def running_image(house: House) -> None:
    house.receive()
    claim(house.store, JobKind.ANALYSE)


def unreported(house: House) -> None:
    house.receive()
    house.analyse()


def undelivered(house: House) -> None:
    house.receive()
    house.analyse()
    house.report("PACS")


def half_delivered(house: House) -> None:
    undelivered(house)
    house.store.results.record_delivery(claim(house.store, JobKind.DELIVER), 0x0000)


def refused_by_destination(house: House) -> None:
    half_delivered(house)
    house.store.jobs.fail(claim(house.store, JobKind.DELIVER), "status 0xA900", None)


def parked_report(house: House) -> None:
    unreported(house)
    house.store.jobs.fail(claim(house.store, JobKind.REPORT), "it cannot be built", None)


def late_image(house: House) -> None:
    house.deliver_study()
    house.receive("1.2")


def being_sent_again(house: House) -> None:
    house.deliver_study()
    (job,) = [job for job in house.store.jobs.list() if job.subject == "9.9@PACS"]
    house.store.jobs.retry(job.id)


@pytest.mark.parametrize(
    "unfinished",
    [
        queued_image,
        running_image,
        unreported,
        undelivered,
        half_delivered,
        refused_by_destination,
        parked_report,
        late_image,
        being_sent_again,
    ],
)
def test_a_study_with_open_work_stays(house: House, unfinished: Callable[[House], None]) -> None:
    unfinished(house)
    house.days_pass()
    before = house.files
    assert house.hold() is Hold.WORK_OPEN
    assert house.purge() == []
    assert house.files == before


def test_results_without_any_delivery_stay(house: House) -> None:
    house.receive()
    house.analyse()
    house.report()
    house.days_pass()
    assert house.hold() is Hold.NOT_DELIVERED
    assert house.purge() == []


def test_an_undelivered_result_holds_a_study_with_other_deliveries(
    house: House,
) -> None:
    house.deliver_study()
    house.receive("1.2")
    house.analyse(heatmap="5.2")
    job = claim(house.store, JobKind.REPORT)
    house.store.results.record_report(job, StudyStatus.UNCHANGED, "")
    house.days_pass()
    assert house.hold() is Hold.NOT_DELIVERED
    assert house.purge() == []


def test_a_kind_of_object_without_any_delivery_does_not_hold_a_study(house: House) -> None:
    house.receive()
    house.analyse()
    stored = house.spool.write("objects/9.9", b"report")
    record = dataclasses.replace(made_object("9.9"), spool_path=stored.path)
    job = claim(house.store, JobKind.REPORT)
    house.store.results.record_report(
        job, StudyStatus.REPORTED, "", [record], [Delivery("9.9", "PACS")]
    )
    house.deliver()
    house.days_pass()
    assert len(house.purge()) == 1


def test_one_form_of_each_object_need_be_delivered(house: House) -> None:
    """A destination gets its form of the heatmaps, and the report that names them."""
    house.receive()
    job = claim(house.store, JobKind.ANALYSE)
    default = made_object("5.1", ObjectKind.HEATMAP, int(job.subject))
    full = dataclasses.replace(default, sop_instance_uid="5.2", form="full")
    outcome = analysis(house.clock.now, objects=[default, full])
    house.store.results.record_analysis(job, int(job.subject), outcome)
    reports = [made_object("9.1"), dataclasses.replace(made_object("9.2"), form="full")]
    sent = [Delivery(uid, "PACS") for uid in ("5.2", "9.2")]
    house.store.results.record_report(
        claim(house.store, JobKind.REPORT), StudyStatus.REPORTED, "", reports, sent
    )
    house.days_pass()
    assert house.hold() is not None
    house.deliver()
    house.days_pass()
    assert house.hold() is None


def test_a_study_without_results_is_purged(house: House) -> None:
    number = house.receive()
    house.store.results.record_refusal(
        claim(house.store, JobKind.ANALYSE), number, "LATERAL_VIEW", ""
    )
    job = claim(house.store, JobKind.REPORT)
    house.store.results.record_report(job, StudyStatus.NO_ELIGIBLE_IMAGE, "lateral")
    house.days_pass()
    assert len(house.purge()) == 1
    assert house.store.results.instance(number).reason == "LATERAL_VIEW"


def test_a_discarded_delivery_does_not_hold_a_study(house: House) -> None:
    refused_by_destination(house)
    (parked,) = house.store.jobs.list(state=JobState.PARKED)
    house.store.jobs.discard(parked.id)
    house.days_pass()
    assert len(house.purge()) == 1


def test_a_missing_commitment_holds_a_study(house: House) -> None:
    house.receive()
    house.analyse()
    house.report("PACS", "ARCHIVE")
    house.deliver(commit=True)
    store = house.store
    for name in ("PACS", "ARCHIVE"):
        job = store.jobs.claim([JobKind.COMMIT], "courier", LEASE, lane=name)
        assert job is not None
        store.jobs.finish(job)
    house.days_pass()
    assert house.hold() is Hold.NOT_COMMITTED
    assert house.purge() == []

    store.jobs.enqueue(JobKind.COMMIT, f"{STUDY}@ARCHIVE", lane="ARCHIVE")
    job = claim(store, JobKind.COMMIT)
    assert store.commitments.next_step(job, "2.25.1").order is not None
    store.commitments.record_answer(
        ["ARCHIVE"],
        "2.25.1",
        ["5.1", "9.9"],
        {},
        resend_for=[],
        max_resends=0,
        resend_wait=lambda _: timedelta(0),
    )
    store.jobs.finish(job)
    store.jobs.finish(claim(store, JobKind.COMMIT))
    house.days_pass()
    assert len(house.purge()) == 1


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_killed_purge_is_finished_by_the_next(
    house: House, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    house.deliver_study()
    house.days_pass()
    delete = FolderSpool.delete
    deleted: list[str] = []

    def delete_then_die(spool: FolderSpool, path: str) -> None:
        if len(deleted) == after:
            raise KilledError
        deleted.append(path)
        delete(spool, path)

    monkeypatch.setattr(FolderSpool, "delete", delete_then_die)
    with pytest.raises(KilledError):
        house.purge()
    monkeypatch.undo()

    assert len(house.files) == 3 - after
    assert house.store.results.instance(1).purged_at is not None
    assert house.store.kept_files("1.1") == ()
    assert len(house.purge()) == 1
    assert house.files == []


def test_a_study_with_a_new_image_during_its_purge_keeps_the_new_files(
    house: House,
) -> None:
    house.deliver_study()
    house.days_pass()
    house.mark()
    house.receive("1.2")
    assert house.purge() == []
    house.analyse(heatmap="5.2")
    house.report("PACS", uid="9.10")
    house.deliver()
    # The marked files are deleted after the work is done; the new files are kept.
    assert house.purge() == [Purged(number=1, images=1, objects=2, size=6 + 7 + 6)]
    assert [path.split("/")[1][:4] for path in house.files] == ["5.2", "9.10", "1.2-"]


def test_a_purged_image_sent_again_is_kept_and_not_analysed(house: House) -> None:
    house.deliver_study()
    house.days_pass()
    house.purge()

    stored = house.spool.write("received/again", b"pixels")
    receipt = house.store.record_instance(new_instance("1.1", spool_path=stored.path), 0)

    assert (receipt.outcome, receipt.instance_id) == (ReceiptOutcome.KEPT_AGAIN, 1)
    instance = house.store.results.instance(1)
    assert (instance.purged_at, instance.received_again_at) == (None, house.clock.now)
    assert instance.spool_path == stored.path
    assert [job.kind for job in house.store.jobs.list(state=JobState.QUEUED)] == [JobKind.REPORT]
    assert len(house.store.kept_files("1.1")) == 1
    # Its age counts from the second reception.
    house.store.jobs.finish(claim(house.store, JobKind.REPORT))
    assert house.purge() == []
    house.days_pass()
    assert len(house.purge()) == 1
    assert house.files == []


def test_an_image_sent_again_before_its_file_is_deleted_has_a_new_file(
    house: House,
) -> None:
    house.deliver_study()
    house.days_pass()
    house.mark()

    stored = house.spool.write("received/again", b"pixels")
    receipt = house.store.record_instance(new_instance("1.1", spool_path=stored.path), 0)

    assert receipt.outcome is ReceiptOutcome.KEPT_AGAIN
    kept = house.store.results.instance(1)
    assert (kept.purged_at, kept.spool_path) == (None, stored.path)
    house.store.jobs.finish(claim(house.store, JobKind.REPORT))
    house.purge()
    assert kept.spool_path in house.files


def test_an_image_sent_again_while_its_file_is_deleted_has_a_new_file(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.deliver_study()
    house.days_pass()
    delete = FolderSpool.delete

    def receive_first(spool: FolderSpool, path: str) -> None:
        monkeypatch.undo()
        stored = house.spool.write("received/again", b"pixels")
        house.store.record_instance(new_instance("1.1", spool_path=stored.path), 0)
        delete(spool, path)

    monkeypatch.setattr(FolderSpool, "delete", receive_first)
    house.purge()

    kept = house.store.results.instance(1)
    assert (kept.purged_at, kept.spool_path) == (None, "received/again")
    assert house.files == ["received/again"]


def test_an_object_that_is_being_written_again_stays(house: House) -> None:
    house.deliver_study()
    house.days_pass()
    with house.spool.folders_held("objects/5.1"):
        assert house.purge() == [Purged(number=1, images=1, objects=0, size=6)]
        assert house.files == ["objects/5.1", "objects/9.9"]
    assert house.purge() == [Purged(number=1, images=0, objects=2, size=7 + 6)]
    assert house.files == []


def test_a_purge_holds_no_transaction_while_it_deletes_files(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.deliver_study()
    house.days_pass()
    delete = FolderSpool.delete
    received: list[Receipt] = []

    def receive_another(spool: FolderSpool, path: str) -> None:
        other = new_instance(f"2.{len(received)}", study_instance_uid="9.8")
        received.append(house.store.record_instance(other, 0))
        delete(spool, path)

    monkeypatch.setattr(FolderSpool, "delete", receive_another)
    assert len(house.purge()) == 1
    assert len(received) == 3


def test_a_file_that_cannot_be_deleted_does_not_hold_another_study(house: House) -> None:
    paths = []
    for study in ("7.0", "7.1"):
        stored = house.spool.write(f"received/{study}", b"pixels")
        image = new_instance(f"1.{study}", study_instance_uid=study, spool_path=stored.path)
        number = house.store.record_instance(image, 0).instance_id
        house.store.results.record_refusal(
            claim(house.store, JobKind.ANALYSE), number, "NOT_CHEST", ""
        )
        house.store.results.record_report(
            claim(house.store, JobKind.REPORT), StudyStatus.NO_ELIGIBLE_IMAGE, ""
        )
        paths.append(house.spool.path(stored.path))
    house.days_pass()
    stuck, other = paths
    stuck.unlink()
    (stuck / "inside").mkdir(parents=True)

    for _ in range(2):
        with pytest.raises(SpoolError, match=r"received/7\.0"):
            house.purge()
        assert not other.exists()
    (stuck / "inside").rmdir()
    stuck.rmdir()
    assert [purged.number for purged in house.purge()] == [1]


def test_a_duplicate_restarts_the_age(house: House) -> None:
    house.deliver_study()
    house.days_pass()
    receipt = house.store.record_instance(new_instance("1.1"), 0)
    assert receipt.outcome is ReceiptOutcome.DUPLICATE
    assert house.purge() == []
    house.days_pass()
    assert len(house.purge()) == 1


@pytest.mark.parametrize("is_purged", [False, True])
def test_an_image_sent_again_repeats_a_failed_analysis(house: House, is_purged: bool) -> None:
    number = house.receive()
    job = claim(house.store, JobKind.ANALYSE)
    house.store.results.record_refusal(job, number, "ANALYSIS_FAILED", "")
    job = claim(house.store, JobKind.REPORT)
    house.store.results.record_report(job, StudyStatus.NO_ELIGIBLE_IMAGE, "")
    if is_purged:
        house.days_pass()
        assert len(house.purge()) == 1
    image = new_instance("1.1", spool_path="received/again")

    house.store.record_instance(image, 0, retried=["DECODER_FAILED"])
    assert JobGroup(JobKind.ANALYSE, JobState.QUEUED, None) not in house.store.status.job_counts()
    house.store.record_instance(image, 0, retried=["ANALYSIS_FAILED"])
    assert claim(house.store, JobKind.ANALYSE).subject == str(number)


@pytest.mark.parametrize("is_purged", [False, True])
def test_an_image_sent_again_queues_a_parked_analysis(house: House, is_purged: bool) -> None:
    house.deliver_study()
    if is_purged:
        house.days_pass()
        house.purge()
    house.store.jobs.enqueue(JobKind.ANALYSE, "1")
    house.store.jobs.fail(claim(house.store, JobKind.ANALYSE), "it was purged", None)
    house.store.record_instance(new_instance("1.1", spool_path="received/again"), 0)
    assert claim(house.store, JobKind.ANALYSE).subject == "1"


def test_an_image_sent_again_waits_for_the_lock_of_the_study(
    postgresql_socket: str, clock: Clock, tmp_path: Path
) -> None:
    url = emptied_database(postgresql_socket)
    with Store.open(url, clock=clock, migrate=True) as store, ThreadPoolExecutor(1) as other:
        house = House(store, FolderSpool(tmp_path / "spool"), clock)
        house.deliver_study()
        house.days_pass()
        house.mark()
        with open_database(url) as database, database.writing() as connection:
            lock_study(connection, STUDY_KEY)
            image = new_instance("1.1", spool_path="received/again")
            again = other.submit(store.record_instance, image, 0)
            with pytest.raises(TimeoutError):
                again.result(0.5)
            connection.execute(text("SELECT id FROM instances FOR UPDATE NOWAIT"))
        assert again.result(5).outcome is ReceiptOutcome.KEPT_AGAIN


def test_a_purged_instance_has_no_kept_file(house: House) -> None:
    house.deliver_study()
    assert len(house.store.kept_files("1.1")) == 1
    house.days_pass()
    house.purge()
    assert house.store.kept_files("1.1") == ()
    asked = [InstanceName("1.2", "1.1")]
    assert house.store.inquiries.record("peer", "2.25.9", asked, "me", LEASE).id > 0
