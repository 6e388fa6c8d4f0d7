"""Each destination gets its form of the heatmaps, and the report that names them."""

import datetime
from collections import defaultdict
from typing import Any

import pytest
from pydicom.dataset import Dataset

from daemon.analyse.pipeline import Analysis, Pipeline
from daemon.analyst import Analyst
from daemon.config.peers import PeerConfig
from daemon.config.picture_form import DEFAULT_FORM
from daemon.config.receivers import PictureSyntax, Product
from dicom_io.read.header import read_dataset
from storage.records import JobKind, ObjectKind, ObjectRecord, Standing
from tests.builders.bench import SENDS, Bench
from tests.builders.images.films import film

ROWS, COLUMNS, SPACING = 1601, 1277, 0.4
HEATMAPS = (ObjectKind.HEATMAP, ObjectKind.HEATMAP_JPEG)


def peer(name: str, **changes: Any) -> PeerConfig:
    products = (Product.REPORT, Product.HEATMAP)
    return PeerConfig(
        name=name, ae_title=name, host="127.0.0.1", port=104, receives=products, **changes
    )


DEFAULT = peer("DEFAULT")
FULL = peer("FULL", picture_max_side=None)
SMALL = peer("SMALL", picture_max_side=600, picture_syntax=PictureSyntax.JPEG_BASELINE)


def configure(bench: Bench, pipeline: Pipeline, *peers: PeerConfig) -> None:
    bench.config = bench.config.model_copy(update={"peers": (SENDS, *peers)})
    bench.analyst = Analyst(bench.config, "me", bench.spool, bench.store, pipeline)


def read(bench: Bench, record: ObjectRecord) -> Dataset:
    return read_dataset(bench.spool.read(record.spool_path, record.sha256))


def queued_for(bench: Bench, name: str) -> dict[ObjectKind, list[ObjectRecord]]:
    """Return the objects queued for a destination, by kind, in the order of their jobs."""
    found = defaultdict(list)
    for job in sorted(bench.store.jobs.list(kind=JobKind.DELIVER), key=lambda job: job.id):
        uid, _, destination = job.subject.partition("@")
        record = bench.store.results.object(uid)
        if destination == name and record is not None:
            found[record.kind].append(record)
    return found


def explanations(items: Any) -> set[str]:
    """Return the UIDs of the pictures that a report names as visual explanations."""
    found = set()
    for item in items:
        concept = item.get("ConceptNameCodeSequence")
        if item.ValueType == "IMAGE" and concept and concept[0].CodeValue == "130401":
            found.add(str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID))
        found |= explanations(item.get("ContentSequence", ()))
    return found


def evidence(report: Dataset) -> dict[str, str]:
    """Return the series of each instance in the evidence of a report."""
    return {
        str(one.ReferencedSOPInstanceUID): str(series.SeriesInstanceUID)
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }


def coordinates(items: Any) -> list[list[float]]:
    found = []
    for item in items:
        if item.ValueType == "SCOORD":
            found.append(list(item.GraphicData))
        found += coordinates(item.get("ContentSequence", ()))
    return found


def predecessor(report: Dataset) -> str | None:
    for study in report.get("PredecessorDocumentsSequence", ()):
        (series,) = study.ReferencedSeriesSequence
        (document,) = series.ReferencedSOPSequence
        return str(document.ReferencedSOPInstanceUID)
    return None


def test_a_report_names_the_pictures_that_its_destination_receives(
    bench: Bench, pipeline: Pipeline
) -> None:
    configure(bench, pipeline, DEFAULT, FULL, SMALL)
    uid = bench.receive(film("forms", rows=ROWS, columns=COLUMNS))
    bench.work()
    study = bench.study(uid)
    (instance,) = study.instances
    positive = sum(finding.present for finding in instance.findings)
    assert positive
    sizes = {"DEFAULT": (1536, 1225), "FULL": (ROWS, COLUMNS), "SMALL": (600, 479)}
    reports, places = [], []
    for destination in (DEFAULT, FULL, SMALL):
        queued = queued_for(bench, destination.name)
        (report,) = queued[ObjectKind.REPORT]
        pictures = [one for kind in HEATMAPS for one in queued[kind]]
        assert len(pictures) == positive
        written, series = read(bench, report), evidence(read(bench, report))
        assert explanations(written.ContentSequence) == {one.sop_instance_uid for one in pictures}
        for one in pictures:
            picture = read(bench, one)
            assert series[one.sop_instance_uid] == picture.SeriesInstanceUID
            rows, columns = sizes[destination.name]
            assert picture.Columns == columns
            assert picture.Rows > rows
            assert f"{columns} x {rows} of its {COLUMNS} x {ROWS}" in picture.DerivationDescription
            assert float(picture.ImagerPixelSpacing[0]) * rows == pytest.approx(SPACING * ROWS)
        reports.append(written)
        places.append(coordinates(written.ContentSequence))
    # The coordinates are those of the film in every report.
    assert all(place == places[0] for place in places)
    assert len({one.SOPInstanceUID for one in reports}) == len(reports)
    assert len({one.SeriesInstanceUID for one in reports}) == len(reports)
    assert {one.InstanceNumber for one in reports} == {1}
    assert [one.form for one in study.reports] == [""]
    made = {one.form for one in instance.objects}
    assert made == {"", "full", "600"}


def test_each_form_of_a_report_follows_its_own(bench: Bench, pipeline: Pipeline) -> None:
    configure(bench, pipeline, DEFAULT, FULL)
    uid = bench.receive(film("forms", seed=1))
    bench.work()
    first = {name: queued_for(bench, name)[ObjectKind.REPORT][0] for name in ("DEFAULT", "FULL")}
    bench.receive(film("forms", seed=2))
    bench.work()
    study = bench.study(uid)
    assert len(study.reports) == 2
    for name in ("DEFAULT", "FULL"):
        before, after = queued_for(bench, name)[ObjectKind.REPORT]
        assert before.sop_instance_uid == first[name].sop_instance_uid
        written = read(bench, after)
        assert predecessor(written) == before.sop_instance_uid
        assert written.InstanceNumber == 2
        assert (before.standing, after.standing) == (Standing.SUPERSEDED, Standing.VALID)
    jobs = len(bench.store.jobs.list(kind=JobKind.DELIVER))
    bench.store.jobs.enqueue(JobKind.REPORT, f"{uid}@{study.source}")
    bench.work()
    again = bench.study(uid)
    assert len(bench.store.jobs.list(kind=JobKind.DELIVER)) == jobs
    assert again.last_reports == study.last_reports
    assert {one.standing for one in again.last_reports} == {Standing.VALID}
    rows = list(bench.store.export.rows())
    (cell,) = {row["deliveries"] for row in rows}
    assert cell == "DEFAULT=queued;FULL=queued"
    assert {row["report_sop_instance_uid"] for row in rows} == {study.reports[-1].sop_instance_uid}


def test_a_form_that_was_configured_later_names_what_there_is(
    bench: Bench, pipeline: Pipeline
) -> None:
    configure(bench, pipeline, DEFAULT)
    uid = bench.receive(film("forms", seed=1))
    bench.work()
    before = bench.study(uid).reports[-1]
    configure(bench, pipeline, DEFAULT.model_copy(update={"picture_max_side": None}))
    bench.receive(film("forms", seed=2))
    bench.work()
    queued = queued_for(bench, "DEFAULT")
    forms = {one.instance_id: one.form for one in queued[ObjectKind.HEATMAP]}
    assert sorted(forms.values()) == ["", "full"]
    report = queued[ObjectKind.REPORT][-1]
    assert report.form == "full"
    written = read(bench, report)
    assert predecessor(written) == before.sop_instance_uid
    assert explanations(written.ContentSequence) == {
        one.sop_instance_uid for one in queued[ObjectKind.HEATMAP]
    }


@pytest.mark.slow
def test_other_forms_change_no_object_of_the_default_form(pipeline: Pipeline) -> None:
    now = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    data = film("alone", rows=ROWS, columns=COLUMNS)
    kinds = frozenset({ObjectKind.HEATMAP, ObjectKind.SUMMARY})
    made = []
    for forms in ((DEFAULT_FORM,), (DEFAULT_FORM, FULL.picture_form, SMALL.picture_form)):
        outcome = pipeline.analyse(data, "north", now, kinds=kinds, forms=forms)
        assert isinstance(outcome, Analysis)
        made.append(outcome)
    default = {one.sop_instance_uid: one.data for one in made[0].objects}
    every = {one.sop_instance_uid: one.data for one in made[1].objects}
    assert default.items() < every.items()
    assert made[0].regions == made[1].regions
