"""Studies fetched from dcmtk's archive, from Orthanc, and from archives that lie or fail."""

import itertools
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pynetdicom.events import Event

from dicom_io.send.association import Destination
from storage.records import JobKind, JobState, Priority, RetrievalPurpose, StudyKey
from storage.store import Store
from tests.builders.images.films import ROOT, chest_film, file_bytes
from tests.servers.archives.backfilled import fetching_node
from tests.servers.archives.dcmqrscp import fill, running_dcmqrscp
from tests.servers.archives.scripted import PENDING, QUICK, scripted_archive, study
from tests.servers.dicom.orthanc import AE_TITLE as ORTHANC
from tests.servers.dicom.orthanc import running_orthanc
from tests.tools.ports import HOST, NODE, free_port

pytestmark = pytest.mark.network

BACKFILL = RetrievalPurpose.BACKFILL
STUDIES = [f"{ROOT}.{number}" for number in (1, 2, 3)]
FILMS = [
    file_bytes(chest_film(study=study, number=number))
    for study, number in itertools.product((1, 2, 3), (1, 2))
]


def order(store: Store) -> int:
    return store.retrievals.order("archive", STUDIES, BACKFILL, "ines")


@pytest.mark.parametrize("service", ["move", "get"])
def test_a_backfill_fetches_what_is_missing(service: str, tmp_path: Path) -> None:
    port = free_port()
    with running_dcmqrscp(tmp_path / "archive", port) as archive:
        fill(archive, FILMS)
        with fetching_node(archive, port, tmp_path, order, retrieve=service) as node:
            node.wait_for(JobState.DONE)
            assert all(len(node.kept(uid)) == 2 for uid in STUDIES)
            films = node.store.jobs.list(kind=JobKind.ANALYSE)
            assert {job.priority for job in films} == {Priority.BACKFILL}
            assert len(films) == 6
            actors = [row.actor for row in node.store.audit.rows() if "received" in row.kind]
            assert actors == [archive.ae_title] * 6
            order(node.store)
            node.wait_for(JobState.DONE)
            received = [row for row in node.store.audit.rows() if "received" in row.kind]
            assert len(received) == 6


@pytest.mark.slow
def test_a_backfill_over_dicomweb(tmp_path: Path) -> None:
    plugins = {"Plugins": ["/usr/share/orthanc/plugins"], "DicomAlwaysAllowFind": True}
    with running_orthanc(tmp_path, {**plugins, "DicomWeb": {"Enable": True}}) as server:
        archive = Destination("orthanc", ORTHANC, HOST, server.dicom_port, NODE, QUICK)
        fill(archive, FILMS)
        url = f"http://{HOST}:{server.http_port}/dicom-web/"
        with fetching_node(
            archive, free_port(), tmp_path, order, retrieve="web", url=url, allow_http=True
        ) as node:
            node.wait_for(JobState.DONE)
            assert all(len(node.kept(uid)) == 2 for uid in STUDIES)
            priorities = {job.priority for job in node.store.jobs.list(kind=JobKind.ANALYSE)}
            assert priorities == {Priority.BACKFILL}


def test_a_study_that_is_not_there_is_parked(tmp_path: Path) -> None:
    with (
        running_dcmqrscp(tmp_path / "archive") as archive,
        fetching_node(archive, free_port(), tmp_path, order, retrieve="move") as node,
    ):
        node.wait_for(JobState.PARKED)
        assert node.error() == "archive has no film of this study"


def test_a_node_that_the_archive_does_not_know_is_parked_with_the_remedy(tmp_path: Path) -> None:
    with running_dcmqrscp(tmp_path / "archive") as archive:
        fill(archive, FILMS)
        with fetching_node(archive, free_port(), tmp_path, order, retrieve="move") as node:
            node.wait_for(JobState.PARKED)
            assert "status 0xA801" in node.error()
            assert f"add the AE title {NODE}" in node.error()


def found_by(event: Event) -> Iterator[Any]:
    """Answer that each study has two films."""
    uid = event.identifier.StudyInstanceUID
    if event.identifier.QueryRetrieveLevel == "SERIES":
        yield PENDING, study(StudyInstanceUID=uid, SeriesInstanceUID=f"{uid}.1", Modality="CR")
        return
    for number in (1, 2):
        yield PENDING, study(StudyInstanceUID=uid, SOPInstanceUID=f"{uid}.1.{number}")


def test_films_that_come_in_parts_are_fetched_to_the_end(tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def get(event: Event) -> Iterator[Any]:
        uids = event.identifier.SOPInstanceUID
        uids = [uids] if isinstance(uids, str) else list(uids)
        asked.append(uids)
        yield len(uids)
        number = int(uids[0].rpartition(".")[2])
        yield PENDING, dcmread(BytesIO(file_bytes(chest_film(number=number))))
        if len(uids) > 1:
            yield 0xA702, None

    def one(store: Store) -> None:
        store.retrievals.order("archive", STUDIES[:1], BACKFILL, "ines")

    with (
        scripted_archive(found_by, get) as archive,
        fetching_node(archive, free_port(), tmp_path, one, retrieve="get") as node,
    ):
        node.wait_for(JobState.DONE)
        assert node.kept(STUDIES[0]) == {f"{STUDIES[0]}.1.1", f"{STUDIES[0]}.1.2"}
    assert [len(uids) for uids in asked] == [2, 1]


def test_an_archive_that_says_success_and_sends_nothing_is_parked(tmp_path: Path) -> None:
    def get(_: Event) -> Iterator[Any]:
        yield 1
        yield 0x0000, None

    with (
        scripted_archive(found_by, get) as archive,
        fetching_node(
            archive, free_port(), tmp_path, order, {"max_attempts": 2}, retrieve="get"
        ) as node,
    ):
        node.wait_for(JobState.PARKED)
        assert node.error() == "archive said that it sent all, and 2 of 2 film(s) are not here"
        assert {job.attempts for job in node.store.jobs.list(kind=JobKind.RETRIEVE)} == {2}
        assert not node.kept(STUDIES[0])


def test_an_archive_without_resources_is_asked_again(tmp_path: Path) -> None:
    answers = itertools.count()

    def find(event: Event) -> Iterator[Any]:
        if next(answers) < 3:
            yield 0xA700, None
        else:
            yield from found_by(event)

    def get(event: Event) -> Iterator[Any]:
        uids = event.identifier.SOPInstanceUID
        yield len(uids)
        for number in (1, 2):
            film = chest_film(study=int(uids[0].split(".")[-3]), number=number)
            yield PENDING, dcmread(BytesIO(file_bytes(film)))

    with (
        scripted_archive(find, get) as archive,
        fetching_node(archive, free_port(), tmp_path, order, retrieve="get") as node,
    ):
        node.wait_for(JobState.DONE)
        assert len(node.store.retrievals.kept(StudyKey("archive", STUDIES[2]))) == 2
