"""The analyst brings each instance to one named state, even if its analysis fails."""

import datetime
from collections import Counter, defaultdict
from pathlib import Path
from unittest.mock import Mock

import pytest

from daemon.analyse.pipeline import Pipeline
from daemon.analyst import Analyst
from daemon.config.peers import PeerConfig, RulesConfig
from daemon.config.receivers import Product
from daemon.config.settings import Config
from daemon.errors import DecoderError
from daemon.worker.bell import Bell
from dicom_io.gate.header_check import assess
from dicom_io.gate.reasons import Reason
from dicom_io.objects.encode import to_bytes
from dicom_io.phantom import PhantomView
from dicom_io.read.header import read_dataset, read_header
from dicom_io.read.image_header import read_image
from storage.errors import OutOfSpaceError, StoreUnavailableError
from storage.files.folder_spool import FolderSpool
from storage.records import (
    HoldReason,
    InstanceState,
    JobKind,
    JobState,
    ObjectKind,
    ObjectRecord,
    Standing,
    StudyResults,
    StudyStatus,
)
from tests.builders.bench import (
    EVERYTHING,
    IN_JPEG,
    SENDS,
    Bench,
    everything_wanted,
    films_of,
    open_bench,
)
from tests.builders.images.films import film
from tests.builders.made_models import build_bundle
from tests.tools.air_check import check
from tests.tools.ports import SENDER


def test_a_peer_that_lists_only_reports_gets_no_heatmaps(bench: Bench) -> None:
    uid = bench.receive(film("wanted"))
    bench.work()
    study = bench.study(uid)
    assert study.status is StudyStatus.REPORTED
    assert study.instances[0].objects
    (job,) = [job for job in bench.store.jobs.list() if job.kind is JobKind.DELIVER]
    assert job.subject == f"{study.reports[0].sop_instance_uid}@pacs"


def test_each_peer_gets_the_kinds_it_lists(bench: Bench, pipeline: Pipeline) -> None:
    everything_wanted(bench, pipeline)
    uid = bench.receive(film("kinds"))
    bench.work()
    study = bench.study(uid)
    (instance,) = study.instances
    made = {record.sop_instance_uid: record for record in (*instance.objects, *study.last_reports)}
    positive = sum(finding.present for finding in instance.findings)
    assert Counter(record.kind for record in made.values()) == {
        ObjectKind.HEATMAP: positive,
        ObjectKind.HEATMAP_JPEG: positive,
        ObjectKind.SUMMARY: 1,
        ObjectKind.SUMMARY_JPEG: 1,
        ObjectKind.PRESENTATION_STATE: 1,
        ObjectKind.SEGMENTATION: 1,
        # One names the lossless heatmaps, the other one the copies.
        ObjectKind.REPORT: 2,
    }
    sent: dict[str, set[ObjectKind]] = defaultdict(set)
    for job in bench.store.jobs.list():
        if job.kind is JobKind.DELIVER:
            object_uid, _, peer = job.subject.partition("@")
            sent[peer].add(made[object_uid].kind)
    shapes = {ObjectKind.PRESENTATION_STATE, ObjectKind.SEGMENTATION, ObjectKind.REPORT}
    assert sent == {
        "pacs": {ObjectKind.REPORT},
        "archive": {ObjectKind.HEATMAP, ObjectKind.SUMMARY} | shapes,
        "small": {ObjectKind.HEATMAP_JPEG, ObjectKind.SUMMARY_JPEG} | shapes,
    }


def test_all_objects_of_a_study_meet_the_requirements_of_air(
    bench: Bench, pipeline: Pipeline
) -> None:
    everything_wanted(bench, pipeline)
    uid = bench.receive(film("kinds"))
    bench.work()
    study = bench.study(uid)
    report, *others = (
        read_dataset(bench.spool.read(record.spool_path, record.sha256))
        for record in (*study.reports, *study.instances[0].objects)
    )
    assert len({other.SOPClassUID for other in others}) == 3
    assert [one.faults for one in check(report, others)] == [()] * 8


@pytest.mark.parametrize("wanted", [Product.HEATMAP, Product.SUMMARY])
def test_a_peer_that_prefers_jpeg_after_the_analysis_gets_uncompressed_pictures(
    bench: Bench, pipeline: Pipeline, wanted: Product
) -> None:
    bench.config = bench.config.model_copy(update={"peers": (SENDS, EVERYTHING)})
    bench.analyst = Analyst(bench.config, "me", bench.spool, bench.store, pipeline)
    uid = bench.receive(film("switched"))
    while bench.analyst.work_once():
        pass
    switched = IN_JPEG.model_copy(update={"receives": (wanted, Product.REPORT)})
    bench.config = bench.config.model_copy(update={"peers": (SENDS, switched)})
    bench.analyst = Analyst(bench.config, "me", bench.spool, bench.store, pipeline)
    bench.work()

    study = bench.study(uid)
    kind = ObjectKind(wanted)
    pictures = [one for one in study.instances[0].objects if one.kind is kind]
    assert pictures
    assert {job.subject for job in bench.store.jobs.list(kind=JobKind.DELIVER)} == {
        f"{one.sop_instance_uid}@small" for one in (*pictures, _report_of(study, wanted))
    }


def _report_of(study: StudyResults, wanted: Product) -> ObjectRecord:
    """Return the report of a peer that prefers JPEG: another one only if it gets heatmaps."""
    return study.last_reports[1 if wanted is Product.HEATMAP else 0]


def test_every_object_has_a_uid_of_its_own_and_belongs_to_the_study(
    bench: Bench, pipeline: Pipeline
) -> None:
    everything_wanted(bench, pipeline)
    uid = bench.receive(film("identity"))
    bench.work()
    (instance,) = bench.study(uid).instances
    series = defaultdict(set)
    for record in instance.objects:
        data = bench.spool.read(record.spool_path, record.sha256)
        header = read_header(data)
        assert (header.sop_instance_uid, header.sop_class_uid, header.study_instance_uid) == (
            record.sop_instance_uid,
            record.sop_class_uid,
            uid,
        )
        series[header.series_instance_uid].add(record.kind)
        # What comes back from the PACS must not be analysed.
        assert assess(read_image(data)).reason is Reason.OWN_RESULT
    assert all(len(kinds) == 1 for kinds in series.values())
    assert len(series) == 6


def test_objects_built_again_are_identical(bench: Bench, pipeline: Pipeline) -> None:
    everything_wanted(bench, pipeline)
    uid = bench.receive(film("identical"))
    bench.work()
    before = bench.study(uid).instances[0].objects
    for job in bench.store.jobs.list(state=JobState.DONE):
        if job.kind is JobKind.ANALYSE:
            bench.store.jobs.retry(job.id)
    bench.work()
    assert bench.study(uid).instances[0].objects == before


def test_image_is_judged_by_the_rules_of_the_peer_that_sent_it(
    bench: Bench, pipeline: Pipeline
) -> None:
    strict = PeerConfig(
        name="ward", ae_title=SENDER, sends=True, rules=RulesConfig(minimum_age_years=90)
    )
    lenient = PeerConfig(name="other", ae_title="OTHER", sends=True)
    config = Config(peers=(lenient, strict))
    bench.analyst = Analyst(config, "me", bench.spool, bench.store, pipeline)
    uid = bench.receive(film("young"))
    bench.work()
    (instance,) = bench.study(uid).instances
    assert instance.reason == "PATIENT_TOO_YOUNG"
    assert bench.study(uid).status is StudyStatus.NO_ELIGIBLE_IMAGE


def test_study_is_not_reported_before_it_is_quiet(bench: Bench) -> None:
    uid = bench.receive(film("noisy"))
    while bench.analyst.work_once():
        pass
    assert bench.study(uid).instances[0].state is InstanceState.ANALYSED
    assert bench.study(uid).status is None


def test_a_study_with_discarded_analyses_has_a_reason(bench: Bench) -> None:
    uid = bench.receive(film("discarded"))
    (job,) = bench.store.jobs.list(kind=JobKind.ANALYSE)
    bench.store.jobs.discard(job.id)
    bench.work()
    study = bench.study(uid)
    assert (study.status, study.detail) == (
        StudyStatus.NO_ELIGIBLE_IMAGE,
        "no image of the study could be analysed: the analysis was discarded or is parked",
    )


def test_a_film_sent_again_in_another_study_is_reported_there_and_holds_the_first(
    bench: Bench,
) -> None:
    first = film("first")
    other = read_dataset(first)
    other.StudyInstanceUID = "2.25.5"
    left, joined = bench.receive(first), bench.receive(to_bytes(other))
    bench.work()

    study = bench.study(joined)
    (report,) = study.reports
    assert study.status is StudyStatus.REPORTED
    assert films_of(bench, report) == [study.instances[0].sop_instance_uid]
    study = bench.study(left)
    assert (study.status, study.reports) == (StudyStatus.HELD, ())
    assert study.hold is not None
    assert study.hold.reason is HoldReason.FILM_MOVED


def test_each_state_of_a_study_has_a_report_of_its_own(bench: Bench) -> None:
    a, b = film("states"), film("states", seed=2)
    uid = bench.receive(a)
    bench.work()
    bench.receive(b)
    bench.work()
    moved = read_dataset(b)
    moved.StudyInstanceUID = "2.25.6"
    bench.receive(to_bytes(moved))
    bench.work()
    bench.store.studies.release(uid)
    bench.work()

    reports = bench.study(uid).reports
    assert len({report.sop_instance_uid for report in reports}) == 3
    assert films_of(bench, reports[0]) == films_of(bench, reports[2])
    assert [report.standing for report in reports] == [
        Standing.SUPERSEDED,
        Standing.SUPERSEDED,
        Standing.VALID,
    ]


def test_a_report_lists_an_image_that_was_not_analysed(bench: Bench) -> None:
    uid = bench.receive(film("mixed"), film("mixed", view=PhantomView.LL, seed=2))
    bench.work()
    states = sorted(str(item.reason or item.state) for item in bench.study(uid).instances)
    assert states == ["LATERAL_VIEW", "analysed"]
    (report,) = bench.study(uid).reports
    assert b"LATERAL_VIEW" in bench.spool.read(report.spool_path, report.sha256)


def test_a_repeated_job_makes_no_new_object(bench: Bench) -> None:
    uid = bench.receive(film("again"))
    bench.work()
    before = bench.study(uid)
    files = {made: bench.spool.read(made.spool_path, made.sha256) for made in before.reports}
    for job in bench.store.jobs.list(state=JobState.DONE):
        bench.store.jobs.retry(job.id)
    bench.work()
    after = bench.study(uid)
    assert after.reports == before.reports
    assert after.instances[0].objects == before.instances[0].objects
    assert {made: bench.spool.read(made.spool_path, made.sha256) for made in files} == files


def test_a_finding_present_keeps_the_outline_of_its_map(bench: Bench) -> None:
    uid = bench.receive(film("outlined"))
    bench.work()
    (instance,) = bench.study(uid).instances
    present = [finding for finding in instance.findings if finding.present]
    assert present
    for finding in present:
        assert finding.region is not None
        assert all(0 < x < 224 and 0 < y < 256 for x, y in finding.region)
    assert all(f.region is None for f in instance.findings if not f.present)
    (report,) = bench.study(uid).reports
    content = read_dataset(bench.spool.read(report.spool_path, report.sha256)).ContentSequence
    groups = content[-1].ContentSequence
    outlined = [any(item.ValueType == "SCOORD" for item in g.ContentSequence) for g in groups]
    assert outlined == [True] * len(present) + [False] * (len(groups) - len(present))


def test_images_some_seconds_apart_make_one_report_in_any_order(
    tmp_path: Path, pipeline: Pipeline
) -> None:
    made = []
    for order in ((1, 2, 3), (3, 1, 2)):
        with open_bench(tmp_path / str(order), pipeline) as bench:
            for seed in order:
                uid = bench.receive(film("apart", seed=seed))
                while bench.analyst.work_once():
                    pass
                bench.clock.advance(bench.config.study.quiet_seconds / 4)
            assert bench.study(uid).reports == ()
            bench.receive(film("apart", seed=1))
            bench.work()
            (report,) = bench.study(uid).reports
            made.append((report.sop_instance_uid, films_of(bench, report)))
    films = [read_header(film("apart", seed=seed)).sop_instance_uid for seed in (1, 2, 3)]
    assert made[0][1] == films
    assert made[0] == made[1]


def test_own_results_sent_back_cause_no_new_report(bench: Bench) -> None:
    uid = bench.receive(film("echoed"))
    bench.work()
    (report,) = bench.study(uid).reports
    (instance,) = bench.study(uid).instances
    returned = [
        bench.spool.read(made.spool_path, made.sha256) for made in (report, *instance.objects)
    ]
    bench.receive(*returned)
    bench.work()
    study = bench.study(uid)
    assert {item.reason for item in study.instances if item.id != instance.id} == {"OWN_RESULT"}
    assert study.reports == (report,)
    bench.receive(film("echoed", seed=2))
    bench.work()
    latest = bench.study(uid).reports[-1]
    assert b"OWN_RESULT" not in bench.spool.read(latest.spool_path, latest.sha256)


def test_an_altered_file_is_parked_and_named(bench: Bench) -> None:
    uid = bench.receive(film("altered"))
    (instance,) = bench.study(uid).instances
    bench.spool.path(instance.spool_path).write_bytes(film("altered", heart_failure=True))
    bench.work()
    (instance,) = bench.study(uid).instances
    assert (instance.state, instance.reason) == (InstanceState.RECEIVED, None)
    (parked,) = bench.store.jobs.list(state=JobState.PARKED)
    assert (parked.kind, parked.attempts) == (JobKind.ANALYSE, bench.config.analyst.max_attempts)
    assert "has changed since it was written" in (parked.last_error or "")
    assert bench.study(uid).status is StudyStatus.NO_ELIGIBLE_IMAGE
    assert bench.study(uid).reports == ()


def test_a_missing_file_is_looked_for_within_minutes(bench: Bench) -> None:
    """It is back before the last attempt, as after a late mount: nobody has to do anything."""
    uid = bench.receive(film("late mount"))
    path = bench.spool.path(bench.study(uid).instances[0].spool_path)
    path.rename(path.with_suffix(".away"))
    assert bench.analyst.work(JobKind.ANALYSE)
    (waiting,) = bench.store.jobs.list(kind=JobKind.ANALYSE)
    assert waiting.state is JobState.QUEUED
    assert 20 < (waiting.not_before - bench.clock()).total_seconds() < 120
    path.with_suffix(".away").rename(path)
    bench.work()
    assert bench.study(uid).status is StudyStatus.REPORTED


def test_a_retry_ends_a_parked_job_when_its_file_is_back(bench: Bench) -> None:
    """The report of the other film names the one without a result, and the next has both."""
    uid = bench.receive(film("back"), film("back", seed=2))
    gone, other = bench.study(uid).instances
    path = bench.spool.path(gone.spool_path)
    path.rename(path.with_suffix(".away"))
    bench.work()
    (parked,) = bench.store.jobs.list(state=JobState.PARKED)
    assert "is missing" in (parked.last_error or "")
    (report,) = bench.study(uid).reports
    assert films_of(bench, report) == [other.sop_instance_uid]
    data = bench.spool.read(report.spool_path, report.sha256)
    assert b"NO_RESULT_YET: it has no result yet: its analysis waits for an operator" in data
    assert b"ANALYSIS_FAILED" not in data

    path.with_suffix(".away").rename(path)
    bench.store.jobs.retry(parked.id)
    bench.work()
    assert len(films_of(bench, bench.study(uid).reports[-1])) == 2
    assert bench.store.jobs.list(state=JobState.PARKED) == ()


@pytest.mark.parametrize("damage", ["altered", "missing"])
def test_an_image_with_a_damaged_file_is_analysed_after_a_second_send(
    bench: Bench, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    image, other = film("mended"), film("untouched")
    uid = bench.receive(image)
    unharmed = bench.receive(other)
    (instance,) = bench.study(uid).instances
    if damage == "altered":
        bench.spool.path(instance.spool_path).write_bytes(image[:-4] + b"\0\1\2\3")
    else:
        bench.spool.delete(instance.spool_path)
    bench.work()
    (parked,) = bench.store.jobs.list(state=JobState.PARKED)
    assert f"job {parked.id} is parked" in caplog.text
    assert bench.study(unharmed).status is StudyStatus.REPORTED

    bench.receive(image)
    bench.work()

    (mended,) = bench.study(uid).instances
    assert (mended.id, mended.state) == (instance.id, InstanceState.ANALYSED)
    assert bench.spool.read(mended.spool_path, mended.sha256) == image
    assert bench.study(uid).status is StudyStatus.REPORTED


def test_a_failed_analysis_wakes_the_reports(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[str] = []
    monkeypatch.setattr(Bell, "ring", lambda bell: rung.append(bell._path.name))
    monkeypatch.setattr(Pipeline, "analyse", Mock(side_effect=RuntimeError))
    bench.receive(film("failing"))
    assert bench.analyst.work(JobKind.ANALYSE)
    assert rung == ["report.bell"]


def test_an_unexpected_error_is_retried_and_then_named(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def fail(*_: object) -> None:
        calls.append(1)
        raise RuntimeError("Doe^Jane has no second lung")

    monkeypatch.setattr(Pipeline, "analyse", fail)
    uid = bench.receive(film("unlucky"))
    bench.work()
    (instance,) = bench.study(uid).instances
    assert len(calls) == bench.config.analyst.max_attempts
    assert instance.reason == "ANALYSIS_FAILED"
    assert instance.detail == "unexpected RuntimeError"
    assert "in fail" in caplog.text
    assert "Doe^Jane has" not in caplog.text.replace('raise RuntimeError("Doe^Jane has', "")


@pytest.mark.parametrize(
    ("error", "place", "step"),
    [
        (OutOfSpaceError, FolderSpool, "write_together"),
        (StoreUnavailableError, FolderSpool, "write_together"),
        (DecoderError, Pipeline, "analyse"),
    ],
)
def test_a_lack_of_resources_is_retried_without_counting_an_attempt(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
    place: type,
    step: str,
) -> None:
    uid = bench.receive(film("patient"))

    def fail(*_: object) -> None:
        raise error("no room")

    with monkeypatch.context() as full:
        full.setattr(place, step, fail)
        for _ in range(3 * bench.config.analyst.max_attempts):
            bench.clock.advance(600)
            assert bench.analyst.work_once()
    (waiting,) = bench.store.jobs.list(kind=JobKind.ANALYSE)
    assert (waiting.state, waiting.attempts) == (JobState.QUEUED, 0)
    assert waiting.last_error == "no room"
    bench.work()
    assert bench.study(uid).status is StudyStatus.REPORTED


def wait_out(bench: Bench) -> None:
    for _ in range(3 * bench.config.analyst.max_attempts):
        bench.clock.advance(600)
        bench.analyst.work_once()


@pytest.mark.parametrize("after", [JobKind.ANALYSE, JobKind.REPORT])
def test_an_unavailable_spool_is_retried_without_blaming_an_image(
    bench: Bench, after: JobKind
) -> None:
    uid = bench.receive(film("away"))
    spool = bench.spool.path("tmp").parent
    if after is JobKind.REPORT:
        assert bench.analyst.work(JobKind.ANALYSE)
    spool.rename(spool.with_name("aside"))
    wait_out(bench)
    (waiting,) = bench.store.jobs.list(kind=after)
    assert (waiting.state, waiting.attempts) == (JobState.QUEUED, 0)
    assert not spool.exists()
    spool.with_name("aside").rename(spool)
    bench.work()
    assert bench.study(uid).status is StudyStatus.REPORTED


def test_an_image_with_an_unreadable_file_is_parked_after_the_last_attempt(bench: Bench) -> None:
    uid = bench.receive(film("unreadable"))
    path = bench.spool.path(bench.study(uid).instances[0].spool_path)
    path.unlink()
    path.mkdir()
    bench.clock.advance(600)
    assert bench.analyst.work_once()
    (again,) = bench.store.jobs.list(kind=JobKind.ANALYSE)
    assert (again.state, again.attempts) == (JobState.QUEUED, 1)
    bench.work()
    (parked,) = bench.store.jobs.list(state=JobState.PARKED)
    assert "Is a directory" in (parked.last_error or "")
    assert bench.study(uid).instances[0].state is InstanceState.RECEIVED


def test_an_image_that_kills_its_worker_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = bench.receive(film("killer"))
    hour = datetime.timedelta(hours=1)
    for _ in range(bench.config.analyst.max_attempts):
        assert bench.store.jobs.claim((JobKind.ANALYSE,), "dies", hour) is not None
        bench.store.jobs.release("dies")
    monkeypatch.setattr(Pipeline, "analyse", lambda *_: pytest.fail("it was tried once more"))
    bench.work()
    (instance,) = bench.study(uid).instances
    assert instance.reason == "ANALYSIS_FAILED"
    assert "stopped without an answer" in (instance.detail or "")


def test_a_failed_second_analysis_leaves_the_first_result(
    bench: Bench,
) -> None:
    uid = bench.receive(film("stands"))
    bench.work()
    before = bench.study(uid)
    (instance,) = before.instances
    bench.spool.path(instance.spool_path).write_bytes(b"rotten")
    (job,) = bench.store.jobs.list(kind=JobKind.ANALYSE)
    bench.store.jobs.retry(job.id)
    bench.work()

    (parked,) = bench.store.jobs.list(state=JobState.PARKED)
    assert parked.id == job.id
    assert "has changed since it was written" in (parked.last_error or "")
    assert bench.study(uid) == before

    bench.receive(film("stands"))
    bench.work()
    after = bench.study(uid)
    assert bench.store.jobs.list(state=JobState.PARKED) == ()
    assert (after.status, after.reports) == (StudyStatus.REPORTED, before.reports)
    assert after.instances[0].objects == before.instances[0].objects


def test_an_image_that_a_new_model_cannot_analyse_keeps_its_result_and_delays_no_other(
    bench: Bench, tmp_path: Path
) -> None:
    uid = bench.receive(film("harmed"))
    bench.work()
    (first,) = bench.study(uid).instances
    bench.spool.path(first.spool_path).write_bytes(b"rotten")
    build_bundle(tmp_path / "other", version="2")
    other = Pipeline.open(Config().model.model_copy(update={"bundle": str(tmp_path / "other")}))
    bench.analyst = Analyst(bench.config, "me", bench.spool, bench.store, other)
    bench.receive(film("harmed", seed=2))
    bench.work()

    study = bench.study(uid)
    harmed, late = study.instances
    assert (harmed.state, harmed.findings) == (InstanceState.ANALYSED, first.findings)
    assert films_of(bench, study.reports[-1]) == [late.sop_instance_uid]
    made = study.reports[-1]
    report = bench.spool.read(made.spool_path, made.sha256)
    assert f"{harmed.sop_instance_uid}: ANALYSIS_FAILED".encode() in report
    assert b"it was analysed with another model, and the analysis with this one failed" in report

    bench.receive(film("harmed"))
    bench.work()
    assert len(films_of(bench, bench.study(uid).reports[-1])) == 2


def test_images_of_another_model_are_analysed_again_before_the_report(
    bench: Bench, tmp_path: Path
) -> None:
    uid = bench.receive(film("changed"))
    while bench.analyst.work_once():
        pass
    build_bundle(tmp_path / "other", version="2")
    other = Pipeline.open(Config().model.model_copy(update={"bundle": str(tmp_path / "other")}))
    bench.analyst = Analyst(bench.config, "me", bench.spool, bench.store, other)
    bench.work()
    study = bench.study(uid)
    assert study.instances[0].model_sha256 == other.algorithm.sha256
    (report,) = study.reports
    assert other.algorithm.sha256.encode() in bench.spool.read(report.spool_path, report.sha256)
