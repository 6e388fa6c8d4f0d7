"""Every object of every form of a film is valid, readable and accepted by a real archive."""

import datetime
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cxr_model.findings import LABELS
from daemon.analyse.pipeline import Pipeline
from daemon.analyse.reader.film import Refusal
from daemon.analyse.result_objects import BuiltObject
from daemon.config.picture_form import DEFAULT_FORM, PictureForm
from daemon.report.study_report import built_report
from dicom_io.objects.classes import HEATMAP_CLASS, PLAIN_SYNTAXES, REPORT_CLASSES
from dicom_io.objects.compression import JPEG_BASELINE, picture_for_destination
from dicom_io.objects.encode import to_bytes
from dicom_io.objects.source_header import Identity
from dicom_io.objects.uids import derived_uid
from dicom_io.read.header import read_dataset
from dicom_io.read.image_header import ImageHeader
from dicom_io.report.content import ReportContent, ReportedFinding, ReportedImage
from dicom_io.report.older_classes import as_class
from dicom_io.send.association import Destination
from dicom_io.send.sender import Sender
from dicom_io.send.store_status import Disposition
from storage.records import ObjectKind
from tests.builders.images.film_matrix import Headers, build, cases, picture_of
from tests.servers.dicom.orthanc import AE_TITLE, Orthanc
from tests.tools.ports import HOST, NODE
from tests.tools.validation import check_readers, new_errors

pytestmark = pytest.mark.network
NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
CASES = cases()


@pytest.fixture
def sender(orthanc: Orthanc) -> Iterator[Sender]:
    destination = Destination("orthanc", AE_TITLE, HOST, orthanc.dicom_port, NODE)
    with Sender(destination, also=[(HEATMAP_CLASS, JPEG_BASELINE)]) as opened:
        yield opened


def made_films(data_folder: Path, scratch: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the films of the matrix by name."""
    pictures = sorted((data_folder / "nih" / "full").glob("*.png"))
    headers = Headers(data_folder / "dicom")
    for case in CASES:
        picture = picture_of(pictures[case.source % len(pictures)])
        yield str(case), build(case, picture, headers.row(case.source), scratch)


def real_films(data_folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted((data_folder / "dicom" / "real").glob("0[1-4]*")):
        yield path.name, path.read_bytes()


def objects_of(pipeline: Pipeline, film: bytes) -> Iterator[BuiltObject]:
    """Yield every object that a destination can receive of one film, as it is sent."""
    forms = (DEFAULT_FORM, PictureForm(None), PictureForm(is_lossy=True))
    outcome = pipeline.analyse(film, "north", NOW, kinds=frozenset(ObjectKind), forms=forms)
    assert not isinstance(outcome, Refusal), outcome
    taken = {HEATMAP_CLASS: (*PLAIN_SYNTAXES, JPEG_BASELINE)}
    for built in outcome.objects:
        yield replace(built, data=picture_for_destination(built.data, JPEG_BASELINE, taken))
    header = read_dataset(film, with_pixels=False)
    findings = [
        ReportedFinding(
            finding.label,
            finding.probability,
            finding.threshold,
            finding.present,
            outline=region.points if (region := outcome.regions.get(finding.label)) else None,
        )
        for finding in outcome.prediction.findings
    ]
    content = ReportContent(
        sources=[ReportedImage(ImageHeader.of(header), findings, outcome.notes)],
        not_analysed=[],
        algorithm=pipeline.algorithm,
        predecessor=None,
        identity=Identity(
            derived_uid(header.SOPInstanceUID, pipeline.algorithm.sha256, "report"),
            derived_uid(header.StudyInstanceUID, pipeline.algorithm.sha256, "report series"),
            series_number=9900,
            instance_number=1,
            content_datetime=NOW,
        ),
    )
    report = built_report(content)
    for sop_class in REPORT_CLASSES:
        data = to_bytes(as_class(read_dataset(report.data), sop_class))
        uid = read_dataset(data).SOPInstanceUID
        yield BuiltObject(uid, sop_class, ObjectKind.REPORT, None, data)


def check(name: str, film: bytes, pipeline: Pipeline, sender: Sender, folder: Path) -> set[str]:
    """Validate, read and store all objects of a film; return their SOP Instance UIDs."""
    source, made = folder / "film.dcm", folder / "made.dcm"
    source.write_bytes(film)
    everything = list(objects_of(pipeline, film))
    uids = set()
    present = len({built.label for built in everything if built.kind is ObjectKind.HEATMAP})
    absent = len(LABELS) - present
    for built in everything:
        made.write_bytes(built.data)
        assert new_errors(made, source) == [], (name, built.kind, built.label)
        if built.kind is ObjectKind.REPORT:
            check_readers(made, absent=absent)
        if built.sop_class_uid in sender.accepted:
            result = sender.send(built.data)
            assert result.disposition is Disposition.DELIVERED, (name, built.kind, result.detail)
            uids.add(built.sop_instance_uid)
    return uids


def check_all(
    films: Iterator[tuple[str, bytes]],
    pipeline: Pipeline,
    sender: Sender,
    orthanc: Orthanc,
    folder: Path,
) -> int:
    sent: set[str] = set()
    for name, film in films:
        sent |= check(name, film, pipeline, sender, folder)
    stored = orthanc.call("/instances?expand")
    assert {one["MainDicomTags"]["SOPInstanceUID"] for one in stored} == sent
    return len(sent)


def test_objects_of_a_film(
    data_folder: Path, pipeline: Pipeline, sender: Sender, orthanc: Orthanc, tmp_path: Path
) -> None:
    films = itertools.islice(made_films(data_folder, tmp_path), 1)
    assert check_all(films, pipeline, sender, orthanc, tmp_path) > 10


@pytest.mark.slow
def test_objects_of_some_films(
    data_folder: Path, pipeline: Pipeline, sender: Sender, orthanc: Orthanc, tmp_path: Path
) -> None:
    some = itertools.islice(made_films(data_folder, tmp_path), 0, None, 90)
    films = itertools.chain(some, real_films(data_folder))
    assert check_all(films, pipeline, sender, orthanc, tmp_path) > 100


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_objects_of_every_film(
    data_folder: Path, pipeline: Pipeline, sender: Sender, orthanc: Orthanc, tmp_path: Path
) -> None:
    count = check_all(made_films(data_folder, tmp_path), pipeline, sender, orthanc, tmp_path)
    print(f"{len(CASES)} films: {count} objects valid, read and stored")
