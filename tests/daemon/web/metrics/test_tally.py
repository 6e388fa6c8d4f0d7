"""Counters and histograms of what a store has recorded."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from daemon.web.health.metrics.tally import FORMAT, MOST_NAMES, OTHER, Tally
from storage.audit.records import AuditKind, AuditOutcome
from storage.records import Delivery, JobKind, Rejection, StudyStatus
from storage.store import Store
from tests.builders.store_rows import STUDY_KEY, analyse, analysis, claim, new_instance, receive
from tests.daemon.web.metrics.exposed import deliver, report
from tests.tools.clock import Clock

DAY = 86_400


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an empty store: to make its tables takes longer than a test."""
    path = tmp_path_factory.mktemp("tally") / "empty.sqlite"
    Store.open(f"sqlite:///{path}", migrate=True).close()
    return path


@pytest.fixture
def store(tmp_path: Path, clock: Clock, empty_store: Path) -> Iterator[Store]:
    path = shutil.copy(empty_store, tmp_path / "cxrd.sqlite")
    with Store.open(f"sqlite:///{path}", clock=clock, migrate=False) as opened:
        yield opened


def tally_of(store: Store) -> Tally:
    tally = Tally()
    delivered = tally.add(store.audit_tail.rows(0, 1000))
    made = store.activity.reports_made([one.report for one in delivered])
    tally.add_deliveries(delivered, made)
    return tally


def times(plain: list[object]) -> tuple[int, float]:
    counts, total = plain
    assert isinstance(counts, list)
    assert isinstance(total, float)
    return sum(counts), total


def test_films_are_counted_by_sender_and_outcome(store: Store) -> None:
    for content in ("pixels", "pixels", "other pixels"):
        store.record_instance(new_instance("1.2.3.1", content), 0)
    store.record_instance(new_instance("1.2.3.2", calling_ae_title="MOBILE"), 0)
    store.audit.record(
        AuditKind.INSTANCE_REFUSED,
        outcome=AuditOutcome.FAILURE,
        actor="MOBILE",
        detail="status 0xA700: no space",
    )
    counts = tally_of(store).counts
    assert counts["films_received", "MODALITY", "new"] == 1
    assert counts["films_received", "MODALITY", "duplicate"] == 1
    assert counts["films_received", "MODALITY", "revision"] == 1
    assert counts["films_received", "MOBILE", "new"] == 1
    assert counts["films_refused", "MOBILE", "0xA700"] == 1


def test_a_day_in_the_life_of_a_study_is_timed(store: Store, clock: Clock) -> None:
    receive(store, "1.2.3.1")
    clock.advance(5)
    receive(store, "1.2.3.2")
    clock.advance(2)
    analyse(store, clock())
    refused = claim(store, JobKind.ANALYSE)
    store.results.record_refusal(refused, int(refused.subject), "LATERAL_VIEW", "")
    clock.advance(30)
    report(store)
    clock.advance(3)
    deliver(store, 0xB000)
    tally = tally_of(store)
    assert times(tally.analysis.plain()) == (1, 7.0)
    assert times(tally.report.plain()) == (1, 32.0)
    assert times(tally.delivery["pacs"].plain()) == (1, 3.0)
    assert tally.counts["films_analysed",] == 1
    assert tally.counts["films_not_analysed", "LATERAL_VIEW"] == 1
    assert tally.counts["findings_present", "Mass"] == 1
    assert tally.counts["findings_present", "Hernia"] == 0
    assert tally.counts["studies_reported", StudyStatus.REPORTED] == 1
    assert tally.counts["objects_delivered", "pacs", "0xB000"] == 1


def test_each_revision_of_a_film_is_timed(store: Store, clock: Clock) -> None:
    for content in ("pixels", "other pixels"):
        store.record_instance(new_instance("1.2.3.1", content), 0)
        clock.advance(10)
    analyse(store, clock())
    clock.advance(1)
    analyse(store, clock())
    assert times(tally_of(store).analysis.plain()) == (2, 20.0 + 11.0)


def test_a_revision_is_not_timed_from_an_earlier_one_that_was_discarded(
    store: Store, clock: Clock
) -> None:
    store.record_instance(new_instance("1.2.3.1", "pixels"), 0)
    store.jobs.discard(int(next(job.id for job in store.jobs.list(kind=JobKind.ANALYSE))))
    clock.advance(DAY)
    store.record_instance(new_instance("1.2.3.1", "other pixels"), 0)
    clock.advance(10)
    analyse(store, clock())
    assert times(tally_of(store).analysis.plain()) == (1, 10.0)


def test_a_film_that_is_kept_again_is_timed_from_then() -> None:
    subject = "study=1 instance=1.2"
    rows = [
        (1, "2026-03-01T12:00:00.000000Z", "instance_received", "new, revision 1, sha256 ab"),
        (2, "2026-05-01T12:00:00.000000Z", "instance_received", "kept_again, revision 1, sha256 a"),
        (3, "2026-05-01T12:00:04.000000Z", "instance_analysed", "no finding; model m"),
    ]
    tally = Tally()
    tally.add(
        (number, at, kind, "success", "", f"{subject} revision=1" if number == 3 else subject, text)
        for number, at, kind, text in rows
    )
    assert times(tally.analysis.plain()) == (1, 4.0)


def test_requests_by_hand_are_remembered_by_study_and_within_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("daemon.web.health.metrics.tally.MOST_WAITING", 2)
    tally = Tally()
    asked = ("1", "2", "2", "3")
    at = "2026-03-01T12:00:00.000000Z"
    tally.add(
        (number, at, "delivery_requested", "success", "", f"study={study} destination=pacs", "")
        for number, study in enumerate(asked, 1)
    )
    assert list(tally.plain()["by_hand"]) == ["/2", "/3"]


def test_what_an_operator_repeats_is_counted_and_not_timed(store: Store, clock: Clock) -> None:
    receive(store, "1.2.3.1")
    analyse(store, clock())
    report(store)
    deliver(store)
    clock.advance(DAY)
    store.studies.analyse_again(STUDY_KEY)
    analyse(store, clock())
    store.studies.send_again(STUDY_KEY, [Delivery("2.25.1", "pacs")])
    deliver(store)
    tally = tally_of(store)
    assert tally.counts["films_analysed",] == 2
    assert tally.counts["objects_delivered", "pacs", "0x0000"] == 2
    assert times(tally.analysis.plain()) == (1, 0.0)
    assert times(tally.delivery["pacs"].plain()) == (1, 0.0)


def test_a_parked_delivery_that_is_retried_is_timed(store: Store, clock: Clock) -> None:
    receive(store, "1.2.3.1")
    analyse(store, clock())
    report(store)
    store.jobs.fail(claim(store, JobKind.DELIVER), "status 0xA900", None)
    clock.advance(DAY)
    (parked,) = [job for job in store.jobs.list(limit=None) if job.kind is JobKind.DELIVER]
    store.jobs.retry(parked.id, "me")
    deliver(store)
    tally = tally_of(store)
    assert tally.counts["job_parkings", JobKind.DELIVER] == 1
    assert times(tally.delivery["pacs"].plain()) == (1, float(DAY))


def test_every_finding_that_is_present_is_counted(store: Store, clock: Clock) -> None:
    """The trail says findings in words."""
    receive(store, "1.2.3.1")
    made = analysis(clock())
    labels = ("Pleural_Thickening", "Mass", "No Finding")
    probabilities = (0.93, 0.0123, 0.000001)
    findings = [
        replace(made.findings[0], label=label, probability=number, threshold=0.0000001)
        for label, number in zip(labels, probabilities, strict=True)
    ]
    job = claim(store, JobKind.ANALYSE)
    store.results.record_analysis(job, int(job.subject), replace(made, findings=findings))
    counts = tally_of(store).counts
    assert {
        key[1]: number for key, number in counts.items() if key[0] == "findings_present"
    } == dict.fromkeys(labels, 1)


def test_findings_in_rows_of_version_0_1_0_are_counted() -> None:
    at = "2026-03-01T12:00:00.000000Z"
    detail = "Mass 0.71, Pleural_Thickening 0.62; model starter 1, sha256 12ab"
    tally = Tally()
    tally.add([(1, at, AuditKind.INSTANCE_ANALYSED, "success", "", "instance=1.2", detail)])
    assert tally.counts["findings_present", "Mass"] == 1
    assert tally.counts["findings_present", "Pleural_Thickening"] == 1
    assert sum(n for key, n in tally.counts.items() if key[0] == "findings_present") == 2


def test_a_rejection_note_is_counted_and_waits_no_longer(store: Store) -> None:
    receive(store, "1.2.3.1")
    note = claim(store, JobKind.ANALYSE)
    rejection = Rejection("113001", ("1.2.3.2",))
    store.results.record_rejection(note, int(note.subject), "REJECTION_NOTE", "", rejection)
    tally = tally_of(store)
    assert tally.counts["films_not_analysed", "REJECTION_NOTE"] == 1
    assert tally.plain()["films"] == {}


def test_an_answer_to_a_commitment_request_is_counted(store: Store) -> None:
    store.audit.record(
        AuditKind.COMMITMENT_RECEIVED, actor="pacs", detail="3 committed, 2 sent again, 1 refused"
    )
    counts = tally_of(store).counts
    results = ("committed", "sent_again", "refused")
    assert [counts["commitment_objects", "pacs", one] for one in results] == [3, 2, 1]


def test_a_row_of_repeats_counts_as_many_events(store: Store) -> None:
    for detail in ("called CXRD: unknown caller", "called CXRD: unknown caller (41 times)"):
        store.audit.record(
            AuditKind.ASSOCIATION_REFUSED, outcome=AuditOutcome.FAILURE, detail=detail
        )
    store.audit.record(AuditKind.JOB_PARKED, detail="report: it failed (3 times)")
    counts = tally_of(store).counts
    assert counts["events", "association_refused", "failure"] == 42
    assert counts["events", "job_parked", "success"] == 1


def test_names_of_a_label_are_limited() -> None:
    tally = Tally({"XRAY"})
    rows = [
        (number, "2026-03-01T12:00:00.000000Z", "instance_received", "success", name, "", "new, ")
        for number, name in enumerate([*(f"S{one}" for one in range(200)), "XRAY", "S1", ""])
    ]
    tally.add(rows)
    found = {key[1]: n for key, n in tally.counts.items() if key[0] == "films_received"}
    assert len(found) == MOST_NAMES + 2
    assert (found["XRAY"], found["S1"], found[OTHER]) == (1, 2, 101)


def test_counts_go_on_from_their_json(store: Store, clock: Clock) -> None:
    receive(store, "1.2.3.1")
    before = tally_of(store)
    clock.advance(60)
    analyse(store, clock() - timedelta(seconds=1))
    report(store)
    deliver(store)
    after = Tally()
    assert after.restore(before.number, before.plain())
    delivered = after.add(store.audit_tail.rows(before.number, 1000))
    after.add_deliveries(delivered, store.activity.reports_made([one.report for one in delivered]))
    assert after.plain() == tally_of(store).plain()
    assert times(after.analysis.plain()) == (1, 60.0)


@pytest.mark.parametrize("plain", [None, {}, {"format": 0}, {"format": FORMAT, "counts": 3}])
def test_counts_of_another_form_are_made_anew(plain: object) -> None:
    tally = Tally()
    assert not tally.restore(7, plain)
    assert tally.number == 0
