"""After every step of a random history the list of studies says what the tables say."""

import contextlib
import dataclasses
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from storage.errors import StorageError
from storage.files.folder_spool import FolderSpool
from storage.records import (
    RETENTION_EXPIRED,
    AnalysisRecord,
    Delivery,
    FindingRecord,
    JobKind,
    JobState,
    ObjectRecord,
    Rejection,
    StudyKey,
    StudyState,
    StudyStatus,
)
from storage.search.records import StudyFilter
from storage.store import Store
from storage.summaries import keep
from tests.builders.store_rows import LEASE, analyse, claim, made_object, new_instance, receive
from tests.storage.listed import assert_listed
from tests.tools.clock import Clock

STEPS = 60
LABELS = ("Mass", "Hernia", "Edema")
QUALITY = "113001"
"""The code of a rejection for its quality (DCM)."""
REASONS = ("LATERAL_VIEW", "NOT_CHEST", "DECODER_FAILED")


class History:
    """Random acts on a store: few studies with many films of one patient, seldom of another."""

    def __init__(self, store: Store, spool: FolderSpool, clock: Clock, draw: random.Random) -> None:
        self.store, self.spool, self.clock, self.draw = store, spool, clock, draw
        self.sent: list[tuple[str, dict[str, str]]] = []
        self.reports = 0

    def step(self) -> None:
        """Do one act."""
        acts: dict[Callable[[], object], int] = {
            self._send: 10,
            self._send_again: 8,
            self._analyse: 14,
            self._report: 4,
            self._deliver: 3,
            self._act_on_a_job: 3,
            self._act_on_a_study: 2,
            self._reject: 1,
            self._purge: 1,
        }
        # At times somebody sets the clock back.
        self.clock.advance(self.draw.choice([1] * 19 + [-5]))
        (act,) = self.draw.choices(list(acts), weights=list(acts.values()))
        with contextlib.suppress(StorageError):
            act()

    def _send(self) -> None:
        number = len(self.sent)
        changes = {
            "study_instance_uid": f"9.{self.draw.choice('1112')}",
            "patient_id": self.draw.choice(["P1"] * 30 + ["P2"]),
            "modality": self.draw.choice(["DX"] * 9 + ["CR"]),
            "calling_ae_title": self.draw.choice(["MODALITY"] * 19 + ["ARCHIVE"]),
            "source": self.draw.choice([""] * 9 + ["other"]),
        }
        self.sent.append((f"1.{number}", changes))
        self._record(f"1.{number}", "pixels", changes)

    def _send_again(self) -> None:
        if not self.sent:
            return
        uid, changes = self.draw.choice(self.sent)
        content = self.draw.choice(["pixels"] * 8 + ["corrected"])
        if content == "corrected" and self.draw.random() < 0.3:
            changes = {**changes, "study_instance_uid": "9.3"}
        self._record(uid, content, changes)

    def _record(self, uid: str, content: str, changes: dict[str, str]) -> None:
        retried = ("DECODER_FAILED",) if self.draw.random() < 0.5 else ()
        path = f"received/{uid}.{content}"
        film = new_instance(uid, content, spool_path=path, **changes)
        self.store.record_instance(film, 0, retried=retried)

    def _analyse(self) -> None:
        job = self.store.jobs.claim([JobKind.ANALYSE], "analyst", LEASE)
        if job is None:
            return
        number, fate = int(job.subject), self.draw.random()
        quiet = self.draw.choice([None, timedelta(0)])
        if fate < 0.65:
            found = [
                FindingRecord(label, 0.0, probability, 0.5, probability > 0.5)
                for label in LABELS
                for probability in [self.draw.choice([0.2, 0.7000001, 0.7000002, 0.9])]
            ]
            record = AnalysisRecord(self.clock.now, "starter", "1", "cd", found)
            self.store.results.record_analysis(job, number, record, quiet)
        elif fate < 0.9:
            reason = self.draw.choice(REASONS)
            self.store.results.record_refusal(job, number, reason, "", quiet_time=quiet)
        else:
            self.store.jobs.fail(job, "the reader ended", None)

    def _report(self) -> None:
        job = self.store.jobs.claim([JobKind.REPORT], "analyst", LEASE)
        if job is None:
            return
        if self.draw.random() < 0.1:
            self.store.jobs.fail(job, "no disk", None)
            return
        self.reports += 1
        status = self.draw.choice([StudyStatus.REPORTED, StudyStatus.NO_ELIGIBLE_IMAGE])
        made: list[ObjectRecord] = []
        if status is StudyStatus.REPORTED:
            key = StudyKey.of_subject(job.subject)
            one = made_object(f"2.25.{self.reports}")
            made = [
                dataclasses.replace(
                    one, study_instance_uid=key.study_instance_uid, source=key.source
                )
            ]
        sent = [Delivery(one.sop_instance_uid, "pacs") for one in made]
        self.store.results.record_report(job, status, "", made, sent)

    def _deliver(self) -> None:
        job = self.store.jobs.claim([JobKind.DELIVER], "courier", LEASE, lane="pacs")
        if job is None:
            return
        if self.draw.random() < 0.4:
            self.store.jobs.fail(job, "status 0xA900", None)
        else:
            self.store.results.record_delivery(job, 0)

    def _act_on_a_job(self) -> None:
        states = (JobState.PARKED, JobState.QUEUED)
        known = self.store.jobs.list(state=self.draw.choice(states))
        if known:
            act = self.draw.choice([self.store.jobs.retry, self.store.jobs.discard])
            act(self.draw.choice(known).id)

    def _act_on_a_study(self) -> None:
        uid = f"9.{self.draw.choice('123')}"
        if self.draw.random() < 0.5:
            self.store.studies.release(uid, drop=[self.draw.choice(self.sent or [("1.0", {})])[0]])
        else:
            self.store.studies.analyse_again(StudyKey("", uid))

    def _reject(self) -> None:
        job = self.store.jobs.claim([JobKind.ANALYSE], "analyst", LEASE)
        if job is None:
            return
        named = self.draw.choices(self.sent, k=2)
        code = self.draw.choice([QUALITY, RETENTION_EXPIRED])
        rejection = Rejection(code, tuple(uid for uid, _ in named))
        self.store.results.record_rejection(job, int(job.subject), "NOTE", "", rejection)

    def _purge(self) -> None:
        list(self.store.retention.purge(self.spool, self.clock.now, ()))


@pytest.mark.parametrize(
    "seeds", [range(1), pytest.param(range(1, 18), marks=pytest.mark.slow)], ids=["one", "many"]
)
def test_the_list_is_true_after_every_step(tmp_path: Path, seeds: range) -> None:
    for seed in seeds:
        url, clock = f"sqlite:///{tmp_path}/{seed}.sqlite", Clock()
        with contextlib.closing(Store.open(url, clock=clock, migrate=True)) as store:
            spool = FolderSpool(tmp_path / "spool")
            history = History(store, spool, clock, random.Random(seed))
            for _ in range(STEPS):
                history.step()
                assert_listed(url)


def test_the_films_of_a_study_are_counted_without_a_look_at_the_others(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compute(*_: object) -> None:
        raise AssertionError("the row of the study was computed from all of its films")

    monkeypatch.setattr(keep, "compute", compute)
    for number in range(4):
        receive(store, f"1.{number}")
    for _ in range(2):
        analyse(store, clock.now)
        job = claim(store, JobKind.ANALYSE)
        store.results.record_refusal(job, int(job.subject), "LATERAL_VIEW", "")
    receive(store, "1.1", "1.2")
    monkeypatch.undo()
    (row,) = store.search.studies(StudyFilter()).rows
    assert (row.films, row.analysed, row.state) == (4, 2, StudyState.ANALYSED)


def test_a_study_whose_report_was_discarded_stays_reported(store: Store, clock: Clock) -> None:
    receive(store, "1.1")
    analyse(store, clock.now)
    store.results.record_report(claim(store, JobKind.REPORT), StudyStatus.REPORTED, "")
    receive(store, "1.2")
    (report,) = store.jobs.list(kind=JobKind.REPORT)
    store.jobs.discard(report.id)
    analyse(store, clock.now)
    (row,) = store.search.studies(StudyFilter()).rows
    assert (row.analysed, row.state) == (2, StudyState.REPORTED)
